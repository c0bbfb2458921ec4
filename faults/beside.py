"""
What others notice while one client asks for much: a health probe and a publisher beside it.

Both are separate processes, so that the client's own work does not show in their figures. The time before
`disturb` is the quiet one that the rest is compared with. The figures are without waits for a core: on a
machine of two cores, those are longer than what is looked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from faults.outcome import percentile
from faults.probe import Probe
from faults.scenario import Bar, at_most
from faults.served import Served

# Milliseconds for one step of the event loop.
STEP = 20.0


class Beside:
    def __init__(self, hub: Served, folder: Path) -> None:
        self._health = Probe(hub.host, hub.port, folder / "health.txt", hub.pid)
        self._publisher = Probe(hub.host, hub.port, folder / "publishes.txt", hub.pid, publish=True)
        self._stack = contextlib.ExitStack()
        self._begun, self._disturbed = 0.0, float("inf")

    def __enter__(self) -> Self:
        self._stack.enter_context(self._health)
        self._stack.enter_context(self._publisher)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def quiet(self) -> None:
        """The quiet time begins only now."""
        self._begun = time.monotonic()

    def disturb(self) -> None:
        """The quiet time is over."""
        self._disturbed = time.monotonic()

    @property
    def acked(self) -> int:
        return len(self._publisher.lags())

    def figures(self) -> list[str]:
        probe, with_waits = self._longest(self._health.on_core), self._longest(self._health.lags)
        return [
            f"longest health probe {probe:.3g} ms ({with_waits:.3g} ms with waits for a core)",
            f"publishes p99 {self._p99(True):.3g} ms, quiet {self._p99(False):.3g} ms",
        ]

    def bars(self, times: float, more: float) -> list[Bar]:
        """Return the bars: `times` and `more` (milliseconds) are what publishes may take longer."""
        longest = at_most("longest health probe", self._longest(self._health.on_core), STEP, "ms")
        return [longest, self.publish_bar(times, more)]

    def publish_bar(
        self, times: float, more: float = 0.0, until: float = float("inf"), text: str = "publishes p99"
    ) -> Bar:
        """Return one bar of these, for the disturbed time `until` then."""
        limit = times * self._p99(False) + more
        return at_most(text, self._p99(True, until), round(limit, 1), "ms")

    def _longest(self, took: Callable[[float], list[float]]) -> float:
        return max(took(self._disturbed), default=float("inf")) * 1e3

    def _p99(self, disturbed: bool, until: float = float("inf")) -> float:
        begin, end = (self._disturbed, until) if disturbed else (self._begun, self._disturbed)
        return percentile(self._publisher.on_core(begin, end), 0.99) * 1e3
