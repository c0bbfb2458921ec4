"""
The one way of this process into a log file: who has the file, and under which descriptor.

Rule 1: a process has one descriptor for each file that it opened as a log, and does not close it while
        the file has a name: closing any descriptor of a file drops all of SQLite's locks on it. Nothing
        else opens the file, its WAL or its shared memory, except SQLite; what anything else needs to
        know about them comes from their status or this descriptor.
Rule 2: the lock is on the file itself and not on one of its names, so a hard link or a bind mount does not
        get around it. The lock beside the path stays: older versions know only that one.
Rule 3: a forked child has nothing of its parent's: no lock, and no connection that it may use.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import NamedTuple

from ...errors import StartRefused
from .file_lock import FileLock

if sys.platform == "linux":
    import fcntl


class FileId(NamedTuple):
    """Which file it is, whatever its names."""

    device: int
    inode: int


def file_id(found: os.stat_result) -> FileId:
    return FileId(found.st_dev, found.st_ino)


class Door:
    """
    The log at `path`, for this process alone until `share` or `release`. It creates an empty
    file if there is none.

    `shared`: other processes share it already, under this name; `known`: the folder of nodes names other
    processes. `path` must have no symbolic links.
    Raises `StartRefused` if the file cannot be opened for writing or is in use: alone by another
    process, or under another name.
    """

    def __init__(self, path: str, shared: bool = False, known: bool = False) -> None:
        self.path = path
        self._shared = shared
        self._lock = FileLock(path, shared, known)
        try:
            with TABLE.guard:
                self.descriptor, self.id = TABLE.open(path, os.O_RDWR | os.O_CREAT)
                self._take()
        except OSError as error:
            self._lock.release()
            raise StartRefused(f"cannot open the log {path}: {error.strerror}") from None
        except BaseException:
            self._lock.release()
            raise

    def _take(self) -> None:
        if self.id in TABLE.inherited:
            raise StartRefused(
                f"the log {self.path} was open in the process that this one was forked from, and SQLite"
                " cannot open it again here; open the hub after the fork, or start processes by spawn",
                code="log_in_use",
            )
        if self.id in TABLE.held or not lock(self.descriptor, self._shared):
            raise StartRefused(
                f"the log {self.path} is in use: the file is open under another name (a hard link or a"
                f" bind mount), or {self.path}.lock and {self.path}.nodes were deleted; stop the hub that"
                " has it, or give each hub a file of its own",
                code="log_in_use",
            )
        TABLE.held[self.id] = self

    @property
    def held(self) -> bool:
        """Whether it is this process that has the file: not after `release`, and not in a forked child."""
        return TABLE.held.get(self.id) is self

    def share(self) -> None:
        """Let other processes that know of this one have the file too."""
        lock(self.descriptor, shared=True)
        self._lock.share()

    def release(self) -> None:
        with TABLE.guard:
            if self.held:
                del TABLE.held[self.id]
                unlock(self.descriptor)
                self._lock.release()

    def abandon(self) -> None:
        """Close what a forked child inherited. The parent keeps its locks: they end with the last copy."""
        self._lock.release()


class Table:
    """The descriptors of this process. Hold `guard` while using it."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.held: dict[FileId, Door] = {}
        # Open in the parent when it forked: the child's copy of SQLite believes that it has the locks.
        self.inherited: set[FileId] = set()
        self._descriptors: dict[FileId, int] = {}

    def open(self, path: str, flags: int) -> tuple[int, FileId]:
        """Return the descriptor of the file at `path`, opened if this process has none. Raises `OSError`."""
        self._close_nameless()
        try:
            found = file_id(os.stat(path))
        except FileNotFoundError:
            found = None
        if found in self._descriptors:
            return self._descriptors[found], found
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o644)
        opened = file_id(os.fstat(descriptor))
        if sys.platform == "win32":
            # No locks are lost there, and an open file could not be deleted.
            os.close(descriptor)
            return -1, opened
        # If it was replaced just now by a file that is known, there are two, and both stay open.
        return self._descriptors.setdefault(opened, descriptor), opened

    def _close_nameless(self) -> None:
        """Close files that were deleted: no other process can open them, so their locks guard nothing."""
        for found, descriptor in list(self._descriptors.items()):
            if found not in self.held and not os.fstat(descriptor).st_nlink:
                os.close(self._descriptors.pop(found))

    def after_fork(self) -> None:
        self.guard = threading.Lock()
        self.inherited |= self.held.keys()
        for door in self.held.values():
            door.abandon()
        self.held.clear()
        # Otherwise the child would go on holding the lock after the parent's death. This drops no lock of
        # SQLite's: those are the parent's, and a child does not inherit them.
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


TABLE = Table()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TABLE.after_fork)


# On macOS and the BSDs such a lock and SQLite's would exclude each other; there, links are not noticed.
if sys.platform == "linux":

    def lock(descriptor: int, shared: bool = False) -> bool:
        """Lock a file, and return whether that was possible. Raises `OSError` if it has no such locks."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
else:

    def lock(descriptor: int, shared: bool = False) -> bool:
        return True

    def unlock(descriptor: int) -> None:
        pass
