"""
The one thread that writes a log file.

    waiting batches -> one transaction for all of them -> reported to the event loop
    retention: planned -> reported to the event loop -> deleted with the next transaction

Rule 1: entries are reported to the event loop after their commit, and receipts after that.
Rule 2: a trim is reported before the trimmed entries are deleted. So a page that is read
        later never lacks entries that the event loop believes to be there.
        Another process may trim at any time, so a page carries the floor it was read with.
Rule 3: what other processes stored is reported before what this one stores after it.
Rule 4: after an error that leaves the disk's state unknown, nothing more is written:
        a second fsync after a failed one falsely reports success. A file that was
        deleted, replaced or truncated is such an error, whether or not there is
        anything to write.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from ...errors import StoreFull, Unavailable
from ...log.entries import Draft, Entry, Head, Record
from ...log.judging import Result
from ...log.trimming import Trim
from ...log.waiting_batch import WaitingBatch
from ...settings import Settings
from .database import busy, is_busy, is_io_error, refusal
from .following import News
from .log_file import LogFile, deadline
from .staging import Moved
from .waiting_line import pause

logger = logging.getLogger("tidewire")

# Drafts in one transaction; a larger batch gets its own transaction.
GROUP = 2_048
# Entries trimmed with one transaction, or twice as many as were added, if that is more.
TRIM_STEP = 256
# Seconds between checks for entries and keys that are too old.
TRIM_EVERY = 1.0
# Roughly the bytes written before the WAL is moved into the file.
CHECKPOINT = 4 * 1024 * 1024
# Bytes a commit writes besides its entries: pages are written whole.
COMMIT_BYTES = 16 * 1024


class Look:
    """What `look` puts into the queue: other processes may have stored something."""


LOOK = Look()


class WriterListener(Protocol):
    """Notified from the writer's thread, in the order in which things happened."""

    def on_commit(
        self, entries: Sequence[Entry], group: Sequence[WaitingBatch], results: Sequence[Result]
    ) -> None:
        """A transaction is on the disk; or it could not be stored, and there are only results."""

    def on_news(self, news: News) -> None:
        """Another process has stored or trimmed entries."""

    def on_lost(self, head: Head) -> None:
        """Retention has taken entries that this process never saw: the log goes on from `head`."""

    def on_trim(self, trim: Trim) -> None:
        """Entries are about to be deleted."""

    def on_forgotten(self, records: Sequence[Record]) -> None:
        """Records are deleted: their time was over."""

    def on_failure(self, group: Sequence[WaitingBatch], error: Exception) -> None:
        """It is unknown whether `group` is stored; nothing after it will be."""


