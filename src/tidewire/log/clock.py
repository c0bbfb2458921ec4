"""
The log's clock.
"""

from __future__ import annotations

import time


class LogClock:
    """
    The log's clock, in Unix seconds.

    At open the later of the wall clock and the newest entry's time, then the
    monotonic clock: it never goes backwards, whatever the wall clock does.
    """

    def __init__(self, newest: float = 0.0) -> None:
        self._base = max(time.time(), newest) - time.monotonic()

    def __call__(self) -> float:
        return self._base + time.monotonic()

    @classmethod
    def continued(cls, continuation: int) -> LogClock:
        """Return the clock of another process of this machine, from what `continuation` returned there."""
        clock = cls()
        clock._base = continuation / 1_000_000
        return clock

    @staticmethod
    def continuation(now: float) -> int:
        """Return what another process needs to go on with a clock that shows `now`, in microseconds."""
        return round((now - time.monotonic()) * 1_000_000)
