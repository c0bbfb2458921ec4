"""A server that plays scripts: each connection gets the next one, byte for byte; its request is kept."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from support.waiting import PATIENCE

# What a script may do besides sending bytes and waiting for a threading.Event.
HOLD = "hold the connection open until the client leaves"
RESET = "reset the connection"

Action = bytes | str | threading.Event
Script = Iterable[Action] | Callable[["Request"], Iterable[Action]]

GONE = [b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"]


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: list[tuple[str, bytes]]
    body: bytes

    def all(self, name: str) -> list[bytes]:
        """Return every value of a header, byte for byte."""
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} was sent twice"
        return values[0] if values else None


def answer(status: str, *headers: str, body: bytes = b"") -> list[Action]:
    """Return the script of a complete answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return ["\r\n".join([*lines, "", ""]).encode() + body]


def stream(
    *actions: Action, headers: Iterable[str] = (), content_type: str = "text/event-stream"
) -> list[Action]:
    """Return the script of an event stream that ends with its connection."""
    lines = ["HTTP/1.1 200 OK", "Connection: close", f"Content-Type: {content_type}", *headers]
    return ["\r\n".join([*lines, "", ""]).encode(), *actions]


def chunked(*actions: Action, end: bool = True) -> list[Action]:
    """Return the script of a chunked event stream; without `end` it is cut off."""
    framed = [b"%x\r\n%b\r\n" % (len(part), part) if isinstance(part, bytes) else part for part in actions]
    return [*stream(headers=["Transfer-Encoding: chunked"]), *framed, *([b"0\r\n\r\n"] if end else [])]


def single_bytes(data: bytes) -> list[Action]:
    """Return a script that sends each byte separately."""
    return [data[i : i + 1] for i in range(len(data))]


class Scripted:
    """
    Serve `scripts`, one per connection, in order; later connections get 204.

        with Scripted(stream(b"data: 1\\n\\n"), stream(b"data: 2\\n\\n", HOLD)) as server:
            ... server.url, server.requests ...
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self._scripts = list(scripts)
        self._tls = tls
        self._host = host
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        # A close alone does not wake `accept`; a connection does.
        socket.create_connection(("127.0.0.1", self.port)).close()
        for connection in self._connections:
            shut(connection)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopped.is_set():
                connection.close()
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._play(connection)
        except OSError:
            pass  # the client left
        finally:
            connection.close()

    def _play(self, connection: socket.socket) -> None:
        request = read_request(connection)
        if request is None:
            return
        with self._lock:
            script = self._scripts.pop(0) if self._scripts else GONE
            self.requests.append(request)
        for action in script(request) if callable(script) else script:
            if isinstance(action, bytes):
                connection.sendall(action)
            elif isinstance(action, threading.Event):
                assert action.wait(PATIENCE)
            elif action == HOLD:
                connection.settimeout(None)
                while connection.recv(4096):
                    pass
            else:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
        shut(connection, socket.SHUT_WR)


def shut(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    try:
        connection.shutdown(how)
    except OSError:
        pass


def read_request(connection: socket.socket) -> Request | None:
    """Read one request; None if the client leaves before its end."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.decode("ascii").split(" ")
    pairs = [line.split(b":", 1) for line in lines]
    headers = [(name.decode("ascii").lower(), value.strip(b" \t")) for name, value in pairs]
    length = int(dict(headers).get("content-length", b"0"))
    while len(body) < length:
        part = connection.recv(65536)
        if not part:
            return None
        body += part
    return Request(method, target, headers, body)
