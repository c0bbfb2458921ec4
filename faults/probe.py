"""
Asks a hub every 50 ms whether it is alive, from a separate process, and writes how long that took.

An answer to /health/live needs only the event loop: whatever delays it delays every stream. On a busy
machine an answer is also late because the hub or the probe had no core. The kernel counts that time per
thread (`schedstat`, second field), and it is written without that, too.

With `publish` it publishes an event each time instead. Such an answer also needs the thread that writes the
log. It and the event loop may have waited for a core at the same time: only the longer wait is left out.
"""

from __future__ import annotations

import http.client
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

EVERY = 0.05
# Publishes after which the hub's threads can be told apart by how long they have run.
BEFORE_WRITER = 20
TIMEOUT = 5.0


class Probe:
    """
    The process, and what it wrote: when it asked, and how many seconds the answer took.

    `pid` is the hub's process, if it stays the same.
    """

    def __init__(self, host: str, port: int, file: Path, pid: int = 0, publish: bool = False) -> None:
        self._file = file
        path = "/events/probe" if publish else "/health/live"
        self._command = [sys.executable, "-m", "faults.probe", host, str(port), path, str(pid)]

    def __enter__(self) -> Self:
        with self._file.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=output)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def lags(self, begin: float = 0.0, end: float = float("inf")) -> list[float]:
        """Return how long answers took that were asked for between two moments of the monotonic clock."""
        return [took for took, _ in self._asked(begin, end)]

    def on_core(self, begin: float = 0.0, end: float = float("inf")) -> list[float]:
        """Return the same without the time for which the hub and the probe waited for a core."""
        return [on_core for _, on_core in self._asked(begin, end)]

    def _asked(self, begin: float, end: float) -> list[tuple[float, float]]:
        lines = [line.split() for line in self._file.read_text().splitlines()]
        asked = [tuple(map(float, words)) for words in lines if len(words) == 3]
        return [(took, on_core) for at, took, on_core in asked if begin <= at <= end]


def ask(host: str, port: int, path: str, pid: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    parent = os.getppid()
    body = None if path.startswith("/health") else b"probe"
    threads = [pid] if pid else []
    for number in itertools.count():
        if os.getppid() != parent:
            return
        if number == BEFORE_WRITER and body and pid:
            threads.append(writer(pid))
        waited, begun = waits(pid, threads), time.monotonic()
        try:
            connection.request("POST" if body else "GET", path, body)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise TimeoutError
            took = time.monotonic() - begun
            own, *of_hub = (after - before for after, before in zip(waits(pid, threads), waited, strict=True))
            on_core = max(0.0, took - own - max(of_hub, default=0.0))
            print(f"{begun:.4f} {took:.5f} {on_core:.5f}", flush=True)
        except TimeoutError:
            print(f"{begun:.4f} {TIMEOUT} {TIMEOUT}", flush=True)
            connection.close()
        except (OSError, http.client.HTTPException):
            connection.close()  # the hub is down, not slow
        time.sleep(max(0.0, begun + EVERY - time.monotonic()))


def waits(pid: int, threads: Sequence[int]) -> list[float]:
    """Return for how many seconds this process, and these threads of the hub, have waited for a core."""
    places = ["/proc/self/schedstat", *(f"/proc/{pid}/task/{thread}/schedstat" for thread in threads)]
    return [schedstat(place)[1] for place in places]


def writer(pid: int) -> int:
    """Return the thread that writes the log: besides the event loop, it has run longest so far."""
    others = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid]
    return max(others, key=lambda thread: schedstat(f"/proc/{pid}/task/{thread}/schedstat")[0], default=pid)


def schedstat(place: str) -> tuple[float, float]:
    """Return for how many seconds a thread has run, and waited for a core; (0, 0) if it has ended."""
    try:
        ran, waited, _ = Path(place).read_text().split()
    except OSError:
        return 0.0, 0.0
    return int(ran) / 1e9, int(waited) / 1e9


if __name__ == "__main__":
    ask(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
