"""
The open streams of one event loop: the only timer, and the end of all in good order.

Deadlines lie in buckets of one second. One timer walks them at each whole second,
a few milliseconds at a time, so ten thousand heartbeats hold up nobody. An item
is looked at within the second after its deadline, or too early: it says itself
when to come back.

The dictionary of loops is the only module-level state of the package: a signal
reaches a process, not a hub, and must find the streams of its loop.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Protocol

logger = logging.getLogger("tidewire")

# A step of the event loop that we fill ourselves ends after this many seconds.
STEP = 0.004

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Timed(Protocol):
    """What has deadlines. `due` is its bucket, 0 while it has none; only `Streams` writes it."""

    due: int

    def tick(self, now: float) -> float | None:
        """Do what is due and return the next deadline, on the loop's clock; None: no more."""


class Drainable(Protocol):
    async def drain(self) -> None:
        """End all streams in good order. Never raises for one that is gone."""


class Streams:
    """Timer, drain and signals of one event loop. Get it by `streams_of_loop()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weakly: the dictionary of loops must not keep a closed one.
        self._loop_ref = weakref.ref(loop)
        self._buckets: dict[int, set[Timed]] = {}
        self._now_due: deque[Timed] = deque()
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._walked = 0
        self._drainables: set[Drainable] = set()
        self._drains: dict[Drainable, asyncio.Task[None]] = {}
        self._process_stops = False

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop_ref()
        assert loop is not None, "callbacks of a loop end with it"
        return loop

    # -- deadlines

    def watch(self, item: Timed, at: float) -> None:
        """See that `item` is ticked at `at`, or earlier if that was asked for before."""
        if self._timer is None:
            self._walked = int(self._loop.time())
            self._wait()
        bucket = max(int(at), self._walked) + 1
        if item.due:
            if item.due <= bucket:
                return
            self.unwatch(item)
        item.due = bucket
        self._buckets.setdefault(bucket, set()).add(item)

    def unwatch(self, item: Timed) -> None:
        bucket = self._buckets.get(item.due)
        if bucket is not None:
            bucket.discard(item)
            if not bucket:
                del self._buckets[item.due]
        item.due = 0

    def _wait(self) -> None:
        self._timer = self._loop.call_at(self._walked + 1, self._walk)

    def _walk(self) -> None:
        now = self._loop.time()
        for second in range(self._walked + 1, int(now) + 1):
            self._now_due.extend(self._buckets.pop(second, ()))
        self._walked = max(self._walked, int(now))
        self._tick_some()

    def _tick_some(self) -> None:
        now = self._loop.time()
        while self._now_due:
            item = self._now_due.popleft()
            # Unwatched meanwhile, or watched anew for a later second.
            if not item.due or item.due > self._walked:
                continue
            item.due = 0
            self._tick(item, now)
            if self._loop.time() > now + STEP:
                self._timer = self._loop.call_soon(self._tick_some)
                return
        if self._buckets:
            self._wait()
        else:
            self._timer = None

    def _tick(self, item: Timed, now: float) -> None:
        try:
            at = item.tick(now)
        except Exception:
            # One that fails must not take the timer from all others.
            logger.exception("a deadline failed")
        else:
            if at is not None:
                self.watch(item, at)

    # -- stopping

    def register(self, drainable: Drainable) -> None:
        """Have `drainable` drained when this process or its server stops."""
        self._drainables.add(drainable)
        self.chain_signals()
        if self._process_stops:
            # Its request was already on the way when the signal came.
            self.start_drain()

    def unregister(self, drainable: Drainable) -> None:
        self._drainables.discard(drainable)

    def start_drain(self) -> None:
        """Begin the drain of everything on this loop; what is being drained already goes on."""
        for drainable in self._drainables - self._drains.keys():
            self._drains[drainable] = self._loop.create_task(self._drain(drainable))

    async def _drain(self, drainable: Drainable) -> None:
        try:
            await drainable.drain()
        except Exception as error:
            logger.error("a drain failed: %r", error)
        finally:
            del self._drains[drainable]

    def when_drained(self, then: Callable[[], object]) -> None:
        """Call `then` as soon as nothing is being drained."""
        if self._drains:
            one = next(iter(self._drains.values()))
            one.add_done_callback(lambda _: self.when_drained(then))
        else:
            then()

    # -- signals

    def chain_signals(self) -> None:
        """
        Put the drain before what is done on SIGTERM and SIGINT.

        Servers close lifespans only after all connections have ended, and
        streams do not end by themselves: without this each waits for the other.
        To be called for every stream that only a signal can end: a server may
        have put its handlers in place of ours.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if isinstance(handler, DrainFirst) and handler.streams.running_loop() is None:
                handler = handler.before  # left by a loop that is no more
            chained = isinstance(handler, DrainFirst) and handler.streams is self
            if handler is not None and handler is not signal.SIG_IGN and not chained:
                signal.signal(number, DrainFirst(self, handler))

    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        loop = self._loop_ref()
        return loop if loop is not None and loop.is_running() else None

    @property
    def busy(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._drainables or self._drains)

    def stop(self) -> None:
        """Begin the drain, also of what is still to come: the process stops."""
        self._process_stops = True
        self.start_drain()


class DrainFirst:
    """A signal handler: the drain of a loop's streams, and what was `before` it."""

    def __init__(self, streams: Streams, before: Any) -> None:
        self.streams = streams
        self.before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        loop = self.streams.running_loop()
        if loop is not None:
            loop.call_soon_threadsafe(self.streams.stop)
        if callable(self.before):
            self.before(number, frame)
        elif loop is not None and self.streams.busy:
            # The default action would end the process before the drain.
            loop.call_soon_threadsafe(self.streams.when_drained, partial(default_action, number))
        else:
            default_action(number)


def default_action(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Streams] = weakref.WeakKeyDictionary()


def streams_of_loop() -> Streams:
    """Return the streams of the running event loop, made at first use."""
    loop = asyncio.get_running_loop()
    streams = _of_loops.get(loop)
    if streams is None:
        streams = _of_loops[loop] = Streams(loop)
    return streams
