"""
A stream that has its socket to itself, after uvicorn has handed it over.

The protocol here takes uvicorn's place on the transport and in `server_state.connections`, so a
server that stops waits for it. It is removed when the connection is lost. Ending it takes a bounded
time, whatever the peer does.
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

# Bytes that may wait in user space before the subscriber pauses: it pauses at the first one.
# uvloop needs about 0.9 KiB for each write that waits, and the limit counts only the data:
# with 64 KiB a stuck reader of small events took 970 KiB, with this less than 25. And TLS
# buffers bytes in addition to those of its socket, which has its own limit.
WRITE_LIMIT = 1

# An EventSource never sends anything after its request.
SWALLOW_LIMIT = 64 * KIB

# TCP_USER_TIMEOUT: without it, a peer that vanished is noticed after 15 minutes. But it also
# disconnects a peer that always reads slowly, after 31 to 75 s: its window is mostly zero.
# TCP_NOTSENT_LOWAT: without it, a client that never reads took 2.8 to 3.9 MB of kernel memory,
# with it 64 KiB. (SO_SNDBUF of 64 KiB: 92 to 147 KB, and it would slow down distant readers.)
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

# tcpi_bytes_acked in Linux's struct tcp_info: it follows 8 bytes of flags, 24 32-bit
# counters and two 64-bit pacing rates.
BYTES_ACKED = struct.Struct("=Q")
BYTES_ACKED_OFFSET = 8 + 24 * 4 + 2 * 8

# Reset the connection instead of closing it, so that nothing of the stream stays in the kernel.
RESET = struct.pack("ii", 1, 0)


class SocketWire(asyncio.Protocol):
    """
    The wire of a subscriber that has its socket to itself.

    `write` is the transport's own method, so a round over a thousand streams needs
    no Python frame for each: the bytes are already framed.
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
        """End the body properly, then close; after a second, cut off a peer that no longer reads."""
        if self._transport.is_closing():
            return
        if self._chunked:
            self._transport.write(LAST_CHUNK)
        self._transport.close()
        self._ending = asyncio.get_running_loop().call_later(END_TIMEOUT, self.abort)

    def cut(self) -> None:
        """
        Close without the last chunk. Without chunks only a reset tells a cut from an end.

        A unix socket has no reset: there the peer must speak HTTP/1.1.
        """
        if self._transport.is_closing():
            return
        if self._chunked:
            self._transport.close()
            self._ending = asyncio.get_running_loop().call_later(END_TIMEOUT, self.abort)
        else:
            self.abort()

    def abort(self) -> None:
        """Reset the connection; what is buffered is lost."""
        reset(self._transport)

    def acknowledged(self) -> int | None:
        """Return how many bytes the peer has acknowledged, head and TLS included; None if it is not TCP."""
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
        """Have the kernel tolerate a peer that acknowledges nothing, or disconnect it, as at the start."""
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
        """Start the drain. uvicorn calls this when the server stops."""
        self._subscriber.server_stopping()

    # -- called by the transport

    def pause_writing(self) -> None:
        self._subscriber.pause_writing()

    def resume_writing(self) -> None:
        self._subscriber.resume_writing()

    def data_received(self, data: bytes) -> None:
        self._swallowed += len(data)
        if self._swallowed > SWALLOW_LIMIT:
            self.abort()

    def eof_received(self) -> None:
        # Not `close`, which would wait until a peer that is gone has read the rest.
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._ending is not None:
            self._ending.cancel()
        subscriber = self._subscriber
        del self._subscriber  # they hold each other
        subscriber.lost()


def reset(transport: asyncio.Transport) -> None:
    """Reset the connection; what is buffered is lost."""
    if (sock := tcp_socket(transport)) is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


def tune(transport: asyncio.Transport) -> None:
    """Set the socket options and limits that a stream needs."""
    transport.set_write_buffer_limits(high=WRITE_LIMIT)
    if (sock := tcp_socket(transport)) is not None:
        for option, value in TCP_OPTIONS:
            with contextlib.suppress(OSError):  # an old kernel may not know it; streams work anyway
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def tcp_socket(transport: asyncio.Transport) -> socket.socket | None:
    """Return the socket if it is TCP and still open."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return sock
