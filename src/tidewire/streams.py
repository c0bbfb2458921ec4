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
        self._drain: asyncio.Task[None] | None = None
        self._chained = False

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
        self._chain_signals()

    def unregister(self, drainable: Drainable) -> None:
        self._drainables.discard(drainable)

    def start_drain(self) -> None:
        """Begin the drain of everything on this loop; a second call changes nothing."""
        if self._drain is None and self._drainables:
            self._drain = self._loop.create_task(self._drain_all())

    async def _drain_all(self) -> None:
        try:
            results = await asyncio.gather(
                *(item.drain() for item in self._drainables), return_exceptions=True
            )
            for result in results:
                if isinstance(result, Exception):
                    logger.error("a drain failed: %r", result)
        finally:
            self._drain = None

    def _chain_signals(self) -> None:
        """
        Put the drain before what the server does on SIGTERM and SIGINT.

        Servers close lifespans only after all connections have ended, and
        streams do not end by themselves: without this each waits for the other.
        """
        if self._chained or threading.current_thread() is not threading.main_thread():
            return
        self._chained = True
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler is not None and handler is not signal.SIG_IGN:
                signal.signal(number, self._chain(number, handler))

    def _chain(self, number: int, handler: Any) -> Callable[[int, FrameType | None], None]:
        def drain_first(received: int, frame: FrameType | None) -> None:
            loop = self._loop_ref()
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self.start_drain)
            if callable(handler):
                handler(received, frame)
            else:
                # The default action would end the process before the drain.
                signal.signal(number, signal.SIG_DFL)
                self._raise_after_drain(number)

        return drain_first

    def _raise_after_drain(self, number: int) -> None:
        def wait() -> None:
            if self._drain is None:
                signal.raise_signal(number)
            else:
                self._drain.add_done_callback(lambda _: signal.raise_signal(number))

        loop = self._loop_ref()
        if loop is None or loop.is_closed():
            signal.raise_signal(number)
        else:
            loop.call_soon_threadsafe(wait)


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Streams] = weakref.WeakKeyDictionary()


def streams_of_loop() -> Streams:
    """Return the streams of the running event loop, made at first use."""
    loop = asyncio.get_running_loop()
    streams = _of_loops.get(loop)
    if streams is None:
        streams = _of_loops[loop] = Streams(loop)
    return streams
