"""Our protocol under a real uvicorn in a thread, an endpoint that plays the hub, and raw clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import uvicorn

from support.waiting import PATIENCE, wait_until, wait_until_async
from tidewire.server.protocol import StreamProtocol

FIRST = b"retry: 2000\n\n: hello\n\n"
HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
LOOPS = ("uvloop", "asyncio")


class FakeSubscriber:
    """The hub's side of the seam. It records its calls."""

    def __init__(self) -> None:
        self.wire: Any = None
        self.framing: str | None = None
        self.calls: list[str] = []

    def attach(self, wire: Any, framing: str) -> None:
        self.wire, self.framing = wire, framing
        self.calls.append("attach")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def lost(self) -> None:
        self.calls.append("lost")

    def server_stopping(self) -> None:
        self.calls.append("stopping")
        self.wire.end()

    def frame(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.framing == "chunked" else data


class StreamApp:
    """
    An ASGI app. `/stream` asks for the socket as a hub does, and otherwise sends three more
    chunks the portable way; `/echo` answers with the body, `/refuse` without reading it,
    `/slow` once `go_on` is set, and everything else at once.
    """

    def __init__(self) -> None:
        self.subscribers: list[FakeSubscriber] = []
        self.taken: list[bool] = []
        self.scopes: list[Any] = []
        self.first = FIRST
        self.headers = HEADERS
        self.wait = 0.3
        self.go_on = False
        self.disconnects = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        self.scopes.append(scope)
        path = scope["path"]
        if path == "/stream":
            await self.stream(scope, receive, send)
        elif path == "/echo":
            await self.echo(receive, send)
        elif path == "/refuse":
            await answer(send, 413, b"too much")
        else:
            if path == "/slow":
                await wait_until_async(lambda: self.go_on)
            await answer(send, 200, b"ok " + path.encode())

    async def stream(self, scope: Any, receive: Any, send: Any) -> None:
        subscriber = FakeSubscriber()
        self.subscribers.append(subscriber)
        offer = scope["extensions"].get("tidewire.stream") if "extensions" in scope else None
        if offer is not None:
            offer.arm(self.first, subscriber)
            offer.on_stopping(lambda: subscriber.calls.append("stop"))
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.first, "more_body": True})
        taken = offer is not None and await offer.settled(self.wait)
        self.taken.append(taken)
        if taken:
            # Messages that the app sends after the takeover must be dropped.
            await send({"type": "http.response.body", "body": b"swallowed", "more_body": True})
            assert (await receive())["type"] == "http.disconnect"
            self.disconnects += 1
            return
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await asyncio.sleep(0)  # so that the server notices a client that left
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def echo(self, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            body, more = body + message["body"], message["more_body"]
        await answer(send, 200, body)

    @property
    def subscriber(self) -> FakeSubscriber:
        """The one subscriber, once it is attached."""
        wait_until(lambda: self.subscribers and self.subscribers[0].wire)
        (subscriber,) = self.subscribers
        return subscriber


async def answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


PORTABLE_BODY = FIRST + b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


class Records(logging.Handler):
    """What the server logged at level warning or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += f" {record.exc_info[1]!r}"
        self.lines.append(text)


class Serving:
    """
    A server in a thread of its own; at the end it stops, and must have logged nothing bad.

    It waits for ever for what is open when it stops: what our protocol does not end makes the test fail.
    """

    def __init__(
        self,
        app: Any,
        *,
        loop: str = "uvloop",
        protocol: type[asyncio.Protocol] = StreamProtocol,
        tls: ssl.SSLContext | None = None,
        uds: str | None = None,
        ws: Any = "none",
        logs_fine: bool = True,
    ) -> None:
        self.app = app
        self.uds = uds
        self.logs_fine = logs_fine
        self.clients: list[socket.socket] = []
        self.records = Records()
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            uds=uds,
            loop=loop,
            http=protocol,
            ws=ws,
            lifespan="off",
            log_config=None,
            access_log=False,
            ssl_context_factory=None if tls is None else lambda config, default: tls,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self._run, name=f"server on {loop}", daemon=True)

    def _run(self) -> None:
        self.server.run()

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self.records)
        self.thread.start()
        wait_until(lambda: self.server.started or not self.thread.is_alive())
        assert self.server.started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self.clients:
            client.close()
        self.stop()
        logging.getLogger().removeHandler(self.records)
        if error is None and self.logs_fine:
            assert self.records.lines == []

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the server does not stop"

    @property
    def port(self) -> int:
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> set[Any]:
        return self.server.server_state.connections

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the server's event loop."""
        self.server.servers[0].get_loop().call_soon_threadsafe(function, *args)

    def connect(self, *, timeout: float = PATIENCE, receive_buffer: int | None = None) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX if self.uds else socket.AF_INET)
        self.clients.append(sock)
        sock.settimeout(timeout)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(self.uds or ("127.0.0.1", self.port))
        return sock


def get(path: str = "/stream", *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: localhost", *headers, "", ""]).encode()


def post(body: bytes, *headers: str, path: str = "/echo", length: int | None = None) -> bytes:
    size = f"Content-Length: {len(body) if length is None else length}"
    return get(path, *headers, size, method="POST") + body


def read_until(sock: socket.socket, end: bytes, data: bytes = b"") -> bytes:
    while end not in data:
        received = sock.recv(65536)
        if not received:
            raise AssertionError(f"closed before {end!r}: {data!r}")
        data += received
    return data


def read_all(sock: socket.socket) -> bytes:
    """Read until the peer closes; a reset ends it too."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while received := sock.recv(65536):
            data += received
    return data


def closed(sock: socket.socket, within: float = PATIENCE) -> bool:
    """Whether the peer closes in time; what it sends until then is thrown away."""
    deadline = time.monotonic() + within
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            if not sock.recv(65536):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def head_of(response: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, rest = response.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, rest


def dechunk(data: bytes) -> tuple[bytes, bool]:
    """Return the body of a chunked response, read strictly, and whether it ended properly."""
    body = b""
    while data:
        size, mark, data = data.partition(b"\r\n")
        assert mark, f"half a chunk: {size!r}"
        length = int(size, 16)
        if not length:
            assert data == b"\r\n", f"after the last chunk: {data!r}"
            return body, True
        assert data[length : length + 2] == b"\r\n", f"a chunk of {length} bytes: {data[:80]!r}"
        body, data = body + data[:length], data[length + 2 :]
    return body, False


def responses(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split pipelined answers, strictly."""
    while data:
        status, headers, rest = head_of(data)
        if "content-length" in headers:
            length = int(headers["content-length"])
            yield status, rest[:length]
            data = rest[length:]
        else:
            body, _, data = rest.partition(b"0\r\n\r\n")
            yield status, dechunk(body + b"0\r\n\r\n")[0]
