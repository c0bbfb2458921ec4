"""Both ways to the socket: a hub behind each server that it is tested with, and a strict reader."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any, NamedTuple, Self

from support.ports import free_port
from support.processes import Process
from support.waiting import PATIENCE
from tidewire.event_stream import Comment, Decoder, Event

APPS = Path(__file__).parents[1] / "apps"

# uvicorn takes a third less time to start without what it imports for WebSockets.
UVICORN = "uvicorn {app} --port {port} --ws none --no-access-log"

# `takeover` is our own server's way, the others are the portable one.
WAYS = {
    "takeover": f"{UVICORN} --http tidewire.server.protocol:StreamProtocol",
    "uvicorn": UVICORN,
    "granian": "granian {app} --port {port} --interface asgi --no-ws",
    "hypercorn": "hypercorn {app} --bind 127.0.0.1:{port}",
}

# hypercorn gives its workers no signal: on a newer Python their streams go on until the clients have left.
HYPERCORN_CUTS = sys.version_info < (3, 12, 1)
CUT_AT_STOP = [way for way in WAYS if way != "hypercorn" or HYPERCORN_CUTS]


class Served(NamedTuple):
    """A hub that runs behind one of the servers."""

    port: int
    process: Process
    way: str

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict_of(response), response.read())
        finally:
            connection.close()

    def publish(self, topic: str, data: str, **query: str) -> str:
        """Publish one event and return its id."""
        answer = self.ask("POST", f"/events/{topic}", data.encode())
        assert answer.status == 200, answer
        return str(answer.json()["id"])

    def listen(self, path: str, headers: Mapping[str, str] | None = None) -> Listener:
        return Listener(self.port, path, headers)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def dict_of(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


class Listener:
    """One stream, read by a strict HTTP client and our decoder."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.request("GET", path, headers={"Accept": "text/event-stream", **(headers or {})})
        assert self._connection.sock is not None
        self._socket = self._connection.sock
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = dict_of(self._response)
        self.decoder = Decoder(comments=True)
        self.comments: list[str] = []
        self.events: list[Event] = []
        self.raw = b""
        self.ended = False
        self.cut = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()
        self._socket.close()

    def take(self, count: int, timeout: float = PATIENCE) -> list[Event]:
        """Return the next `count` events, the hub's own too, at the latest after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while len(self.events) < count and not self.ended:
            self._read(deadline)
        taken, self.events = self.events[:count], self.events[count:]
        assert len(taken) == count, f"the stream ended after {taken}"
        return taken

    def rest(self, timeout: float = PATIENCE) -> list[Event]:
        """Return what comes until the body ends properly."""
        taken = self._until_the_end(timeout)
        assert not self.cut, f"cut off after {taken}"
        return taken

    def rest_until_cut(self, timeout: float = PATIENCE) -> list[Event]:
        """Return what comes until the connection is cut, before the body's proper end."""
        taken = self._until_the_end(timeout)
        assert self.cut, f"ended properly after {taken}"
        return taken

    def _until_the_end(self, timeout: float) -> list[Event]:
        deadline = time.monotonic() + timeout
        while not self.ended:
            self._read(deadline)
        taken, self.events = self.events, []
        return taken

    def wait_comment(self, timeout: float = PATIENCE) -> str:
        deadline = time.monotonic() + timeout
        while not self.comments:
            self._read(deadline)
        return self.comments.pop(0)

    def _read(self, deadline: float) -> None:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            chunk = self._response.read1(65536)
        except (IncompleteRead, ConnectionResetError):
            self.cut, chunk = True, b""
        self.raw += chunk
        self.ended = not chunk
        for item in self.decoder.feed(chunk):
            if isinstance(item, Comment):
                self.comments.append(item.text)
            else:
                self.events.append(item)


def tracebacks(output: str) -> int:
    """Return how many tracebacks a server logged, without those of streams that it cut off on purpose."""
    cuts = output.count("ResponseCut: a stream is cut off")
    in_middleware = output.count("AssertionError: Unexpected message: {'type': 'tidewire.response.cut'")
    # Litestar raises one of its own, caused by ours.
    in_litestar = output.count("LitestarException: Exception caught after response started")
    return output.count("Traceback") - cuts - in_middleware - in_litestar


def raw_request(port: int, request: bytes, timeout: float = PATIENCE) -> bytes:
    """Send bytes as they are and return everything that comes until the peer closes."""
    with socket.create_connection(("127.0.0.1", port), timeout) as client:
        client.sendall(request)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
        return b"".join(parts)


@contextmanager
def served(way: str, app: str = "served_hub:app", **options: Any) -> Iterator[Served]:
    """Run a hub with `options` behind the server `way`."""
    port = free_port()
    command = WAYS[way].format(app=app, port=port).split()
    argv = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    with Process(argv, env={"HUB_OPTIONS": json.dumps(options), "PYTHONPATH": str(APPS)}) as process:
        process.wait_port(port)
        yield Served(port, process, way)
