"""
A stream within this process: `async for event in hub.subscribe("orders/*")`.

It is a subscriber like any other, on a wire without a socket. The wire is full while it holds an event
that was not taken. So a slow consumer falls behind and reads the log at its own speed: there is no queue
to overflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, Self, TypeVar

from ..errors import StartRefused, Unavailable
from ..event_stream import Decoder, Event
from ..items import NOT_YIELDED, End, typed
from ..log.entries import Since
from ..position import Position
from ..topics import Selector
from .node import Node
from .subscriber import Subscriber

T = TypeVar("T")

# Seconds added to the age at which a stream ends. Others end so that a deploy is nothing special to clients.
AGELESS = 1e9
# Seconds between two looks of a waiting thread at whether the hub's event loop is still there.
LOOK = 1.0


class LocalWire:
    """The wire of a stream whose consumer is in this process."""

    def __init__(self, node: Node, subscriber: Subscriber) -> None:
        self.node = node
        self.items: deque[Event] = deque()
        self.over = False
        self.broken = False  # it ended for another reason than the end of its topics or of the hub
        self.changed = asyncio.Event()
        self._subscriber = subscriber
        self._decoder = Decoder()
        self._last: Event | None = None
        self._taken = itertools.count()

    def begin(self, first: bytes) -> None:
        """Start with `first`, the bytes that come with the head of a response."""
        self._add(first)
        self._subscriber.agent = "hub.subscribe"
        self._subscriber.attach(self, "raw")
        self._subscriber.until += AGELESS
        self._pause_if_full()

    def write(self, data: bytes, /) -> None:
        self._add(data)
        self._pause_if_full()

    def _add(self, data: bytes) -> None:
        events = [typed(event) for event in self._decoder.feed(data)]
        if events:
            self._last = events[-1]
            self.items += events
            self.changed.set()

    def _pause_if_full(self) -> None:
        if self.items and not self.over:
            self._subscriber.pause_writing()

    def take(self) -> Event:
        """Return the oldest item. Once there is none, the next ones come."""
        item = self.items.popleft()
        if not self.items:
            self._subscriber.resume_writing()
        return item

    def end(self) -> None:
        self.broken = not (self.node.draining or isinstance(self._last, End))
        self.leave()

    def cut(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.broken = True
        self.leave()

    def leave(self) -> None:
        """End the stream, from either side. What it has is still to be taken."""
        if not self.over:
            self.over = True
            self.changed.set()
            self._subscriber.lost()

    def acknowledged(self) -> int:
        """Return a new number each time: a consumer may take any time, since it costs only a position."""
        return next(self._taken)

    def tolerate_stalls(self, tolerate: bool) -> None:
        """Do nothing: there is no connection that could stall."""


class Subscription(AsyncIterator[Event]):
    """
    A stream within this process: an async iterator on the hub's event loop, an iterator in any other thread.

    It starts when it is first iterated, or entered by `async with` (`with` in a thread). It yields events,
    and among them a `Gap` where events may be missing and an `End` where a topic ends. It ends once all its
    topics have ended, when the hub drains, and by `break`, `aclose` or `close`. `last_event_id` is the
    position to go on from. Raises `Unavailable` if the log cannot be read any more.
    """

    def __init__(
        self,
        opened: Callable[[], Awaitable[Node]],
        loop: Callable[[], asyncio.AbstractEventLoop],
        selector: Selector,
        claim: Since | Position,
    ) -> None:
        self.last_event_id = ""
        self._opened = opened
        self._find_loop = loop
        self._selector = selector
        self._claim = claim
        self._wire: LocalWire | None = None
        self._begun = self._closed = False

    # -- on the hub's event loop

    async def __anext__(self) -> Event:
        if (item := await self._next()) is None:
            raise StopAsyncIteration
        return item

    async def _next(self) -> Event | None:
        await self._begin()
        while (wire := self._wire) is not None:
            while wire.items:
                item = wire.take()
                self.last_event_id = item.id or self.last_event_id
                if item.event not in NOT_YIELDED:
                    return item
            if wire.over:
                self._wire = None
                if wire.broken and not self._closed:
                    raise Unavailable(
                        "the log cannot be read; subscribe again with since=last_event_id",
                        code="engine_unavailable",
                    )
                break
            wire.changed.clear()
            await wire.changed.wait()
        return None

    async def _begin(self) -> None:
        if self._begun:
            return
        node = await self._opened()
        if refusal := node.refusal():
            raise refusal
        opening = await node.subscribe(self._selector, self._claim)
        if self._begun or self._closed:
            return
        self._begun = True
        if opening is not None:
            subscriber, first = opening
            self._wire = LocalWire(node, subscriber)
            weakref.finalize(self, forsake, self._wire).atexit = False
            self._wire.begin(first)

    async def aclose(self) -> None:
        """End the stream. Items that were not taken are dropped: they are still in the log."""
        self._begun = self._closed = True
        if self._wire is not None:
            self._wire.items.clear()
            self._wire.leave()

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- in any other thread

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if (item := self._call(self._next())) is None:
            raise StopIteration
        return item

    def close(self) -> None:
        """As `aclose`, from a thread; another thread that waits for the next event stops waiting."""
        self._call(self.aclose())

    def __enter__(self) -> Self:
        self._call(self._begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(StartRefused):  # the loop is closed, and the stream with it
            self.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return call(work, self._find_loop)


def call(work: Coroutine[Any, Any, T], find_loop: Callable[[], asyncio.AbstractEventLoop]) -> T:
    """
    Run `work` on the hub's event loop, from another thread, and return its result.

    Raises `StartRefused` if the hub is not open, if its loop ends, or if this thread runs that loop.
    """
    try:
        loop = find_loop()
        if loop is running_loop():
            raise StartRefused(
                "this thread runs the event loop of the hub, and would wait for itself: use await"
            )
        future = asyncio.run_coroutine_threadsafe(work, loop)
    except (StartRefused, RuntimeError):
        work.close()
        raise
    while not loop.is_closed():
        try:
            return future.result(LOOK)
        except TimeoutError:
            if future.done():
                return future.result()
        except CancelledError:
            break
        except BaseException:
            future.cancel()  # interrupted: an event must not be taken for nobody
            raise
    raise StartRefused("the event loop of the hub has ended")


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def forsake(wire: LocalWire) -> None:
    """End the stream of a subscription that nobody has any more, as after `break`; from any thread."""
    if not wire.over:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            wire.node.loop.call_soon_threadsafe(wire.leave)
