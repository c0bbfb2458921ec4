"""
Which of the processes that wait to commit has waited longest since its last commit: it goes first.

SQLite gives its lock to whichever process asks first after it is free. Those that ask all the time are lucky
more often than one that commits now and then, which had to wait for dozens of their commits.

Rule 1: this is courtesy and no lock. It makes nobody wait for long, and nothing is wrong without it.
Rule 2: a process that has been waited for in vain is not waited for again until it has committed:
        it may be busy, stopped or dead.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import time

try:
    import fcntl
except ImportError:  # Windows, where one process has the log
    fcntl = None  # type: ignore[assignment]

# Processes with a place in the line. Any more have none, and are not waited for.
PLACES = 64
NOT_WAITING = 0
# Seconds for which a commit lets another process go first.
POLITE = 0.005
# Seconds between two attempts: at random, so that no process always comes too late.
BUSY_PAUSE = 0.000_2, 0.001

PLACE = struct.Struct("=q")
LINE = struct.Struct(f"={PLACES}q")


class WaitingLine:
    """
    The line in the file that is open at `descriptor`: for each place, when its process committed last.

    A process locks the byte of its place, so that it is free when the process ends. Raises `OSError`.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._in_vain: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._last = time.monotonic_ns()
        self._place = next(filter(self._take, range(PLACES)), None)
        self._write(NOT_WAITING)

    def _take(self, place: int) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True

    def enter(self) -> None:
        """Wait in the line, until `leave`."""
        self._write(self._last)

    def leave(self, *, committed: bool) -> None:
        """Those that this process has overtaken, it does not wait for again."""
        self._write(NOT_WAITING)
        if committed:
            self._last = time.monotonic_ns()
            self._in_vain.update(self._before)

    def wait(self) -> None:
        """Wait until this process is first, but not for long."""
        until = time.monotonic() + POLITE
        while self.another_is_first and time.monotonic() < until:
            pause()

    @property
    def another_is_first(self) -> bool:
        """Whether another process waits whose last commit was earlier than this one's."""
        try:
            found = os.pread(self.descriptor, LINE.size, 0)
        except OSError:
            return False
        tickets = LINE.unpack(found.ljust(LINE.size, b"\0"))
        self._before = {
            place: ticket
            for place, ticket in enumerate(tickets)
            if NOT_WAITING < ticket < self._last and ticket != self._in_vain.get(place)
        }
        return bool(self._before)

    def _write(self, ticket: int) -> None:
        if self._place is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self.descriptor, PLACE.pack(ticket), self._place * PLACE.size)


def pause() -> None:
    time.sleep(random.uniform(*BUSY_PAUSE))
