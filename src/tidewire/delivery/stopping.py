"""
Draining all streams of an event loop before the process stops.

A signal reaches a process, not a hub, so what there is to drain is kept by event
loop, in a dictionary of this module.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Protocol

from .tasks import start

logger = logging.getLogger("tidewire")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drainable(Protocol):
    async def drain(self) -> None:
        """End all streams cleanly. Never raises for one that is gone."""


class Drains:
    """What is drained when one event loop stops. Get it by `drains_of_loop()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weakly: the dictionary of loops must not keep a closed one.
        self._loop_ref = weakref.ref(loop)
        self._drainables: set[Drainable] = set()
        self._drains: dict[Drainable, asyncio.Task[None]] = {}
        self._process_stops = False
        self._process = os.getpid()

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop_ref()
        assert loop is not None, "callbacks of a loop end with it"
        return loop

    def register(self, drainable: Drainable) -> None:
        """Have `drainable` drained when this process or its server stops."""
        self._drainables.add(drainable)
        self.chain_signals()
        if self._process_stops:
            # Its request was already on the way when the signal came.
            self.start_drain()

    def go_on(self) -> None:
        """Do not drain what is registered from now on: the signal has not ended the process."""
        self._process_stops = False

    def unregister(self, drainable: Drainable) -> None:
        self._drainables.discard(drainable)

    def start_drain(self) -> None:
        """Begin the drain of everything on this loop; what is being drained already goes on."""
        for drainable in self._drainables - self._drains.keys():
            self._drains[drainable] = start(self._drain(drainable))

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
            if isinstance(handler, DrainFirst) and handler.drains.running_loop() is None:
                handler = handler.before  # left by a loop that is no more
            chained = isinstance(handler, DrainFirst) and handler.drains is self
            if handler is not None and handler is not signal.SIG_IGN and not chained:
                signal.signal(number, DrainFirst(self, handler))

    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        # A forked child has a copy of a loop that seems to run.
        loop = self._loop_ref() if os.getpid() == self._process else None
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

    def __init__(self, drains: Drains, before: Any) -> None:
        self.drains = drains
        self.before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        loop = self.drains.running_loop()
        if loop is not None:
            loop.call_soon_threadsafe(self.drains.stop)
        if callable(self.before):
            self.before(number, frame)
        elif loop is not None and self.drains.busy:
            # The default action would end the process before the drain.
            loop.call_soon_threadsafe(self.drains.when_drained, partial(default_action, number))
        else:
            default_action(number)


def default_action(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Drains] = weakref.WeakKeyDictionary()


def drains_of_loop() -> Drains:
    """Return the drains of the running event loop, made at first use."""
    loop = asyncio.get_running_loop()
    drains = _of_loops.get(loop)
    if drains is None:
        drains = _of_loops[loop] = Drains(loop)
    return drains
