"""
Asks a hub every 50 ms whether it is alive, from a separate process, and writes how long that took.

An answer to /health/live needs only the event loop: whatever delays it delays every stream.
"""

from __future__ import annotations

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
    """The process, and what it wrote: when it asked, and how many seconds the answer took."""

    def __init__(self, host: str, port: int, file: Path) -> None:
        self._file = file
        self._command = [sys.executable, "-m", "faults.probe", host, str(port)]

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
        lines = [line.split() for line in self._file.read_text().splitlines()]
        asked = [(float(words[0]), float(words[1])) for words in lines if len(words) == 2]
        return [took for at, took in asked if begin <= at <= end]


def ask(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    parent = os.getppid()
    while os.getppid() == parent:
        begun = time.monotonic()
        try:
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            print(f"{begun:.4f} {time.monotonic() - begun:.5f}", flush=True)
        except TimeoutError:
            print(f"{begun:.4f} {TIMEOUT}", flush=True)
            connection.close()
        except (OSError, http.client.HTTPException):
            connection.close()  # the hub is down, not slow
        time.sleep(max(0.0, begun + EVERY - time.monotonic()))


if __name__ == "__main__":
    ask(sys.argv[1], int(sys.argv[2]))
