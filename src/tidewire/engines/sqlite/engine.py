"""
The engine on a log file: the event loop's side of the thread that writes and of those that read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ...errors import InvalidInput, TidewireError, Unavailable, Unknown
from ...log.clock import LogClock
from ...log.engine import Durability, Sink
from ...log.entries import Draft, Entry, Head, Page, Receipt, Since
from ...log.judging import Result
from ...log.last_events import LastEvents
from ...settings import Settings
from ...topics import Selector
from .database import checkpoint, connect, unreadable
from .log_file import Clock, LogFile, Trim
from .reader import Reader
from .writer import WaitingBatch, Writer

logger = logging.getLogger("tidewire")

T = TypeVar("T")

# Pages read at once. They share two cores at most with the event loop and the writer.
READERS = 2
# Looking through more bytes takes seconds, so a start says that it does.
WORTH_SAYING = 64 * 1024 * 1024


class SQLiteEngine:
    """
    The log in the file that `url` names: `sqlite:///relative` or `sqlite:////absolute`.

    `clock` makes the log's clock from the newest entry's time. Raises
    `InvalidInput` for a URL without a path.
    """

    durability: Durability = "disk"
    shared = False

    def __init__(self, url: str, settings: Settings, clock: Callable[[float], Clock] = LogClock) -> None:
        self.path = path_of(url)
        self._settings = settings
        self._clock = clock
        self._closed = False
        self.failure = ""

    async def open(self, sink: Sink) -> Head:
        """Open the file; a new life begins. Raises `StartRefused`."""
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        # One more, for the thread that moves the WAL into the file.
        self._pool = ThreadPoolExecutor(READERS + 1, "tidewire-log-reader")
        try:
            head = await self._loop.run_in_executor(self._pool, self._open)
        except BaseException:
            self._pool.shutdown(wait=False)
            raise
        self._head, self._floor, self._marks = head.position.offset, head.floor, head.marks
        self._lives = head.lives
        self._writer = Writer(self._file, self._settings, LoopListener(self), self._begin_checkpoint)
        return head

    def _open(self) -> Head:
        self._file = LogFile(self.path, clock=self._clock, checking=self._checking)
        with contextlib.ExitStack() as undo:
            undo.callback(self._file.close, clean=False)
            try:
                self._mover = connect(self._file.path)
                undo.callback(self._mover.close)
                self._readers: queue.SimpleQueue[Reader] = queue.SimpleQueue()
                for _ in range(READERS):
                    reader = Reader(self._file.path)
                    undo.callback(reader.close)
                    self._readers.put(reader)
                head = self._with_newest(self._file.state())
            except sqlite3.Error as error:
                raise unreadable(self._file.path, error) from None
            undo.pop_all()
        return head

    def _with_newest(self, head: Head) -> Head:
        """Add the entries that a window holds: who comes back after a restart finds them in memory."""
        settings = self._settings
        with self._reader() as reader:
            newest = reader.newest(
                settings.window_entries, settings.window_bytes, head.position.offset, head.lives
            )
        return head._replace(newest=newest)

    def _checking(self, size: int) -> None:
        if size > WORTH_SAYING:
            logger.warning(
                "the log %s was not closed: looking through its %d MiB", self.path, size // 1024**2
            )

    async def close(self) -> None:
        """Write what waits, and close the file."""
        if not self._closed:
            self._closed = True
            await self._loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._writer.stop()
        self._pool.shutdown()
        for _ in range(READERS):
            self._readers.get().close()
        self._mover.close()
        self._file.close(clean=not self._writer.broken)

    # -- appending

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        """Store all drafts or none. Cancelled before its turn, nothing is stored."""
        answer: asyncio.Future[list[Receipt]] = self._loop.create_future()
        if self.failure or self._closed:
            answer.set_exception(self._unavailable())
            return answer
        self._writer.put(WaitingBatch(drafts, answer))
        return answer

    def _unavailable(self) -> Unavailable:
        reason = self.failure or "it is closed"
        return Unavailable(f"the log cannot be written any more: {reason}", code="engine_failed")

    # -- what the writer tells

    def on_commit(
        self, entries: Sequence[Entry], group: Sequence[WaitingBatch], results: Sequence[Result]
    ) -> None:
        if entries:
            self._head = entries[-1].offset
            self._sink.entries(entries)
        for request, result in zip(group, results, strict=True):
            give(request.answer, result)

    def on_trim(self, trim: Trim) -> None:
        self._floor = trim.floor
        for mark in trim.marks:
            self._marks.set(*mark)
        self._sink.trimmed(trim.floor, self._marks)

    def on_failure(self, group: Sequence[WaitingBatch], error: Exception) -> None:
        self.failure = str(error)
        for request in group:
            give(request.answer, Unknown(f"the log failed while it was written: {error}", retry_after=1))
        for request in self._writer.take_waiting():
            give(request.answer, self._unavailable())
        self._sink.available(False)

    # -- reading

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        """Return a page of at most `limit` entries and 256 KiB, or of one entry."""
        entries, through = await self._ask(
            partial(
                Reader.page, after=after, head=self._head, limit=limit, selector=selector, lives=self._lives
            )
        )
        # As it is told by now: see rule 2 of the writer.
        return Page(entries, max(after, through), self._floor, self._marks)

    async def locate(self, since: Since, selector: Selector) -> int:
        """Return the offset after which `since` begins."""
        if since.kind == "start":
            return self._floor - 1
        if since.kind not in ("last", "ago", "at"):
            return self._head
        if since.kind == "last":
            return await self._before_last(int(since.value), selector)
        time = since.value if since.kind == "at" else self._file.clock() - since.value
        return await self._ask(partial(Reader.before, time=time, floor=self._floor, head=self._head))

    async def _before_last(self, count: int, selector: Selector) -> int:
        # A step at a time: others want to read, too.
        floor = self._floor
        search = LastEvents(count, floor, self._head)
        while not search.done:
            step = partial(Reader.newest_matching, selector=selector, floor=floor, head=search.last)
            search.look(*await self._ask(step))
        return search.before

    async def _ask(self, question: Callable[[Reader], T]) -> T:
        """Ask a reader, on its thread. What the sink has not been told of is not to be asked for."""
        if self._closed:
            raise self._unavailable()

        def answer() -> T:
            with self._reader() as reader:
                return question(reader)

        try:
            return await self._loop.run_in_executor(self._pool, answer)
        except sqlite3.Error as error:
            logger.error("the log %s cannot be read: %s", self.path, error)
            raise Unavailable("the log cannot be read", code="engine_failed", retry_after=1) from None

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Reader]:
        reader = self._readers.get()
        try:
            yield reader
        finally:
            self._readers.put(reader)

    def _begin_checkpoint(self) -> Future[int]:
        return self._pool.submit(checkpoint, self._mover)


class LoopListener:
    """Passes on to the event loop what the writer tells, in its order."""

    def __init__(self, engine: SQLiteEngine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()

    def _call(self, method: Callable[..., None], *values: Any) -> None:
        # A loop that is closed has nobody who could hear of it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(method, *values)

    def on_commit(
        self, entries: Sequence[Entry], group: Sequence[WaitingBatch], results: Sequence[Result]
    ) -> None:
        self._call(self._engine.on_commit, entries, group, results)

    def on_trim(self, trim: Trim) -> None:
        self._call(self._engine.on_trim, trim)

    def on_failure(self, group: Sequence[WaitingBatch], error: Exception) -> None:
        self._call(self._engine.on_failure, group, error)


def give(answer: asyncio.Future[list[Receipt]], result: Result) -> None:
    if answer.done():
        return  # nobody waits for it any more
    if isinstance(result, TidewireError):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def path_of(url: str) -> str:
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise InvalidInput(
            f"{url!r} names no file: write sqlite:///relative/path or sqlite:////absolute/path",
            code="invalid_engine",
        )
    return path
