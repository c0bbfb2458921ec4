"""
Asks a hub every 50 ms whether it is alive, from a separate process, and writes how long that took.

An answer to /health/live needs only the event loop: whatever delays it delays every stream. On a busy
machine an answer is also late because the hub or the probe had no core. The kernel counts that time per
thread (`schedstat`, second field), and it is written without that, too.

With `publish` it publishes an event each time instead.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

EVERY = 0.05
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
    while os.getppid() == parent:
        waited, begun = waits(pid), time.monotonic()
        try:
            connection.request("POST" if body else "GET", path, body)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise TimeoutError
            took = time.monotonic() - begun
            print(f"{begun:.4f} {took:.5f} {max(0.0, took - waits(pid) + waited):.5f}", flush=True)
        except TimeoutError:
            print(f"{begun:.4f} {TIMEOUT} {TIMEOUT}", flush=True)
            connection.close()
        except (OSError, http.client.HTTPException):
            connection.close()  # the hub is down, not slow
        time.sleep(max(0.0, begun + EVERY - time.monotonic()))


def waits(pid: int) -> float:
    """Return for how many seconds the hub's event loop and this process have waited for a core."""
    places = ["/proc/self/schedstat", *([f"/proc/{pid}/task/{pid}/schedstat"] if pid else [])]
    with contextlib.suppress(OSError):
        return sum(int(Path(place).read_text().split()[1]) for place in places) / 1e9
    return 0.0


if __name__ == "__main__":
    ask(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
