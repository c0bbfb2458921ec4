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
