"""
One log in one SQLite file: each step of writing it.

Rule 1: what `commit` stored is on the disk: WAL with synchronous=FULL.
Rule 2: offsets have no holes, from the floor to the head.
Rule 3: other processes may write the log too. A commit is judged by the log as this process
        knows it, and stored only if the judgement still holds (`staging`). If not, it catches up.
Rule 4: a commit is a few statements. Each releases Python's lock, and a busy event
        loop may then keep that lock for 5 ms: beside such a loop, 1,000 rows took
        3.8 s one by one and 0.03 s in one statement.

No event loop and no thread here: the engine and `tidewire log` call it, from one
thread at a time. Reading is in `reader`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, starmap
from typing import Any

import orjson

from ...errors import StartRefused, TidewireError
from ...log.clock import LogClock
from ...log.entries import Draft, Entry, Head, Marks, Record
from ...log.judging import HeldKey, Judgement, Result, name_of
from ...log.records import Records, record_of
from ...log.trimming import OldEntry, Trim, plan
from ...position import Position, new_life
from ...settings import Settings
from .database import (
    BLOCK_BITS,
    checkpoint,
    connect,
    is_busy,
    prepare,
    quick_check,
    refusal,
    restart_wal,
    unreadable,
)
from .door import Door
from .following import News, news_after
from .mounts import refuse_shared
from .nodes import Nodes
from .read_only import recognise
from .reader import position_in
from .rows import Rows
from .staging import EXACT_ROWS, MAX_ROWS, Known, Moved, Staging, store_rows
from .waiting_line import pause
from .watch import Watch

logger = logging.getLogger("tidewire")

Clock = Callable[[], float]

# Pages of the WAL (16 MiB) above which a checkpoint waits for readers.
LONG_WAL = 4096
# The part of the engine's timeout for which a commit waits for other processes.
PATIENCE = 0.8
# Seconds that closing waits for a process that opens or closes the log, and may be stopped.
CLOSE_TIMEOUT = 5.0
# Keys forgotten in one commit.
FORGET_STEP = 1_000
# Marks written between two deletions of those beyond the limit.
DROP_EVERY = 10_000

OLDEST = """
SELECT CAST(json_group_array(json_array(offset, topic, time, bytes)) AS BLOB)
FROM (SELECT * FROM entries WHERE offset >= ? ORDER BY offset LIMIT ?)
"""

FORGET_RECORDS = """
DELETE FROM records WHERE (kind, name, offset) IN (
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
  FROM json_each(?)
)
"""


class AnotherFailed(sqlite3.OperationalError):
    """Another process had an I/O error: what this one writes now may be lost too."""


class LogFile:
    """
    The log in the file at `path`, open for writing. The first process that opens it starts a new life.

    Other processes may have it open too, unless it is to be `alone`. Raises `StartRefused` if another
    process has the log alone, if the file is damaged or not a log, or if it is on a file system on which
    SQLite loses data. `clock` makes the log's clock from the newest entry's time. After an unclean stop the
    whole file is checked; `on_check` is called with its size before that.
    """

    def __init__(
        self,
        path: str,
        *,
        alone: bool = False,
        clock: Callable[[float], Clock] = LogClock,
        on_check: Callable[[int], object] = lambda size: None,
    ) -> None:
        self.path = os.path.realpath(path)
        make_folder_of(self.path)
        refuse_shared(self.path)
        self.nodes = Nodes(self.path)
        with self.nodes.enter() as others:
            self._door = Door(self.path, shared=bool(others) and not alone, known=bool(others))
            try:
                self.nodes.refuse_another_file(others, self._door.id.inode)
                self._open(bool(others), clock, on_check)
            except sqlite3.Error as error:
                self._door.release()
                raise unreadable(self.path, error) from None
            except BaseException:
                self._door.release()
                raise
            if not alone and not others:
                self._door.share()

    # -- opening

    def _open(self, shared: bool, clock: Callable[[float], Clock], on_check: Callable[[int], object]) -> None:
        self._db = connect(self.path)
        try:
            if shared and (why := self.nodes.failure()):
                raise StartRefused(
                    f"the log {self.path} can no longer be written: its disk has failed ({why}); stop all"
                    " processes that have it open, then start them again"
                )
            if shared:
                recognise(self._db, self.path)
            else:
                prepare(self._db, self.path)
                self._check(on_check)
            self._staging = Staging(self._db)
            self._load_entries()
            self._load_marks()
            if shared:
                self.clock: Clock = LogClock.continued(self._meta("clock"))
            else:
                self.clock = clock(self._newest_time)
                self._begin_life()
            self._watch = Watch(self._door)
            self._db.execute("PRAGMA busy_timeout = 0")
            self.nodes.join(self._door.id.inode)
        except BaseException:
            self._db.close()
            raise

    def _check(self, on_check: Callable[[int], object]) -> None:
        if not self._meta("clean"):
            on_check(os.path.getsize(self.path))
            quick_check(self._db, self.path)

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
        self._count_keys()
        self._oldest_time: float | None = None
        self._through = self.head  # what this process has stored, or more

    def _load_marks(self) -> None:
        self._marks_since = 0
        self._marks = Marks()
        found = self._all("SELECT topic, offset FROM marks ORDER BY offset")
        self._marks.update(found, self._meta("dropped_mark"))

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
            self._set_meta("clock", LogClock.continuation(self.clock()))

    def state(self) -> Head:
        """Return the committed state of the log. Its marks are a copy."""
        marks = Marks()
        marks.update(self._marks.items(), self._marks.dropped)
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
        until: float | None = None,
    ) -> tuple[list[Entry], list[Result]]:
        """
        Store or refuse each batch, and delete what `trim` says, in one transaction.

        The time of all entries is now, unless `times` has one for each draft. It waits for other
        processes `until` then, or the part of the engine's timeout that there is for that.
        Return the new entries and the answer to each batch. If another process has stored something
        that this one does not know yet, there are no new entries: `is_behind`, and they are among the
        news of the next `catch_up`. Raises `Moved` if nothing is stored because of it: catch up and
        commit again. Raises `StoreFull` or `Unavailable` if nothing is stored, and `sqlite3.Error` if it
        is unknown what is stored: then the file must not be written any more. That includes `FileLost`:
        what is stored in a deleted file is lost.
        """
        until = until or deadline(settings)
        line = self.nodes.line
        if line:
            line.enter()
        ready, committed = None, False
        try:
            while not committed:
                try:
                    self._watch.look_at_wal()
                    if ready is None:
                        judgement, results = self._judge(batches, settings, times)
                        rows = Rows(judgement.entries, self.total, self._block, self._block_topics)
                        ready = self._ready(judgement, rows, trim)
                    if line:
                        line.wait()
                    after = ready()
                    # Nothing is acknowledged that went into a file which was deleted before or meanwhile.
                    self.look()
                    committed = True
                except sqlite3.Error as error:
                    answer = refusal(error)
                    if answer is None:
                        raise
                    if not is_busy(error) or time.monotonic() > until:
                        raise answer from None
                    pause()
        finally:
            if line:
                line.leave(committed=committed)
        if after != self.head:
            self._apply_removal(judgement, trim)
            self.records.count_items(judgement.items, after - self.head)
            self._through = after + len(judgement.entries)
            return [], [shifted(result, self.head, after - self.head) for result in results]
        self._apply(judgement, rows, trim)
        return judgement.entries, results

    def answers_without_storing(
        self, batches: Sequence[Sequence[Draft]], error: TidewireError, settings: Settings
    ) -> list[Result]:
        """Return the answers to batches that could not be stored: `error`, but a repeat gets its first id."""
        try:
            alone = [self._judge([drafts], settings) for drafts in batches]
        except (sqlite3.Error, Moved):
            return [error] * len(batches)
        return [error if judgement.entries else result for judgement, (result,) in alone]

    def _judge(
        self,
        batches: Sequence[Sequence[Draft]],
        settings: Settings,
        times: Sequence[Sequence[float]] = (),
    ) -> tuple[Judgement, list[Result]]:
        keyed = len([True for drafts in batches for draft in drafts if draft.key is not None])
        if keyed and self.keys_held + keyed > settings.max_keys:
            self.forget_keys(settings)
            # Other processes forget keys too.
            self._count_keys()
        judgement = Judgement(self, self._now(), settings, self._held_keys(batches) if keyed else {})
        if times:
            return judgement, list(starmap(judgement.add, zip(batches, times, strict=True)))
        return judgement, list(map(judgement.add, batches))

    def _now(self) -> float:
        """The log's clock. Another process may have a clock that is ahead of this one's."""
        return max(self.clock(), self._newest_time)

    def _count_keys(self) -> None:
        self.keys_held: int = self._one("SELECT count(*) FROM keys")[0]

    def _held_keys(self, batches: Sequence[Sequence[Draft]]) -> dict[bytes, HeldKey]:
        """Return the keys of `batches` that the log holds, by their names."""
        names = [
            name_of(draft.topic, draft.key) for drafts in batches for draft in drafts if draft.key is not None
        ]
        found: dict[bytes, HeldKey] = {}
        for some, wanted in in_powers(names):
            query = f"SELECT name, offset, digest, time FROM keys WHERE name IN ({wanted})"
            found |= {name: HeldKey(*held) for name, *held in self._all(query, *some)}
        if any(held.offset > self.head for held in found.values()):
            raise Moved
        return found

    def _ready(self, judgement: Judgement, rows: Rows, trim: Trim | None) -> Callable[[], int]:
        """Return what stores it all and tells after which offset. It can be called again if it failed."""
        known = Known(self.head, self.total, self.floor)
        more = trim or judgement.keys or judgement.records or rows.new_blocks
        if more or len(judgement.entries) > EXACT_ROWS:
            self._stage(judgement, rows, trim)
            floor, total = (trim.floor, trim.total) if trim else (self.floor, self._trimmed_total)
            dropped = self._dropped_by(trim)
            return partial(self._staging.store, known, bool(judgement.records), floor, total, dropped)
        if rows.values:
            # Alone, it is spared the arithmetic of later offsets.
            alone = self.nodes.line is None
            return partial(store_rows, self._db, rows.columns, rows.values, known, alone)
        return lambda: known.head

    def _stage(self, judgement: Judgement, rows: Rows, trim: Trim | None) -> None:
        staging, flat = self._staging, chain.from_iterable
        staging.clear()
        staging.add("new_entries", rows.columns, rows.values)
        staging.add("new_topic_blocks", ("block", "topic"), list(flat(rows.new_blocks)))
        if judgement.keys:
            staging.add("stale_keys", ("name",), list(judgement.stale_keys))
            keys = ((key.offset, name, key.digest, key.time) for name, key in judgement.keys.items())
            staging.add("new_keys", ("offset", "name", "digest", "time"), list(flat(keys)))
        staging.add("new_records", Record._fields, list(flat(judgement.records.values())))
        if trim:
            staging.add("new_marks", ("topic", "offset"), list(flat(trim.marks)))

    def _dropped_by(self, trim: Trim | None) -> int:
        """Return, now and then, the largest mark beyond the limit, so that it and older ones are deleted."""
        due = trim is not None and self._marks_since + len(trim.marks) >= DROP_EVERY
        return self._marks.dropped if due else 0

    def _apply(self, judgement: Judgement, rows: Rows, trim: Trim | None) -> None:
        """Bring the state up to date with what was committed."""
        if judgement.entries:
            self.head, self.total = judgement.entries[-1].offset, rows.total
            self._block, self._block_topics = rows.block, rows.block_topics
            self._newest_time = max(self._newest_time, judgement.entries[-1].time)
        self.records.count_items(judgement.items)
        for record in judgement.records.values():
            self.records.set(record)
        self.keys_held += len(judgement.keys)
        self._apply_removal(judgement, trim)

    def _apply_removal(self, judgement: Judgement, trim: Trim | None) -> None:
        """Bring the state up to date with what a commit removed. What it added may be left to `catch_up`."""
        if judgement.keys:
            self.keys_held -= len(judgement.stale_keys)
        if trim:
            self.floor, self._trimmed_total, self._oldest_time = trim.floor, trim.total, None
            self._marks_since = (self._marks_since + len(trim.marks)) % DROP_EVERY
            self._marks.update(trim.marks)

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
        """Forget some records whose time is over, and topics and runs that are too many. Return them."""
        excess = self.records.excess(self.floor)
        if excess:
            logger.warning(
                "forgot %d ended topics or runs of %s, the oldest of too many", len(excess), self.path
            )
        overdue = self.records.overdue(self.clock(), self.floor, FORGET_STEP)
        gone = [*overdue, *excess[:FORGET_STEP]]
        if gone:
            # In one statement, as a commit (see `staging`). Another process may have set some of them again.
            values = [(record.kind, record.name, record.offset) for record in gone]
            try:
                self._db.execute(FORGET_RECORDS, (orjson.dumps(values).decode(),))
            except sqlite3.Error:
                self.records.keep(overdue)
                raise
            for record in gone:
                self.records.forget(record.kind, record.name)
        return gone

    # -- retention

    def plan_trim(self, settings: Settings, step: int, *, spare_runs: bool = True) -> Trim | None:
        """
        Return what retention should delete now, at most `step` entries. Nothing is deleted yet.

        Runs that are open, or were a short time ago, are spared while the log is under twice its limits.
        """
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
        now = self.clock()
        spared = self.records.spared_from(now) if spare_runs else math.inf
        entries = starmap(OldEntry, orjson.loads(oldest))
        return plan(entries, self.head, self.total, self._trimmed_total, now, spared, settings)

    def _time_of_oldest(self) -> float:
        if self._oldest_time is None:
            found = self._one("SELECT time FROM entries WHERE offset = ?", self.floor)
            if found is None:
                return math.inf  # another process has trimmed it: this one has not caught up yet
            self._oldest_time = found[0]
        return self._oldest_time

    # -- what other processes store

    @property
    def is_behind(self) -> bool:
        """Whether this process has stored entries after some that it does not know yet."""
        return self.head < self._through

    def catch_up(self) -> News | None:
        """
        Learn what other processes have stored since the last look: a limited part of it, or None if nothing.

        Raises `sqlite3.Error`.
        """
        news = news_after(self._db, self.head, self.floor, self.total, self.lives)
        if news is None:
            return None
        if news.lost:
            before = self.records
            self._load_entries()
            self.records.take_items(before)
            self._load_marks()
            return news
        self._apply_marks(news)
        if news.entries:
            self._apply_entries(news)
        return news

    def _apply_marks(self, news: News) -> None:
        floor, marks, dropped, trimmed = news.retention
        if floor == self.floor:
            return
        self.floor, self._trimmed_total, self._oldest_time = floor, trimmed, None
        self._marks.update(marks, dropped)

    def _apply_entries(self, news: News) -> None:
        newest = news.entries[-1]
        self.head, self.total, self.keys_held = newest.offset, news.total, self.keys_held + news.keys
        self._newest_time = max(self._newest_time, newest.time)
        if (block := newest.offset >> BLOCK_BITS) != self._block:
            self._block, self._block_topics = block, frozenset()
        topics = {entry.topic for entry in news.entries if entry.offset >> BLOCK_BITS == block}
        self._block_topics |= topics
        for record in filter(None, map(record_of, news.entries)):
            # The entry of an end does not say until when the record is kept.
            found = self._one("SELECT * FROM records WHERE kind = ? AND name = ?", record.kind, record.name)
            if found is not None and found[4] == record.offset:
                self.records.set(Record(*found))

    # -- the file

    def look(self) -> None:
        """
        Raises `FileLost` if the file or its WAL was deleted, replaced or truncated, and
        `AnotherFailed` if another process could not write it.
        """
        self._watch.look()
        if self.nodes.line and (why := self.nodes.failure()):
            raise AnotherFailed(f"its disk has failed for another process ({why}); restart all of them")

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
            # Without the door, the process that is last to leave cannot know that it is.
            with contextlib.suppress(StartRefused), self.nodes.enter(CLOSE_TIMEOUT) as others:
                # Without its bell, the folder was deleted: there may be others that it does not name.
                if clean and not others and self.nodes.hears_rings:
                    with contextlib.suppress(sqlite3.Error):
                        self._set_meta("clean", 1)
                        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._leave()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._db.close()
        self.nodes.leave()
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


def shifted(result: Result, head: int, shift: int) -> Result:
    """Return an answer to a batch that was judged at `head` and stored `shift` offsets later."""
    if isinstance(result, TidewireError):
        return result
    return [
        receipt._replace(position=position._replace(offset=position.offset + shift))
        if (position := receipt.position).offset > head
        else receipt
        for receipt in result
    ]


def deadline(settings: Settings) -> float:
    """Return until when a commit that begins now waits for other processes, on the monotonic clock."""
    return time.monotonic() + PATIENCE * settings.engine_timeout


def make_folder_of(path: str) -> None:
    """Create the folder of the log at `path` if it is missing. Raises `StartRefused` if that fails."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise StartRefused(f"cannot create the folder of the log {path}: {error.strerror}") from None


def in_powers(values: Sequence[Any]) -> Iterator[tuple[list[Any], str]]:
    """Yield the values in parts, each padded with NULL to a power of two, and the placeholders of each."""
    for first in range(0, len(values), MAX_ROWS):
        part = list(values[first : first + MAX_ROWS])
        size = 1 << (len(part) - 1).bit_length()
        yield part + [None] * (size - len(part)), ", ".join("?" * size)
