"""
One log in one SQLite file: each step of writing it.

Rule 1: what `commit` stored is on the disk: WAL with synchronous=FULL.
Rule 2: offsets have no holes, from the floor to the head.
Rule 3: a commit is a few statements. Each releases Python's lock, and a busy event
        loop may then keep that lock for 5 ms: beside such a loop, 1,000 rows took
        3.8 s one by one and 0.03 s in one statement.

No event loop and no thread here: the engine and `tidewire log` call it, from one
thread at a time. Reading is in `reader`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import orjson

from ...errors import StartRefused, TidewireError
from ...log.clock import LogClock
from ...log.entries import Draft, Entry, Head, Marks, Record
from ...log.judging import HeldKey, Judgement, Result, name_of
from ...log.records import Records
from ...position import Position, new_life
from ...settings import Settings
from .database import (
    BLOCK_BITS,
    checkpoint,
    connect,
    prepare,
    quick_check,
    refusal,
    restart_wal,
    unreadable,
)
from .door import Door
from .mounts import refuse_shared
from .reader import position_in
from .rows import COLUMNS, Rows
from .watch import Watch

logger = logging.getLogger("tidewire")

Clock = Callable[[], float]

# Rows in one INSERT. Each count up to EXACT_ROWS has its own statement; larger
# counts are split into powers of two. So all statements stay prepared.
EXACT_ROWS = 64
MAX_ROWS = 1024
# Pages of the WAL (16 MiB) above which a checkpoint waits for readers.
LONG_WAL = 4096
# Keys forgotten in one commit.
FORGET_STEP = 1_000
# Marks written between two deletions of those beyond the limit.
DROP_EVERY = 10_000

OLDEST = """
SELECT CAST(json_group_array(json_array(offset, topic, time, bytes)) AS BLOB)
FROM (SELECT * FROM entries WHERE offset >= ? ORDER BY offset LIMIT ?)
"""


class Trim(NamedTuple):
    """Entries to delete: the new floor, the bytes of all entries below it, and each topic's newest one."""

    floor: int
    total: int
    marks: Sequence[tuple[str, int]]


