"""
A hub whose log is this process's own must be the only one of its server.

With two workers there would be two logs, and each subscriber would lose the
events of the other half in silence. Workers of one server have its listening
socket in common, and nothing else that tells them from two servers with one
parent. So that socket is what they contend for: a record lock belongs to a
process, whoever else has the same descriptor, and ends with it.
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
    "this hub keeps its log in one process and is one of several workers, so each would lose the others' "
    "events: run one worker, or let the workers publish to a separate `tidewire serve`, or pass "
    "Hub(per_process=True) if each worker's events are for its own subscribers only"
)

# A server that replaces its worker starts the new one first: gunicorn at once, granian after 3.5 s.
PATIENCE = 5.0
POLL = 0.1


async def be_the_only_worker() -> None:
    """
    Raise `StartRefused` if another worker of this server has a hub of its own.

    Seen on Linux only: elsewhere sockets cannot be locked.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not all(map(lock, shared_descriptors())):
        if asyncio.get_running_loop().time() > deadline:
            raise StartRefused(REFUSAL)
        await asyncio.sleep(POLL)


def lock(descriptor: int) -> bool:
    """Lock what this process may share with others. Return False if one of those has done so."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, says POSIX
        return False
    except OSError:
        pass
    return True


def shared_descriptors() -> list[int]:
    """Return the descriptors that only workers of one server have in common."""
    if fcntl is None or not os.path.isdir("/dev/fd"):
        return []
    found = [int(name) for name in os.listdir("/dev/fd") if is_bound(int(name))]
    tracker = resource_tracker.getfd() if multiprocessing.current_process().name == "granian-worker" else None
    if not found and tracker is not None:
        # Its workers may each bind a socket of their own to the one port (from Python 3.14
        # on). They have the pipe in common by which children tell their parent of resources.
        return [tracker]
    return found


def is_bound(descriptor: int) -> bool:
    """Whether this is a socket that listens, or is going to: it has an address and no peer."""
    try:
        blocking = os.get_blocking(descriptor)
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return False  # no socket, or the listing's own descriptor
    try:
        return sock.type == socket.SOCK_STREAM and has_address(sock) and not has_peer(sock)
    finally:
        sock.detach()
        os.set_blocking(descriptor, blocking)  # `socket.setdefaulttimeout` would have changed it


def has_address(sock: socket.socket) -> bool:
    address = sock.getsockname()
    return bool(address[1] if isinstance(address, tuple) else address)


def has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
