"""
A hub that keeps its log in the memory of its process must be the only one of its server.

Two workers would have two logs, and each subscriber would silently miss the events
of the other worker. Workers of one server share its listening socket; nothing else
distinguishes them from two servers with the same parent. So they compete for a lock
on that socket. A record lock belongs to one process, even if others have the same
descriptor, and ends with that process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from multiprocessing import resource_tracker

from .errors import StartRefused

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

REFUSAL = (
    "this hub keeps its log in the memory of one process, but the server has several workers, so subscribers "
    'would miss the events of other workers: use Hub("sqlite:///events.db"), whose log all workers share, '
    "or pass Hub(per_process=True) if each worker's events are for its own subscribers only"
)

# Seconds that a new worker waits for the old one that it replaces: servers start it before the
# old one has stopped, gunicorn at once, granian after 3.5 s.
LOCK_TIMEOUT = 5.0
POLL = 0.1


async def check_only_worker() -> None:
    """
    Make sure that no other worker of this server has a hub with its own log.

    Works on Linux only: elsewhere sockets cannot be locked. Raises `StartRefused` if
    another worker has one.
    """
    deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT
    while not all(map(lock, shared_descriptors())):
        if asyncio.get_running_loop().time() > deadline:
            raise StartRefused(REFUSAL)
        await asyncio.sleep(POLL)


def lock(descriptor: int) -> bool:
    """Lock a descriptor that other processes may share. Return False if one of them holds the lock."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows EAGAIN and EACCES
        return False
    except OSError:
        pass
    return True


def shared_descriptors() -> list[int]:
    """Return the descriptors that only the workers of one server share."""
    if fcntl is None or not os.path.isdir("/dev/fd"):
        return []
    found = [int(name) for name in os.listdir("/dev/fd") if is_bound(int(name))]
    tracker = resource_tracker.getfd() if multiprocessing.current_process().name == "granian-worker" else None
    if not found and tracker is not None:
        # From Python 3.14 on, each worker may bind its own socket to the same port. But they
        # all share the pipe by which children report resources to their parent.
        return [tracker]
    return found


def is_bound(descriptor: int) -> bool:
    """Return whether this is a socket that listens or is about to: it has an address and no peer."""
    try:
        blocking = os.get_blocking(descriptor)
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return False  # not a socket, or the descriptor of the listing itself
    try:
        return sock.type == socket.SOCK_STREAM and has_address(sock) and not has_peer(sock)
    finally:
        sock.detach()
        os.set_blocking(descriptor, blocking)  # the socket object may have changed it (`setdefaulttimeout`)


def has_address(sock: socket.socket) -> bool:
    address = sock.getsockname()
    return bool(address[1] if isinstance(address, tuple) else address)


def has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