class LogFile:
    """
    The log in the file at `path`, open for writing. Opening it starts a new life.

    Raises `StartRefused` if another process has the log, if the file is damaged or
    not a log, or if it is on a file system on which SQLite loses data. `clock` makes
    the log's clock from the newest entry's time. After an unclean stop the whole file
    is checked; `on_check` is called with its size before that.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[float], Clock] = LogClock,
        on_check: Callable[[int], object] = lambda size: None,
    ) -> None:
        self.path = os.path.realpath(path)
        make_folder_of(self.path)
        refuse_shared(self.path)
        self._door = Door(self.path)
        try:
            self._db = connect(self.path)
            try:
                self._open(clock, on_check)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            self._door.release()
            raise unreadable(self.path, error) from None
        except BaseException:
            self._door.release()
            raise

    # -- opening

    def _open(self, clock: Callable[[float], Clock], on_check: Callable[[int], object]) -> None:
        prepare(self._db, self.path)
        if not self._meta("clean"):
            on_check(os.path.getsize(self.path))
            quick_check(self._db, self.path)
        self._load_entries()
        self._load_marks()
        self.clock = clock(self._newest_time)
        self._begin_life()
        self._watch = Watch(self._door)

    def _load_entries(self) -> None:
        self.floor, self._trimmed_total = self._meta("floor"), self._meta("trimmed_bytes")
        newest: tuple[int, int, float] | None = self._one(
            "SELECT offset, bytes, time FROM entries ORDER BY offset DESC LIMIT 1"
        )
        self.head, self.total, self._newest_time = newest or (self.floor - 1, self._trimmed_total, 0.0)
        self.lives: list[tuple[str, int]] = self._all("SELECT life, first FROM lives ORDER BY number")
        found = self._all("SELECT kind, name, value, until, offset FROM records ORDER BY offset")
        self.records = Records(Record(*row) for row in found)
        self._block = self.head >> BLOCK_BITS
        found = self._all("SELECT topic FROM topic_blocks WHERE block = ?", self._block)
        self._block_topics = frozenset(topic for (topic,) in found)
        self.keys_held: int = self._one("SELECT count(*) FROM keys")[0]
        self._oldest_time: float | None = None

    def _load_marks(self) -> None:
        self._marks_since = 0
        self._marks = Marks()
        self._marks.dropped = self._meta("dropped_mark")
        for topic, offset in self._all("SELECT topic, offset FROM marks ORDER BY offset"):
            self._marks.set(topic, offset)

    def _begin_life(self) -> None:
        # A life that wrote nothing is replaced, except the first: offset 0 belongs to it.
        if len(self.lives) > 1 and self.lives[-1][1] > self.head:
            self.lives.pop()
        self.lives.append((new_life(), self.head + 1))
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO lives VALUES (?, ?, ?)", (len(self.lives), *self.lives[-1])
            )
            self._set_meta("clean", 0)

    def state(self) -> Head:
        """Return the committed state of the log. Its marks are a copy."""
        marks = Marks()
        marks.dropped = self._marks.dropped
        for topic, mark in self._marks.items():
            marks.set(topic, mark)
        return Head(self.position(self.head), self.floor, tuple(self.lives), marks, tuple(self.records))

    # -- what judging reads (Committed)

    @property
    def life(self) -> str:
        return self.lives[-1][0]

    def position(self, offset: int) -> Position:
        return position_in(self.lives, offset)

    # -- appending

    def commit(
        self,
        batches: Sequence[Sequence[Draft]],
        trim: Trim | None,
        settings: Settings,
        times: Sequence[Sequence[float]] = (),
    ) -> tuple[list[Entry], list[Result]]:
        """
        Store or refuse each batch, and delete what `trim` says, in one transaction.

        The time of all entries is now, unless `times` has one for each draft.
        Return the new entries and the answer to each batch. Raises `StoreFull`
        or `Unavailable` if nothing is stored, and `sqlite3.Error` if it is
        unknown what is stored: then the file must not be written any more.
        That includes `FileLost`: what is stored in a deleted file is lost.
        """
        try:
            self._watch.look_at_wal()
            judgement, results = self._judge(batches, settings, times)
            rows = self._store(judgement, trim)
            # Nothing is acknowledged that went into a file which was deleted before or meanwhile.
            self.look()
        except sqlite3.Error as error:
            if answer := refusal(error):
                raise answer from None
            raise
        self._apply(judgement, rows, trim)
        return judgement.entries, results

    def answers_without_storing(
        self, batches: Sequence[Sequence[Draft]], error: TidewireError, settings: Settings
    ) -> list[Result]:
        """Return the answers to batches that could not be stored: `error`, but a repeat gets its first id."""
        try:
            alone = [self._judge([drafts], settings) for drafts in batches]
        except sqlite3.Error:
            return [error] * len(batches)
        return [error if judgement.entries else result for judgement, (result,) in alone]

    def _judge(
        self,
        batches: Sequence[Sequence[Draft]],
        settings: Settings,
        times: Sequence[Sequence[float]] = (),
    ) -> tuple[Judgement, list[Result]]:
        keyed = sum(draft.key is not None for drafts in batches for draft in drafts)
        if keyed and self.keys_held + keyed > settings.max_keys:
            self.forget_keys(settings)
        judgement = Judgement(self, self.clock(), settings, self._held_keys(batches) if keyed else {})
        return judgement, [judgement.add(*batch) for batch in zip_longest(batches, times, fillvalue=())]

    def _held_keys(self, batches: Sequence[Sequence[Draft]]) -> dict[bytes, HeldKey]:
        """Return the keys of `batches` that the log holds, by their names."""
        names = [
            name_of(draft.topic, draft.key) for drafts in batches for draft in drafts if draft.key is not None
        ]
        found: dict[bytes, HeldKey] = {}
        for some, wanted in in_powers(names):
            query = f"SELECT name, offset, digest, time FROM keys WHERE name IN ({wanted})"
            found |= {name: HeldKey(*held) for name, *held in self._all(query, *some)}
        return found

    def _store(self, judgement: Judgement, trim: Trim | None) -> Rows:
        rows = Rows(judgement.entries, self.total, self._block, self._block_topics)
        more = trim or judgement.keys or judgement.records or rows.new_blocks
        if more or len(judgement.entries) > EXACT_ROWS:
            with self._transaction():
                self._delete(trim)
                self._insert("entries", COLUMNS, rows.values)
                self._insert("topic_blocks", 2, list(chain.from_iterable(rows.new_blocks)))
                self._store_keys(judgement)
                self._insert("records", 5, list(chain.from_iterable(judgement.records.values())))
        else:
            # A single statement is a transaction by itself.
            self._insert("entries", COLUMNS, rows.values)
        return rows

    def _insert(self, table: str, columns: int, values: Sequence[Any]) -> None:
        """Insert rows; `values` are the columns of all rows, one after the other."""
        done, count = 0, len(values) // columns
        while done < count:
            step = count - done
            if step > EXACT_ROWS:
                step = min(MAX_ROWS, 1 << (step.bit_length() - 1))
            rows = values[done * columns : (done + step) * columns]
            self._db.execute(insert_statement(table, columns, step), rows)
            done += step

    def _store_keys(self, judgement: Judgement) -> None:
        if judgement.keys:
            for some, wanted in in_powers(list(judgement.stale_keys)):
                self._db.execute(f"DELETE FROM keys WHERE name IN ({wanted})", some)
            rows = ((key.offset, name, key.digest, key.time) for name, key in judgement.keys.items())
            self._insert("keys", 4, list(chain.from_iterable(rows)))

    def _apply(self, judgement: Judgement, rows: Rows, trim: Trim | None) -> None:
        """Bring the state up to date with what was committed."""
        if judgement.entries:
            self.head, self.total = judgement.entries[-1].offset, rows.total
            self._block, self._block_topics = rows.block, rows.block_topics
        for record in judgement.records.values():
            self.records.set(record)
        self.keys_held += len(judgement.keys) - (len(judgement.stale_keys) if judgement.keys else 0)
        if trim:
            self.floor, self._trimmed_total, self._oldest_time = trim.floor, trim.total, None
            for topic, offset in trim.marks:
                self._marks.set(topic, offset)

    def forget_keys(self, settings: Settings) -> bool:
        """Forget some of the expired keys. Return whether there are more of them."""
        if not self.keys_held:
            return False
        # In the order of their offsets, keys are also in the order of their times.
        count, last = self._one(
            "SELECT count(*), max(offset) FROM (SELECT offset, time FROM keys ORDER BY offset LIMIT ?)"
            " WHERE time <= ?",
            FORGET_STEP,
            self.clock() - settings.key_age,
        )
        if count:
            self._db.execute("DELETE FROM keys WHERE offset <= ?", (last,))
            self.keys_held -= count
        return bool(count == FORGET_STEP)

    def forget_records(self) -> list[Record]:
        """Forget some of the records whose time is over, and ended topics that are too many. Return them."""
        excess = self.records.excess()
        if excess:
            logger.warning("forgot %d ended topics of %s, the oldest of too many", len(excess), self.path)
        gone = [*self.records.overdue(self.clock(), self.floor, FORGET_STEP), *excess[:FORGET_STEP]]
        if gone:
            with self._transaction():
                for record in gone:
                    self._db.execute("DELETE FROM records WHERE kind = ? AND name = ?", record[:2])
            for record in gone:
                self.records.forget(record.kind, record.name)
        return gone

    # -- retention

    def plan_trim(self, settings: Settings, step: int) -> Trim | None:
        """Return what retention should delete now, at most `step` entries. Nothing is deleted yet."""
        too_old = self.clock() - settings.retention_age
        kept = self.head - self.floor + 1
        if not kept:
            return None
        over = (
            kept > settings.retention_entries or self.total - self._trimmed_total > settings.retention_bytes
        )
        if not over and self._time_of_oldest() >= too_old:
            return None
        (oldest,) = self._one(OLDEST, self.floor, step)
        return self._trim_of(orjson.loads(oldest), too_old, settings)

    def _trim_of(self, oldest: Sequence[Any], too_old: float, settings: Settings) -> Trim | None:
        floor, trimmed = self.floor, self._trimmed_total
        marks: dict[str, int] = {}
        for offset, topic, time, total in oldest:
            over = self.head - offset >= settings.retention_entries
            # The newest entry stays whatever its size: its subscribers have not read it yet.
            over = over or (offset < self.head and self.total - trimmed > settings.retention_bytes)
            if not over and time >= too_old:
                break
            marks.pop(topic, None)  # keeps them in the order of their offsets
            marks[topic] = offset
            floor, trimmed = offset + 1, total
        return Trim(floor, trimmed, list(marks.items())) if marks else None

    def _time_of_oldest(self) -> float:
        if self._oldest_time is None:
            self._oldest_time = self._one("SELECT time FROM entries WHERE offset = ?", self.floor)[0]
        return self._oldest_time

    def _delete(self, trim: Trim | None) -> None:
        if trim is None:
            return
        self._db.execute("DELETE FROM entries WHERE offset < ?", (trim.floor,))
        self._db.execute("DELETE FROM topic_blocks WHERE block < ?", (trim.floor >> BLOCK_BITS,))
        self._insert("marks", 2, list(chain.from_iterable(trim.marks)))
        self._drop_marks(len(trim.marks))
        self._set_meta("floor", trim.floor)
        self._set_meta("trimmed_bytes", trim.total)

    def _drop_marks(self, more: int) -> None:
        """Delete, now and then, the marks beyond the limit. Opening the file restarts the count."""
        self._marks_since += more
        if self._marks_since >= DROP_EVERY and self._marks.dropped:
            self._marks_since = 0
            self._db.execute("DELETE FROM marks WHERE offset <= ?", (self._marks.dropped,))
            self._set_meta("dropped_mark", self._marks.dropped)

    # -- the file

    def look(self) -> None:
        """Raises `FileLost` if the file or its WAL was deleted, replaced or truncated."""
        self._watch.look()

    def checkpoint(self) -> None:
        """Move the part of the WAL that nothing reads into the file; for a long WAL, wait for its readers."""
        if checkpoint(self._db) > LONG_WAL:
            restart_wal(self._db)

    def space(self) -> tuple[int, int]:
        """Return the bytes of the pages in use, and of the unused pages."""
        pages, free, size = (
            self._one(f"PRAGMA {name}")[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size, free * size

    def vacuum(self) -> None:
        """Rewrite the file without its unused pages. Raises `StoreFull` if there is no room for that."""
        try:
            self._db.execute("VACUUM")
        except sqlite3.Error as error:
            raise refusal(error) or error from None

    def close(self, *, clean: bool = True) -> None:
        """Close the file. Unless it is `clean`, the next process that opens it checks it first."""
        if not self._door.held:
            return  # a forked child: these are its parent's connections
        try:
            if clean:
                with contextlib.suppress(sqlite3.Error):
                    self._set_meta("clean", 1)
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._db.close()
            self._door.release()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # After some errors SQLite has already rolled back.
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise

    def _meta(self, name: str) -> int:
        value: int = self._one("SELECT value FROM meta WHERE name = ?", name)[0]
        return value

    def _set_meta(self, name: str, value: int) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()

    def _all(self, query: str, *values: Any) -> list[Any]:
        return self._db.execute(query, values).fetchall()


def make_folder_of(path: str) -> None:
    """Create the folder of the log at `path` if it is missing. Raises `StartRefused` if that fails."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise StartRefused(f"cannot create the folder of the log {path}: {error.strerror}") from None


@functools.cache
def insert_statement(table: str, columns: int, rows: int) -> str:
    # Statements are cached by their text, so the text is built once.
    row = f"({', '.join('?' * columns)})"
    # A topic's newer mark replaces its older one.
    on_conflict = "REPLACE" if table in ("marks", "records") else "ABORT"
    return f"INSERT OR {on_conflict} INTO {table} VALUES {', '.join([row] * rows)}"


def in_powers(values: Sequence[Any]) -> Iterator[tuple[list[Any], str]]:
    """Yield the values in parts, each padded with NULL to a power of two, and the placeholders of each."""
    for first in range(0, len(values), MAX_ROWS):
        part = list(values[first : first + MAX_ROWS])
        size = 1 << (len(part) - 1).bit_length()
        yield part + [None] * (size - len(part)), ", ".join("?" * size)
