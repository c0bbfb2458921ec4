"""
Virtual time: an event loop whose clock jumps, and a clock that is set by hand.

    @virtual
    async def test_a_quiet_stream() -> None:
        await asyncio.sleep(3600)  # at once
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class HandClock:
    """A clock in seconds that stands still until `now` is set: for engines that accept a clock."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class _Jump(selectors.DefaultSelector):
    """A selector that never waits: it moves the loop's clock instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "the loop has nothing left to do and would wait forever"
            self.loop.now += max(timeout, 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose clock jumps when nothing is left to do: an hour costs no time.

    Only for code that lives in the loop: it does not wait for threads, processes or the network.
    `drift`: seconds by which each reading of the clock advances it, so that work that
    yields "every few milliseconds" really does, and always at the same place.
    """

    def __init__(self) -> None:
        self.now = 1_000.0
        self.drift = 0.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        self.now += self.drift
        return self.now

    def step(self, count: int = 1) -> None:
        """Run what is ready now, `count` times, from outside the loop."""
        for _ in range(count):
            self.call_soon(self.stop)
            self.run_forever()


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a virtual loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run


async def quiet() -> None:
    """Return when everything that can be done now is done. In a virtual loop only."""
    await asyncio.sleep(0.05)


async def until(done: Callable[[], object], step: float = 0.0) -> None:
    """Return once `done()` is true. It is checked every `step` seconds of the loop's time (0: each turn)."""
    for _ in range(100_000):
        if done():
            return
        await asyncio.sleep(step)
    raise AssertionError("the condition did not become true")


def drift(seconds: float) -> None:
    """Let each reading of the running loop's clock advance it by `seconds`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.drift = seconds
