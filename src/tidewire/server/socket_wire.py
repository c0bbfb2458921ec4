"""
A stream on a socket of its own, after uvicorn's part in it.

The protocol here takes uvicorn's place on the transport and in `server_state.connections`, so that
a server that stops waits for it. It goes when the connection is lost, and ends within a bounded time
whatever the peer does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, MutableSet
from typing import Any

from ..delivery.framing import LAST_CHUNK, Framing
from ..delivery.subscriber import END_TIMEOUT, Subscriber

KIB = 1024

# Bytes waiting in user space before the subscriber is told to pause: the first one. uvloop
# keeps about 0.9 KiB for each write that waits, and the limit counts only what was written:
# with 64 KiB a stuck reader of small events cost 970 KiB, with this less than 25. And TLS
# keeps its own bytes above those of its socket, which has a limit of its own.
WRITE_LIMIT = 1

# An EventSource never sends anything after its request.
SWALLOW_LIMIT = 64 * KIB

# TCP_USER_TIMEOUT: a peer that vanished is otherwise noticed after 15 minutes. But it also ends
# one that reads slowly all the time, after 31 to 75 s: its window is mostly zero.
# TCP_NOTSENT_LOWAT: a reader that never reads took 2.8 to 3.9 MB of our kernel's memory, with
# this 64 KiB. (SO_SNDBUF of 64 KiB: 92 to 147 KB, and it would slow down distant readers.)
USER_TIMEOUT = 30_000
TCP_OPTIONS = [
    (getattr(socket, name), value)
    for name, value in [
        ("TCP_NODELAY", 1),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT),
        ("TCP_NOTSENT_LOWAT", 64 * KIB),
    ]
    if hasattr(socket, name)
]

# tcpi_bytes_acked in Linux's struct tcp_info: after 8 bytes of flags, 24 32-bit
# counters and two 64-bit pacing rates.
BYTES_ACKED = struct.Struct("=Q")
BYTES_ACKED_OFFSET = 8 + 24 * 4 + 2 * 8

# Reset instead of a polite end: nothing of the stream stays in the kernel.
RESET = struct.pack("ii", 1, 0)


class SocketWire(asyncio.Protocol):
    """
    One stream on its own socket; the end of uvicorn's part in it.

    `write` is the transport's own, so that a round over a thousand streams has
    no Python frame in between: what goes in is already framed.
    """

    __slots__ = (
        "_chunked",
        "_connections",
        "_ending",
        "_subscriber",
        "_swallowed",
        "_tolerates_stalls",
        "_transport",
        "write",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        subscriber: Subscriber,
        framing: Framing,
        connections: MutableSet[Any],
    ) -> None:
        self.write: Callable[[bytes], object] = transport.write
        self._transport = transport
        self._subscriber = subscriber
        self._chunked = framing == "chunked"
        self._connections = connections
        self._swallowed = 0
        self._tolerates_stalls = False
        self._ending: asyncio.TimerHandle | None = None
        connections.add(self)
        transport.set_protocol(self)

    def end(self) -> None:
        """End the body in good order, then close; a peer that reads no more is cut off soon."""
        if self._transport.is_closing():
            return
        if self._chunked:
            self._transport.write(LAST_CHUNK)
        self._transport.close()
        self._ending = asyncio.get_running_loop().call_later(END_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Reset the connection; what is buffered is lost."""
        if (sock := tcp_socket(self._transport)) is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()

    def acknowledged(self) -> int | None:
        """Return how many bytes the peer has acknowledged, head and TLS included; None where it is no TCP."""
        sock = tcp_socket(self._transport)
        if sock is None or not hasattr(socket, "TCP_INFO"):
            return None
        size = BYTES_ACKED_OFFSET + BYTES_ACKED.size
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        if len(info) < size:  # a kernel older than 4.1
            return None
        acked: int = BYTES_ACKED.unpack_from(info, BYTES_ACKED_OFFSET)[0]
        return acked

    def tolerate_stalls(self, tolerate: bool) -> None:
        """Have the kernel bear a slow reader, or end one that does not answer, as at the beginning."""
        if tolerate == self._tolerates_stalls or not hasattr(socket, "TCP_USER_TIMEOUT"):
            return
        self._tolerates_stalls = tolerate
        if (sock := tcp_socket(self._transport)) is not None:
            with contextlib.suppress(OSError):
                timeout = 0 if tolerate else USER_TIMEOUT
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)

    def buffered(self) -> int:
        """Return how many bytes wait in user space."""
        return self._transport.get_write_buffer_size()

    def shutdown(self) -> None:
        """Hear from uvicorn that the server stops."""
        self._subscriber.server_stopping()

    # What the transport says.

    def pause_writing(self) -> None:
        self._subscriber.pause_writing()

    def resume_writing(self) -> None:
        self._subscriber.resume_writing()

    def data_received(self, data: bytes) -> None:
        self._swallowed += len(data)
        if self._swallowed > SWALLOW_LIMIT:
            self.abort()

    def eof_received(self) -> None:
        # Not `close`: that would wait until a peer that is gone has read the rest.
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._ending is not None:
            self._ending.cancel()
        subscriber = self._subscriber
        del self._subscriber  # they hold each other
        subscriber.lost()


def tune(transport: asyncio.Transport) -> None:
    """Set what a stream's socket needs."""
    transport.set_write_buffer_limits(high=WRITE_LIMIT)
    if (sock := tcp_socket(transport)) is not None:
        for option, value in TCP_OPTIONS:
            with contextlib.suppress(OSError):  # a kernel that knows it not serves streams all the same
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def tcp_socket(transport: asyncio.Transport) -> socket.socket | None:
    """Return the socket as long as it is open, if it is TCP."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return sock
