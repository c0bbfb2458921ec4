"""What is measured of the hub's process, every quarter of a second while a fault is tried."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from faults.served import Served

EVERY = 0.25


@dataclass
class Gauges:
    """High-water marks; `samples` are (moment, memory in bytes, descriptors, what `extra` returns)."""

    hub: Served
    extra: Callable[[], int] = lambda: 0
    descriptors: int = 0
    samples: list[tuple[float, int, int, int]] = field(default_factory=list)
    every: float = EVERY

    def __enter__(self) -> Self:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ending.wait(self.every):
            self.hub.note_high_water()
            memory, descriptors = resident(self.hub), self.hub.descriptors()
            self.descriptors = max(self.descriptors, descriptors)
            if memory:
                self.samples.append((time.monotonic(), memory, descriptors, self.extra()))


def resident(hub: Served) -> int:
    """Return the resident memory in bytes, 0 while the process is down."""
    try:
        pages = Path(f"/proc/{hub.pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def sockets(hub: Served) -> int:
    """Return how many sockets the hub has open."""
    folder = Path(f"/proc/{hub.pid}/fd")
    return sum(is_socket(entry) for entry in folder.iterdir())


def is_socket(descriptor: Path) -> bool:
    try:
        return os.readlink(descriptor).startswith("socket:")
    except OSError:
        return False
