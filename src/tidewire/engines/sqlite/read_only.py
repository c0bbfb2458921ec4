"""
Reading a log file without writing to it, whether or not a hub is using it.
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
from .database import APPLICATION_ID, BUSY_TIMEOUT, MIGRATIONS, unreadable
from .reader import Reader, position_in

META = frozenset({"floor", "trimmed_bytes", "dropped_mark", "clean"})

# Called with how many entries are done, and of how many.
ProgressCallback = Callable[[int, int], object]


class Extent(NamedTuple):
    """The range of offsets that a log keeps, and its size."""

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
    The log in the file at `path`. Raises `StartRefused` if it cannot be read as a log.

    A hub that is writing the log cannot restart its WAL during a `snapshot`:
    keep snapshots short.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        with explained(self.path):
            db = sqlite3.connect(
                f"{Path(self.path).as_uri()}?mode=ro", timeout=BUSY_TIMEOUT, isolation_level=None, uri=True
            )
        try:
            with explained(self.path):
                recognise(db, self.path)
        except BaseException:
            db.close()
            raise
        super().__init__(db)

    @property
    def db(self) -> sqlite3.Connection:
        """For queries that only one caller needs."""
        return self._db

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything that is read inside it is from one moment."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def meta(self) -> dict[str, int]:
        found = dict(self._db.execute("SELECT name, value FROM meta"))
        for name in META - found.keys():
            raise sqlite3.DatabaseError(f"{name} is missing in the table meta")
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
            raise sqlite3.DatabaseError("the list of lives is empty")
        return found

    def marks(self) -> Marks:
        marks = Marks()
        found = self._db.execute("SELECT topic, offset FROM marks ORDER BY offset")
        marks.update(found, self.meta()["dropped_mark"])
        return marks

    def state(self) -> Head:
        extent, lives = self.extent(), self.lives()
        return Head(position_in(lives, extent.head), extent.floor, tuple(lives), self.marks(), ())


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn SQLite's errors about the log at `path` into `StartRefused`."""
    try:
        yield
    except sqlite3.Error as error:
        raise unreadable(path, error) from None


def recognise(db: sqlite3.Connection, path: str) -> None:
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID:
        raise StartRefused(f"{path} is not a Tidewire log", code="log_damaged")
    if version > len(MIGRATIONS):
        raise StartRefused(f"the log {path} was written by a newer Tidewire; install that version")
    if version < len(MIGRATIONS):
        raise StartRefused(
            f"the log {path} is of an older Tidewire; stop all programs that use it, then start a hub on it"
        )
