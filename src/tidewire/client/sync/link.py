"""How the sync client connects, reads and waits: it blocks, and another thread can wake it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx2

from ..core.subscription import Interrupted
from ..core.ways import Way, build, way_to

# The steps of httpcore2's trace whose result is the connection.
CONNECTED = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")


class SyncLink:
    """
    A `Link` whose coroutines never suspend: they block.

    (Over HTTP/2, which a user's own client may use, a blocked reader wakes only with the next bytes, since
    other requests share its socket.)
    """

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client
        self._response: httpx2.Response | None = None
        self._chunks: Iterator[bytes] | None = None
        self._socket: socket.socket | None = None
        self._woken = threading.Event()

    @property
    def is_open(self) -> bool:
        return self._response is not None

    async def send(self, request: httpx2.Request, auth: Any) -> httpx2.Response:
        request.extensions["trace"] = self._trace
        with self._interruptible():
            self._response = self._client.send(request, stream=True, auth=auth, follow_redirects=False)
            self._hold_response(self._response)
        return self._response

    async def read(self) -> bytes | None:
        with self._interruptible():
            if self._chunks is None:
                assert self._response is not None
                self._chunks = self._response.iter_bytes()
            chunk = next(self._chunks, None)
        if chunk is None and self._woken.is_set():
            raise Interrupted  # a body without a length ends like this when its socket is shut down
        return chunk

    async def drop(self) -> None:
        response, self._response, self._chunks, self._socket = self._response, None, None, None
        if response is not None:
            with suppress(httpx2.RequestError):
                response.close()

    async def sleep(self, seconds: float) -> None:
        if self._woken.wait(seconds):
            raise Interrupted

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def interrupt(self) -> None:
        self._woken.set()
        shut(self._socket)

    def clear_interrupt(self) -> None:
        self._woken.clear()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        if self._woken.is_set():
            raise Interrupted
        try:
            yield
        except httpx2.RequestError:
            if self._woken.is_set():
                raise Interrupted from None
            raise

    # -- the socket, to wake a thread that is blocked in it

    def _trace(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith(CONNECTED):
            self._hold(info["return_value"])

    def _hold_response(self, response: httpx2.Response) -> None:
        # The trace does not report the socket of a connection that was in the pool already.
        self._hold(None if response.http_version == "HTTP/2" else response.extensions.get("network_stream"))

    def _hold(self, connection: Any) -> None:
        self._socket = connection and connection.get_extra_info("socket")
        if self._woken.is_set():
            shut(self._socket)


class Transport(httpx2.BaseTransport):
    """Sends each request by the way that the environment says, built when it is first needed."""

    def __init__(self) -> None:
        self._built: dict[Way, httpx2.HTTPTransport] = {}
        self._building = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        way = way_to(request.url)
        with self._building:  # threads share a client
            if way not in self._built:
                self._built[way] = build(httpx2.HTTPTransport, way)
        return self._built[way].handle_request(request)

    def close(self) -> None:
        for transport in self._built.values():
            transport.close()


def new_client() -> httpx2.Client:
    return httpx2.Client(transport=Transport())


def shut(connection: socket.socket | None) -> None:
    if connection is not None:
        with suppress(OSError):
            # Not `connection.shutdown`: on a TLS socket it discards the TLS state, and the
            # reader would take encrypted bytes for the stream.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
