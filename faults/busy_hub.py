"""
`tidewire serve` in a process that can be kept busy from outside.

SIGUSR1 keeps its event loop busy for two seconds, SIGUSR2 also keeps Python's lock, so that no thread of
the process runs.
"""

from __future__ import annotations

import signal
import sys
import time

from tidewire.cli import main

BUSY = 2.0


def keep_loop(*_: object) -> None:
    time.sleep(BUSY)


def keep_python(*_: object) -> None:
    """Sums run in C and do not release the lock; each is as long as all that is left."""
    begun, count = time.monotonic(), 1_000_000
    while (took := time.monotonic() - begun) < BUSY:
        start = time.monotonic()
        sum(range(count))
        speed = count / (time.monotonic() - start)
        count = max(1_000_000, int(speed * (BUSY - took)))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, keep_loop)
    signal.signal(signal.SIGUSR2, keep_python)
    sys.exit(main())
