"""
One process at a time has a file: two hubs on one log would give two events one id.

The lock is on a file of its own beside it. SQLite's own locks are on the log,
and a process that closes any descriptor of that file would lose them.
"""

from __future__ import annotations

import contextlib
import os
import sys

from ...errors import StartRefused

if sys.platform == "win32":
    import msvcrt

    def take(descriptor: int, shared: bool = False) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def take(descriptor: int, shared: bool = False) -> None:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


class FileLock:
    """Held until `release`, or until the process is gone. Raises `StartRefused` if another one has it."""

    def __init__(self, path: str) -> None:
        name = path + ".lock"
        try:
            self._descriptor = os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise StartRefused(f"cannot write {name}: {error.strerror}") from None
        try:
            take(self._descriptor)
        except OSError:
            who = noted(self._descriptor)
            os.close(self._descriptor)
            raise StartRefused(
                f"the log {path} is in use by {who}: stop that, or take another file", code="log_in_use"
            ) from None
        self._note_holder()

    def _note_holder(self) -> None:
        # Behind the first byte, which Windows locks. It only makes the message better.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, b" %d" % os.getpid())

    def release(self) -> None:
        os.close(self._descriptor)


def noted(descriptor: int) -> str:
    """Return who holds a lock, in words."""
    number = os.pread(descriptor, 20, 1).decode("ascii", "replace") if hasattr(os, "pread") else ""
    return f"process {number}" if number else "another process"


def holder(path: str) -> str:
    """Return who has the log at `path`, in words; empty if nobody has."""
    try:
        descriptor = os.open(path + ".lock", os.O_RDONLY)
    except OSError:
        return ""
    try:
        # Those who only ask do not see each other.
        take(descriptor, shared=True)
    except OSError:
        return noted(descriptor)
    finally:
        os.close(descriptor)
    return ""
