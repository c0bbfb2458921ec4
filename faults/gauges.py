"""What is measured of the hub's process, every quarter of a second while a fault is tried."""

from __future__ import annotations

import contextlib
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
    """Return how many sockets the hub has open, without those to the server of its log."""
    return len(open_sockets(hub) - to_server(hub))


def to_server(hub: Served) -> set[str]:
    """Return the inodes of the hub's connections to the server of its log, if that is in one."""
    if hub.engine.startswith(("memory", "sqlite")):
        return set()
    rows = [line.split() for line in Path(f"/proc/{hub.pid}/net/tcp").read_text().splitlines()[1:]]
    others = {row[9] for row in rows if int(row[1].rpartition(":")[2], 16) != hub.port}
    return others & open_sockets(hub)


def open_sockets(hub: Served) -> set[str]:
    """Return the inodes of the sockets that the hub has open."""
    found = set()
    for entry in Path(f"/proc/{hub.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            kind, _, inode = os.readlink(entry).partition(":")
            if kind == "socket":
                found.add(inode.strip("[]"))
    return found