class Writer:
    """
    Writes the batches that `put` adds until it is stopped.

    `checkpoint` starts to move the WAL into the file on another thread.
    """

    def __init__(
        self,
        file: LogFile,
        settings: Settings,
        listener: WriterListener,
        checkpoint: Callable[[], Future[bool]],
    ) -> None:
        self._file = file
        self._settings = settings
        self._listener = listener
        self._checkpoint = checkpoint
        self._queue: queue.SimpleQueue[WaitingBatch | Look | None] = queue.SimpleQueue()
        self._looking = False  # a look is waiting in the queue
        self._trim: Trim | None = None
        self._trim_due = self._keys_due = 0.0
        self._untrimmed = 0  # entries added since a trim was last planned
        self._fresh = 0  # bytes that went into the WAL since it was last moved
        self._moving: Future[bool] | None = None
        self._full = self._look_due = False
        self.broken = False
        self._thread = threading.Thread(target=self._run, name="tidewire-log-writer", daemon=True)
        self._thread.start()

    def put(self, waiting: WaitingBatch) -> None:
        self._queue.put(waiting)

    def look(self) -> None:
        """Report soon what other processes have stored. Any thread may call it."""
        if not self._looking:
            self._looking = True
            self._queue.put(LOOK)

    def stop(self) -> None:
        """Write what is waiting, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def take_waiting(self) -> list[WaitingBatch]:
        """Return the batches that were still waiting when the writer failed."""
        found = []
        while not self._queue.empty():
            found.append(self._queue.get())
        return [waiting for waiting in found if isinstance(waiting, WaitingBatch)]

    # -- the thread

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group, stopping = self._next_group()
            try:
                if not group:
                    self._look_if_due()
                self._write(group)
                # Later, so that the group gets its turn sooner: what it was judged by may be old.
                self._look_if_due()
                self._do_housekeeping()
            except Exception as error:
                logger.critical("the log %s can no longer be written: %s", self._file.path, error)
                self.broken = True
                if is_io_error(error):
                    self._file.nodes.fail(str(error))
                self._listener.on_failure(group, error)
                return

    def _next_group(self) -> tuple[list[WaitingBatch], bool]:
        """Return the waiting batches, at most a transaction's worth, and whether they are the last."""
        group: list[WaitingBatch] = []
        count = 0
        try:
            waiting = self._queue.get(timeout=0 if self._trim and not self._full else TRIM_EVERY)
        except queue.Empty:
            return group, False
        while waiting is not None:
            if isinstance(waiting, Look):
                # Before the writer reads the log: what comes later is another look.
                self._looking = False
                self._look_due = True
            elif not waiting.answer.done():
                group.append(waiting)
                count += len(waiting.drafts)
            # No other thread takes from it.
            if count >= GROUP or self._queue.empty():
                return group, False
            waiting = self._queue.get()
        return group, True

    def _write(self, group: Sequence[WaitingBatch]) -> None:
        if not (group or self._trim):
            self._file.look()
            return
        batches, before = [waiting.drafts for waiting in group], self._file.total
        try:
            entries, results = self._commit(batches)
        except (StoreFull, Unavailable) as error:
            self._full = True
            answers = self._file.answers_without_storing(batches, error, self._settings)
            self._listener.on_commit([], group, answers)
            return
        self._full, self._trim = False, None
        self._fresh += COMMIT_BYTES + 2 * (self._file.total - before)
        behind = self._file.is_behind
        if behind:
            self._look()
        self._untrimmed += len(entries)
        self._listener.on_commit(entries, group, results)
        if entries or behind:
            self._file.nodes.ring_after_commit()

    def _commit(self, batches: Sequence[Sequence[Draft]]) -> tuple[list[Entry], list[Result]]:
        until = deadline(self._settings)
        while True:
            try:
                return self._file.commit(batches, self._trim, self._settings, (), until)
            except Moved:
                if time.monotonic() > until:
                    raise busy() from None
                self._look()

    def _look_if_due(self) -> None:
        if self._look_due:
            self._look()

    def _look(self) -> None:
        try:
            self._catch_up()
        except sqlite3.Error as error:
            # One process repairs what another one left when it was killed; meanwhile nobody can read.
            if not is_busy(error):
                raise
            pause()
            self.look()

    def _catch_up(self) -> None:
        """Report what other processes have stored, all of it."""
        self._look_due = False
        floor, more = self._file.floor, True
        while more:
            news = self._file.catch_up()
            more = news is not None and news.more
            if news is not None and news.lost:
                self._listener.on_lost(self._file.state())
            elif news is not None:
                self._fresh += COMMIT_BYTES + 2 * sum(entry.size for entry in news.entries)
                self._listener.on_news(news)
        if self._file.floor != floor:
            self._trim = None  # another process has trimmed: what is left to trim is another matter

    # -- housekeeping

    def _do_housekeeping(self) -> None:
        now = time.monotonic()
        try:
            if self._trim is None and (self._untrimmed >= TRIM_STEP or now >= self._trim_due):
                self._plan_trim(now)
            if now >= self._keys_due:
                self._forget(now)
            self._move_wal()
        except sqlite3.Error as error:
            if refusal(error) is None:
                raise

    def _forget(self, now: float) -> None:
        """Forget expired keys and records; when there are no more of them, look again later."""
        more_keys = self._file.forget_keys(self._settings)
        records = self._file.forget_records()
        if records:
            self._listener.on_forgotten(records)
        if not (more_keys or records):
            self._keys_due = now + TRIM_EVERY

    def _plan_trim(self, now: float) -> None:
        step = max(TRIM_STEP, 2 * self._untrimmed)
        self._trim = self._file.plan_trim(self._settings, step)
        self._untrimmed = 0
        if self._trim:
            self._listener.on_trim(self._trim)
        if self._trim is None or self._trim.floor - self._file.floor < step:
            # The rest can wait: trimming one entry after each commit would double the commits.
            self._trim_due = now + TRIM_EVERY

    def _move_wal(self) -> None:
        if self._moving is not None and self._moving.done():
            moved, self._moving = self._moving, None
            if not moved.result():
                return  # another process does it
            # What was added in the meantime is small. Once all of it is moved, the WAL restarts.
            with self._file.nodes.turn("checkpoint") as ours:
                if ours:
                    self._file.checkpoint()
        elif self._moving is None and self._fresh > CHECKPOINT:
            self._fresh = 0
            self._moving = self._checkpoint()
