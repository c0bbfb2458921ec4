"""
The one timer of an event loop.

Deadlines are kept in buckets of half a second. One timer walks them at each whole and
half second, a few milliseconds at a time, so ten thousand heartbeats hold up nobody. An
item is looked at within half a second after its deadline, or too early: it returns its
next deadline. (A stream must end within a second of its token.)
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from typing import Protocol

logger = logging.getLogger("tidewire")

# Buckets in a second.
PER_SECOND = 2
# How often to ask for a tick that is to come once a second: deadlines are rounded up to half seconds.
EVERY_SECOND = 0.75

# A step of the event loop that we fill ourselves ends after this many seconds.
STEP = 0.004


class Timed(Protocol):
    """What has deadlines. `due` is its bucket, 0 while it has none; only `Deadlines` writes it."""

    due: int

    def tick(self, now: float) -> float | None:
        """Do what is due and return the next deadline, on the loop's clock; None: no more."""


class Deadlines:
    """The deadlines of one event loop. Get them by `deadlines_of_loop()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weakly: the dictionary of loops must not keep a closed one.
        self._loop_ref = weakref.ref(loop)
        self._buckets: dict[int, set[Timed]] = {}
        self._now_due: deque[Timed] = deque()
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._walked = 0

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop_ref()
        assert loop is not None, "callbacks of a loop end with it"
        return loop

    def watch(self, item: Timed, at: float) -> None:
        """See that `item` is ticked at `at`, or earlier if that was asked for before."""
        if self._timer is None:
            self._walked = bucket_at(self._loop.time())
            self._wait()
        bucket = max(bucket_at(at), self._walked) + 1
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
        self._timer = self._loop.call_at((self._walked + 1) / PER_SECOND, self._walk)

    def _walk(self) -> None:
        last = bucket_at(self._loop.time())
        for bucket in range(self._walked + 1, last + 1):
            self._now_due.extend(self._buckets.pop(bucket, ()))
        self._walked = max(self._walked, last)
        self._tick_some()

    def _tick_some(self) -> None:
        now = self._loop.time()
        while self._now_due:
            item = self._now_due.popleft()
            # Unwatched meanwhile, or watched again for a later bucket.
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


def bucket_at(time: float) -> int:
    """Return the bucket of a time of the loop's clock: the timer walks it at its beginning."""
    return int(time * PER_SECOND)


# By loop, since a stream from a generator has a loop and no hub.
_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = weakref.WeakKeyDictionary()


def deadlines_of_loop() -> Deadlines:
    """Return the deadlines of the running event loop, made at first use."""
    loop = asyncio.get_running_loop()
    deadlines = _of_loops.get(loop)
    if deadlines is None:
        deadlines = _of_loops[loop] = Deadlines(loop)
    return deadlines
