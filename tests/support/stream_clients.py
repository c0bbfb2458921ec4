"""Clients of a `Serving`, by each kind of connection."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any

from support.stream_server import (
    FIRST,
    PORTABLE_BODY,
    FakeSubscriber,
    Serving,
    dechunk,
    get,
    head_of,
    read_all,
    read_until,
)
from support.waiting import wait_until

# A second is promised, on a machine that has time. What is not noticed then is not noticed at all.
SOON = 10.0

WAYS = ("plain", "http10", "tls", "unix")


class Way:
    """One kind of connection to the server, as a client sees it."""

    def __init__(self, serving: Serving, name: str, trust: ssl.SSLContext | None) -> None:
        self.serving = serving
        self.name = name
        self.trust = trust
        self.version = "1.0" if name == "http10" else "1.1"
        self.framing = "raw" if name == "http10" else "chunked"

    def connect(self, **options: Any) -> socket.socket:
        sock = self.serving.connect(**options)
        if self.trust is None:
            return sock
        sock = self.trust.wrap_socket(sock, server_hostname="localhost")
        self.serving.clients.append(sock)
        return sock

    def request(self, *headers: str) -> bytes:
        return get("/stream", *headers, version=self.version)

    def open(self, **options: Any) -> socket.socket:
        """Return the client of a stream whose head and first chunk have been read."""
        client = self.connect(**options)
        client.sendall(self.request())
        read_until(client, self.framed(FIRST))
        return client

    def framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.framing == "chunked" else data

    def body(self, data: bytes) -> tuple[bytes, bool]:
        """Return the body and whether it ended properly. HTTP/1.0 cannot show that."""
        return dechunk(data) if self.framing == "chunked" else (data, True)


def ask(app: Any, request: bytes, **options: Any) -> bytes:
    """Return everything that a new server of `app` sends to one connection."""
    with Serving(app, **options) as serving, serving.connect() as client:
        client.sendall(request)
        return read_all(client)


def portable(response: bytes) -> None:
    """Check that a response is the whole stream as the app itself sends it."""
    assert dechunk(head_of(response)[2]) == (PORTABLE_BODY, True)


def receive_slowly(client: socket.socket, size: int) -> bytes:
    """Receive `size` bytes, however long it takes."""
    data = bytearray()
    while len(data) < size:
        received = client.recv(65536)
        assert received, f"closed after {len(data)} of {size}"
        data += received
    return bytes(data)


def hang_up(client: socket.socket, how: str) -> None:
    """Leave by `close`, `half-close` or `reset`."""
    if how == "half-close":
        client.shutdown(socket.SHUT_WR)
        return
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def write(serving: Serving, subscriber: FakeSubscriber, data: bytes) -> None:
    """Have the server's loop write `data` to a stream that was taken over."""
    serving.call(subscriber.wire.write, subscriber.frame(data))


def stick(way: Way, subscriber: FakeSubscriber) -> None:
    """Write until the subscriber must pause. With TLS that is one write after the socket is full."""
    for _ in range(2):
        write(way.serving, subscriber, b"x" * 16_000_000)
    wait_until(lambda: "pause" in subscriber.calls)
