"""
The lock beside a log file, by which a process that needs the log alone excludes all others.

Processes that share the log hold it shared; the first to open it, and tools such as `tidewire log trim`,
hold it exclusively. Older versions of Tidewire always do, so they and this one never have a log together.

It is on a separate file, and tells which process has the log. It is on a name of the log;
`door` has the lock that is on the log itself.
"""

from __future__ import annotations

import contextlib
import os
import sys

from ...errors import StartRefused

if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int, shared: bool = False) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def lock(descriptor: int, shared: bool = False) -> None:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


class FileLock:
    """
    Held until `release` or until the process exits. Raises `StartRefused` if another process holds it.

    `shared`: other processes may hold it too. `known`: whether the folder of nodes names such processes.
    """

    def __init__(self, path: str, shared: bool = False, known: bool = False) -> None:
        name = path + ".lock"
        try:
            self._descriptor = os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise StartRefused(f"cannot write {name}: {error.strerror}") from None
        try:
            lock(self._descriptor, shared)
        except OSError:
            who = recorded_holder(self._descriptor)
            lost = not known and is_shared(self._descriptor)
            os.close(self._descriptor)
            if lost:
                raise StartRefused(lost_folder(path, who), code="log_in_use") from None
            raise StartRefused(
                f"the log {path} is in use by {who}; stop it or use another file", code="log_in_use"
            ) from None
        self._record_holder()

    def _record_holder(self) -> None:
        # After the first byte, which Windows locks. It only makes the message better.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, b" %d" % os.getpid())

    def share(self) -> None:
        """Let other processes hold the lock too."""
        if sys.platform != "win32":
            lock(self._descriptor, shared=True)

    def release(self) -> None:
        os.close(self._descriptor)


def is_shared(descriptor: int) -> bool:
    """Whether this process could hold the lock beside those that hold it."""
    try:
        lock(descriptor, shared=True)
    except OSError:
        return False
    return sys.platform != "win32"


def lost_folder(path: str, who: str) -> str:
    """Return why nobody can join a log that `who` has: without the folder, no process finds the others."""
    return (
        f"the log {path} is in use by {who}, which the folder {path}.nodes does not name: that folder was"
        " deleted or replaced; stop all processes that have the log open, then start them again"
    )


def recorded_holder(descriptor: int) -> str:
    """Return the process that holds a lock, in words."""
    number = os.pread(descriptor, 20, 1).decode("ascii", "replace") if hasattr(os, "pread") else ""
    return f"process {number}" if number else "another process"


def holder(path: str) -> str:
    """Return the process that has the log at `path`, in words; empty if none has."""
    try:
        descriptor = os.open(path + ".lock", os.O_RDONLY)
    except OSError:
        return ""
    try:
        lock(descriptor)
    except OSError:
        return recorded_holder(descriptor)
    finally:
        os.close(descriptor)
    return ""
