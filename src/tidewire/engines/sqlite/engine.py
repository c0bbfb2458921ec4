"""
The engine on a log file: the event loop's side of its writer thread and reader threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ...errors import InvalidInput, Unavailable, Unknown
from ...log.clock import LogClock
from ...log.engine import Durability, LookBack, Sink
from ...log.entries import Draft, Entry, Head, Page, Receipt, Record, Since
from ...log.judging import Result
from ...log.trimming import Trim
from ...log.waiting_batch import WaitingBatch
from ...settings import Settings
from ...topics import Selector
from .database import checkpoint, connect, unreadable
from .following import News
from .log_file import Clock, LogFile
from .lookout import Lookout
from .presence import SharedPresence
from .reader import Reader, open_reader
from .retention import Retention
from .watch import version_of
from .writer import Writer

logger = logging.getLogger("tidewire")

T = TypeVar("T")

# Threads that read pages: on two cores they already compete with the event loop and the writer.
READERS = 2
# Checking a log with more bytes than this takes seconds, so the start logs that it does.
LARGE_LOG = 64 * 1024 * 1024


class SQLiteEngine:
    """
    The log in the file that `url` names: `sqlite:///relative` or `sqlite:////absolute`.

    `clock` makes the log's clock from the newest entry's time. Raises
    `InvalidInput` if the URL has no path.
    """

    durability: Durability = "disk"
    shared = True
    trusted = True

    def __init__(self, url: str, settings: Settings, clock: Callable[[float], Clock] = LogClock) -> None:
        self.path = path_of(url)
        self._settings = settings
        self._clock = clock
        self._closed = False
        self._has_file = self._has_writer = self._released = False
        self._releasing = threading.Lock()
        # One more, for the thread that moves the WAL into the file.
        self._pool = ThreadPoolExecutor(READERS + 1, "tidewire-log-reader")
        self.failure = ""
        self.presence = SharedPresence(self._pool)

    async def open(self, sink: Sink) -> Head:
        """Open the file and start a new life. Raises `StartRefused` if the file cannot be opened as a log."""
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        try:
            head = await self._loop.run_in_executor(self._pool, self._open)
        except asyncio.CancelledError:
            # It goes on in its thread, and has the file and its lock at the end.
            self._loop.run_in_executor(None, self.release)
            raise
        except Exception:
            self.release()
            raise
        self._head, self._floor, self._marks = head.position.offset, head.floor, head.marks
        self._lives = head.lives
        self._writer = Writer(self._file, self._settings, LoopListener(self), self._begin_checkpoint)
        self.presence.open(self._file.nodes)
        version = partial(version_of, self._file.path)
        self._lookout = Lookout(self._file.nodes, self._writer.look, version, self.presence.look)
        self._has_writer = True
        return head

    def _open(self) -> Head:
        self._file = LogFile(self.path, clock=self._clock, on_check=self._on_check)
        with contextlib.ExitStack() as undo:
            undo.callback(self._file.close, clean=False)
            try:
                self._mover = connect(self._file.path)
                undo.callback(self._mover.close)
                self._readers: queue.SimpleQueue[Reader] = queue.SimpleQueue()
                for _ in range(READERS):
                    reader = open_reader(self._file.path)
                    undo.callback(reader.close)
                    self._readers.put(reader)
                head = self.with_newest(self._file.state())
            except sqlite3.Error as error:
                raise unreadable(self._file.path, error) from None
            undo.pop_all()
        self._has_file = True
        return head

    def with_newest(self, head: Head) -> Head:
        """Add the entries of a window: subscribers that reconnect after a restart find them in memory."""
        settings = self._settings
        with self._reader() as reader:
            newest = reader.newest(
                settings.window_entries, settings.window_bytes, head.position.offset, head.lives
            )
        return head._replace(newest=newest)

    def _on_check(self, size: int) -> None:
        if size > LARGE_LOG:
            logger.warning(
                "the log %s was not closed cleanly: checking its %d MiB", self.path, size // 1024**2
            )

    @property
    def has_peers(self) -> bool:
        return self.presence.has_peers

    async def close(self) -> None:
        """Write what is waiting, and close the file."""
        self._closed = True
        self.presence.close()
        await self._loop.run_in_executor(None, self.release)

    def release(self) -> None:
        """As `close`, from any thread, if the event loop is closed or `open` failed or was cancelled."""
        self._closed = True
        with self._releasing:
            if not self._released:
                self._released = True
                self._release()

    def _release(self) -> None:
        if self._has_writer:
            self._lookout.stop()
            self._writer.stop()
        self._pool.shutdown()
        if not self._has_file:
            return
        for _ in range(READERS):
            self._readers.get().close()
        self._mover.close()
        self._file.close(clean=not (self._has_writer and self._writer.broken))

    # -- appending

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        """Store all drafts or none. If cancelled before its turn, it stores nothing."""
        answer: asyncio.Future[list[Receipt]] = self._loop.create_future()
        self.put(WaitingBatch(drafts, answer))
        return answer

    def put(self, waiting: WaitingBatch) -> None:
        """As `append`, for a caller that has the answer already."""
        if self.failure or self._closed:
            waiting.tell(waiting.answer, self._unavailable())
        else:
            self._writer.put(waiting)

    def _unavailable(self) -> Unavailable:
        reason = self.failure or "it is closed"
        return Unavailable(f"the log can no longer be written: {reason}", code="engine_failed")

    # -- what the writer reports

    def on_commit(
        self, entries: Sequence[Entry], group: Sequence[WaitingBatch], results: Sequence[Result]
    ) -> None:
        if entries:
            self._head = entries[-1].offset
            self._sink.entries(entries)
        for (_, answer, tell), result in zip(group, results, strict=True):
            tell(answer, result)

    def on_news(self, news: News) -> None:
        if news.entries:
            self._head = news.entries[-1].offset
            self._sink.entries(news.entries)
        self._trimmed(news.retention)

    def on_lost(self, head: Head) -> None:
        self._head, self._floor, self._marks = head.position.offset, head.floor, head.marks
        self._sink.reset(head)

    def on_trim(self, trim: Trim) -> None:
        self._trimmed(Retention(trim.floor, trim.marks))

    def _trimmed(self, retention: Retention) -> None:
        """Report that retention moved, unless that is known: the writer and each page tell it."""
        floor, marks, dropped, _ = retention
        if floor <= self._floor:
            return
        self._marks.update((mark for mark in marks if mark[1] >= self._floor), dropped)
        self._floor = floor
        self._sink.trimmed(floor, self._marks)

    def on_forgotten(self, records: Sequence[Record]) -> None:
        self._sink.forgotten(records)

    def on_failure(self, group: Sequence[WaitingBatch], error: Exception) -> None:
        self.failure = str(error)
        for waiting in group:
            waiting.tell(waiting.answer, Unknown(f"writing the log failed: {error}", retry_after=1))
        for waiting in self._writer.take_waiting():
            waiting.tell(waiting.answer, self._unavailable())
        self._sink.available(False)

    # -- reading

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        """Return a page of at most `limit` entries and 256 KiB, or one larger entry."""
        first = max(after, self._floor - 1)  # the entries below the floor may not be deleted yet
        step = partial(Reader.page, after=first, limit=limit, selector=selector, lives=self._lives)
        found = await self._with_reader(partial(step, head=self._head, floor=self._floor))
        self._trimmed(found.retention)
        return Page(found.entries, max(after, found.through), self._floor, self._marks)

    async def locate(self, since: Since) -> int:
        """Return the offset after which `since` starts."""
        if since.kind == "start":
            return self._floor - 1
        if since.kind not in ("ago", "at"):
            newest = await self._with_reader(Reader.head)
            if newest > self._head:
                self._writer.look()
            return newest
        time = since.value if since.kind == "at" else self._file.clock() - since.value
        return await self._with_reader(partial(Reader.before, time=time, floor=self._floor, head=self._head))

    async def look_back(self, last: int, selector: Selector) -> LookBack:
        """Return the newest events up to `last` that `selector` matches, as far as one step goes."""
        step = partial(Reader.look_back, last=last, selector=selector, floor=self._floor)
        return await self._with_reader(step)

    async def _with_reader(self, query: Callable[[Reader], T]) -> T:
        """Run `query` on a reader's thread. It must not read entries that the sink has not had yet."""
        if self._closed:
            raise self._unavailable()

        def run() -> T:
            with self._reader() as reader:
                return query(reader)

        try:
            return await self._loop.run_in_executor(self._pool, run)
        except sqlite3.Error as error:
            logger.error("cannot read the log %s: %s", self.path, error)
            raise Unavailable("the log cannot be read", code="engine_failed", retry_after=1) from None

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Reader]:
        reader = self._readers.get()
        try:
            yield reader
        finally:
            self._readers.put(reader)

    def _begin_checkpoint(self) -> Future[bool]:
        return self._pool.submit(self._checkpoint)

    def _checkpoint(self) -> bool:
        with self._file.nodes.turn("checkpoint") as ours:
            if ours:
                checkpoint(self._mover)
            return ours


class LoopListener:
    """Passes the writer's reports on to the event loop, in order."""

    def __init__(self, engine: SQLiteEngine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()

    def _call(self, method: Callable[..., None], *values: Any) -> None:
        # After the loop is closed there is nothing left to notify.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(method, *values)

    def on_commit(
        self, entries: Sequence[Entry], group: Sequence[WaitingBatch], results: Sequence[Result]
    ) -> None:
        self._call(self._engine.on_commit, entries, group, results)

    def on_news(self, news: News) -> None:
        self._call(self._engine.on_news, news)

    def on_lost(self, head: Head) -> None:
        self._call(self._engine.on_lost, self._engine.with_newest(head))

    def on_trim(self, trim: Trim) -> None:
        self._call(self._engine.on_trim, trim)

    def on_forgotten(self, records: Sequence[Record]) -> None:
        self._call(self._engine.on_forgotten, records)

    def on_failure(self, group: Sequence[WaitingBatch], error: Exception) -> None:
        self._call(self._engine.on_failure, group, error)


def path_of(url: str) -> str:
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise InvalidInput(
            f"{url!r} does not name a file; use sqlite:///relative/path or sqlite:////absolute/path",
            code="invalid_engine",
        )
    return path
