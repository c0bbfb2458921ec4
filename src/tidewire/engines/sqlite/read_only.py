"""
A log file as one sees it who does not write it, beside a hub or without one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import StartRefused
from ...log.entries import Head, Marks
from .database import APPLICATION_ID, BUSY, MIGRATIONS, unreadable
from .reader import Reader, position_in

META = frozenset({"floor", "trimmed_bytes", "dropped_mark", "clean"})

# Is told how many entries are done, of how many.
Tell = Callable[[int, int], object]


class Extent(NamedTuple):
    """From where to where a log goes, and how much of it that is."""

    floor: int
    head: int
    trimmed_bytes: int
    bytes: int
    newest: float

    @property
    def entries(self) -> int:
        return self.head - self.floor + 1


class ReadOnly(Reader):
    """
    The log in the file at `path`, which must be there. Raises `StartRefused`.

    A hub that writes beside it cannot begin its WAL anew during a `snapshot`:
    keep those short.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        with explained(self.path):
            self._db = sqlite3.connect(
                f"{Path(self.path).as_uri()}?mode=ro", timeout=BUSY, isolation_level=None, uri=True
            )
        try:
            with explained(self.path):
                recognise(self._db, self.path)
        except BaseException:
            self._db.close()
            raise

    @property
    def db(self) -> sqlite3.Connection:
        """For questions that nobody else asks."""
        return self._db

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read within it is of one moment."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def meta(self) -> dict[str, int]:
        found = dict(self._db.execute("SELECT name, value FROM meta"))
        for name in META - found.keys():
            raise sqlite3.DatabaseError(f"{name} is not noted")
        return found

    def extent(self) -> Extent:
        meta = self.meta()
        nothing = (meta["floor"] - 1, meta["trimmed_bytes"], 0.0)
        query = "SELECT offset, bytes, time FROM entries ORDER BY offset DESC LIMIT 1"
        head, total, newest = self._one(query) or nothing
        return Extent(meta["floor"], head, meta["trimmed_bytes"], total, newest)

    def lives(self) -> list[tuple[str, int]]:
        found = self._db.execute("SELECT life, first FROM lives ORDER BY number").fetchall()
        if not found:
            raise sqlite3.DatabaseError("there is no life")
        return found

    def marks(self) -> Marks:
        marks = Marks()
        marks.dropped = self.meta()["dropped_mark"]
        for topic, offset, ended in self._db.execute(
            "SELECT topic, offset, ended FROM marks ORDER BY offset"
        ):
            marks.set(topic, offset, bool(ended))
        return marks

    def state(self) -> Head:
        extent, lives = self.extent(), self.lives()
        return Head(position_in(lives, extent.head), extent.floor, tuple(lives), self.marks(), {})


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Raise what SQLite says of the log at `path` as `StartRefused`."""
    try:
        yield
    except sqlite3.Error as error:
        raise unreadable(path, error) from None


def recognise(db: sqlite3.Connection, path: str) -> None:
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID:
        raise StartRefused(f"{path} is no log of Tidewire", code="log_damaged")
    if version > len(MIGRATIONS):
        raise StartRefused(f"the log {path} was written by a newer Tidewire: install that one")
    if version < len(MIGRATIONS):
        raise StartRefused(f"the log {path} was written by an older Tidewire: let a hub open it once")
