"""
A hub whose log is this process's own must be the only one of its server.

With two workers there would be two logs, and each subscriber would lose the
events of the other half in silence. Workers share a parent, so the lock is
keyed by the parent process and its command line.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import IO

from .errors import StartRefused

try:
    import fcntl
except ImportError:  # Windows has neither forking servers nor this lock
    fcntl = None  # type: ignore[assignment]

REFUSAL = (
    "this hub keeps its log in one process and is one of several workers, so each would lose the others' "
    "events: run one worker, or use a shared engine (redis:// or nats://), "
    "or say Hub(per_process=True) if that is meant"
)


class WorkerLock:
    """Held while the hub is open. Hubs of one process share it; a second process is refused."""

    _held: IO[bytes] | None = None
    _holders = 0

    @classmethod
    def acquire(cls) -> None:
        """Take the lock, if this process is somebody's worker. Raise `StartRefused`."""
        if cls._held is None and fcntl is not None and is_worker():
            cls._held = lock(lock_path())
        cls._holders += 1

    @classmethod
    def release(cls) -> None:
        cls._holders -= 1
        if cls._holders == 0 and cls._held is not None:
            cls._held.close()
            cls._held = None


def is_worker() -> bool:
    """Whether a server started this process to share its work: by multiprocessing, or by a plain fork."""
    if multiprocessing.parent_process() is not None:
        return True
    own = command_line(os.getpid())
    return bool(own) and own == command_line(os.getppid())


def lock_path() -> Path:
    parent = os.getppid()
    key = hashlib.sha256(b"%d\0" % parent + command_line(parent)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tidewire-{os.getuid()}-{key}.lock"


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        # Without /proc: workers have the arguments of the server that started them.
        return "\0".join(sys.argv).encode()


def lock(path: Path) -> IO[bytes]:
    # Opened without following a link: the name in the shared directory can be guessed.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StartRefused(REFUSAL) from None
    return file
