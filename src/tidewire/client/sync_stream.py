"""
A subscription for programs without asyncio, on blocking sockets.

What to do next is decided by `reconnect_flow`; this file does it.
"""

from __future__ import annotations

import functools
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpx2

from ..event_stream import Event
from ..reconnect import Connect, Ending, Stop, Wait, silence_limit
from . import requests
from .session import Session

# Seconds. An open stream's silence is limited by its heartbeat; these are for what comes before.
CONNECT_TIMEOUT = 10.0
HEAD_TIMEOUT = 30.0

# The explanation of a refusal is worth no more than this.
REFUSAL_TIMEOUT = 5.0
MAX_REFUSAL = 64 * 1024

# httpcore2 names its steps like this; their result is the connection.
CONNECTED = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")


class Stream:
    """
    An open subscription, made by `connect`.

    One thread reads; `close` may be called from any other, and wakes it. (Over HTTP/2, which your own
    client may speak, the reader wakes with the next bytes: other requests share its socket.)
    """

    def __init__(
        self,
        url: httpx2.URL,
        session: Session,
        headers: Mapping[str, str],
        client: httpx2.Client | None,
        silence: float | None,
    ) -> None:
        requests.stream_headers(headers, None)  # what is wrong with them is said now
        self.url = str(url)
        self._url = url
        self._session = session
        self._headers = dict(headers)
        self._silence = silence
        self._client = client or new_client()
        self._owns_client = client is None
        self._response: httpx2.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._socket: socket.socket | None = None
        self._closed = threading.Event()
        self._reading = threading.Lock()

    @property
    def last_event_id(self) -> str:
        """The id of the newest event taken from the iterator: where another stream would go on."""
        return self._session.last_event_id

    def __enter__(self) -> Self:
        try:
            with self._reading:
                self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            with self._reading:
                item = self._next_item()
        finally:
            self._release_if_closed()
        if item is None:
            raise StopIteration
        return item

    def raw(self) -> Iterator[bytes]:
        """Yield the bytes as they come, instead of events; resuming goes on as usual."""
        while (chunk := self._next_raw()) is not None:
            yield chunk

    def close(self) -> None:
        """End the stream for good, from any thread; a reader that is blocked wakes and ends."""
        self._closed.set()
        shut(self._socket)
        self._release_if_closed()

    # -- reading

    def _next_item(self) -> Event | None:
        while not self._closed.is_set():
            item = self._session.take()
            if item is not None:
                return item
            if self._next_chunk() is None:
                break
        return None

    def _next_raw(self) -> bytes | None:
        try:
            with self._reading:
                chunk = self._next_chunk()
                self._session.skip()
                return chunk
        finally:
            self._release_if_closed()

    def _next_chunk(self) -> bytes | None:
        """Return the next bytes, and have them decoded; None at the end of the last connection."""
        while self._open():
            try:
                chunk = next(self._chunks, None)
            except httpx2.RequestError as error:
                self._lose(what_broke(error))
                continue
            if chunk is None:
                self._lose(None)
                continue
            self._session.feed(chunk)
            return chunk
        return None

    def _lose(self, error: str | None) -> None:
        self._drop()
        if not self._closed.is_set():
            self._session.ended(error, time.monotonic())

    # -- connecting

    def _open(self) -> bool:
        """Bring about an open connection; return False if there is to be none any more."""
        while not self._closed.is_set():
            match self._session.step:
                case Connect() if self._response is not None:
                    return True
                case Connect(last_event_id):
                    self._connect(last_event_id)
                case Wait(seconds):
                    if not self._closed.wait(seconds):
                        self._session.advance(None)
                case Stop():
                    self._stop()
        return False

    def _stop(self) -> None:
        self._closed.set()
        error = self._session.stopped()
        if error is not None:
            raise error

    def _connect(self, last_event_id: bytes | None) -> None:
        ending: Ending
        try:
            self._response = self._send(self._request(last_event_id))
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            ending = requests.failed(self._url, error)
        else:
            if requests.readable(self._response):
                self._begin(self._response)
                return
            ending = requests.refused(self._response, read_refusal(self._response))
        self._drop()
        if not self._closed.is_set():
            self._session.advance(ending)

    def _request(self, last_event_id: bytes | None) -> httpx2.Request:
        return self._client.build_request(
            "GET",
            self._url,
            headers=requests.stream_headers(self._headers, last_event_id),
            timeout=httpx2.Timeout(CONNECT_TIMEOUT, read=HEAD_TIMEOUT),
            extensions={"trace": self._trace},
        )

    def _send(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and follow redirects, each time anew from the URL that the caller gave."""
        home = request.url.origin
        for _ in range(requests.MAX_REDIRECTS + 1):
            auth = httpx2.USE_CLIENT_DEFAULT if request.url.origin == home else None
            response = self._client.send(request, stream=True, auth=auth, follow_redirects=False)
            if response.next_request is None:
                return response
            response.close()
            request = requests.redirected(request, response.next_request, home)
        raise httpx2.TooManyRedirects(f"more than {requests.MAX_REDIRECTS} redirects", request=request)

    def _begin(self, response: httpx2.Response) -> None:
        silence = self._silence or silence_limit(response.headers.get("tidewire-heartbeat"))
        set_read_timeout(response, silence)
        # A connection that was in the pool already made no trace of its socket.
        self._hold(None if response.http_version == "HTTP/2" else response.extensions.get("network_stream"))
        self._chunks = response.iter_bytes()
        self._session.opened(str(response.url), silence, time.monotonic())

    def _trace(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith(CONNECTED):
            self._hold(info["return_value"])

    def _hold(self, connection: Any) -> None:
        """Keep the socket, so that `close` can wake a thread that is blocked in it."""
        self._socket = connection and connection.get_extra_info("socket")
        if self._closed.is_set():
            shut(self._socket)

    # -- letting go

    def _drop(self) -> None:
        response, self._response, self._socket = self._response, None, None
        if response is not None:
            with suppress(httpx2.RequestError):
                response.close()

    def _release_if_closed(self) -> None:
        # Whoever is reading does this as it leaves: a response in use must not be closed under it.
        if self._closed.is_set() and self._reading.acquire(blocking=False):
            try:
                self._drop()
                if self._owns_client:
                    self._client.close()
            finally:
                self._reading.release()


def new_client() -> httpx2.Client:
    return httpx2.Client(mounts=requests.DIRECT, verify=tls_context())


# Reading the system's certificates takes 60 ms, 30 times as long as the rest of a client.
@functools.cache
def tls_context() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def shut(connection: socket.socket | None) -> None:
    if connection is not None:
        with suppress(OSError):
            # Not `connection.shutdown`: that of a TLS socket throws its TLS state away, and
            # the reader would take what is still encrypted for the stream.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def set_read_timeout(response: httpx2.Response, seconds: float | None) -> None:
    # httpcore2 looks it up when the body begins to be read: a heartbeat is known only then.
    response.request.extensions["timeout"]["read"] = seconds


def what_broke(error: httpx2.RequestError) -> str:
    if isinstance(error, httpx2.ReadTimeout):
        silence = error.request.extensions["timeout"]["read"]
        return f"nothing came for {silence:g} s"
    return f"the connection broke: {requests.why(error)}"


def read_refusal(response: httpx2.Response) -> bytes:
    """Return the beginning of an answer that is no stream, which may say why."""
    if response.status_code in (200, 204):
        return b""
    set_read_timeout(response, REFUSAL_TIMEOUT)
    deadline = time.monotonic() + REFUSAL_TIMEOUT
    body = b""
    with suppress(httpx2.RequestError):
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_REFUSAL or time.monotonic() > deadline:
                break
    return body
