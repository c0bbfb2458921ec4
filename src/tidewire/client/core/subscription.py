"""
One subscription, from its first request to its end. Written once for both clients.

Rule 1: `Session` decides, this file acts, and everything that may take time goes through a `Link`.
Rule 2: the coroutines of the async client's `Link` suspend; those of the sync client's never do, so `run`
        can run any coroutine of this file to its end in one step. Nothing here is written twice.
Rule 3: `close` and `restart` may be called at any moment, from another thread or task. They set a flag and
        wake the reader, which gets `Interrupted` where it waited and does the rest itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import httpx2

from ...event_stream import Event
from . import requests
from .reconnect import Change, Connect, Ending, Failed, Stop, Wait, silence_limit
from .requests import Headers, HeaderSource, Timeouts
from .session import Session
from .store import PositionStore

T = TypeVar("T")

# The most time and bytes that reading the explanation of a refusal may take.
REFUSAL_TIMEOUT = 5.0
MAX_REFUSAL = 64 * 1024


class Interrupted(Exception):
    """`Link.interrupt` was called."""


class Link(Protocol):
    """The one connection of a subscription, and everything else that may take time."""

    @property
    def is_open(self) -> bool: ...

    async def send(self, request: httpx2.Request, auth: Any) -> httpx2.Response:
        """Send a request and return the answer; `read` returns its body."""

    async def read(self) -> bytes | None:
        """Return the next bytes, None at the end. Raises `httpx2.RequestError` if the connection broke."""

    async def drop(self) -> None:
        """Close the connection, if there is one."""

    async def sleep(self, seconds: float) -> None: ...

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user."""

    def interrupt(self) -> None:
        """Make `send`, `read` and `sleep` raise `Interrupted`, now or at their next call."""

    def clear_interrupt(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """What all requests of a subscription have in common."""

    method: str
    url: httpx2.URL
    headers: HeaderSource
    body: bytes | None
    body_headers: Headers
    timeouts: Timeouts


class Subscription:
    """Connects, reads, waits and stops. A reader only calls `next_item` (or `next_raw`)."""

    def __init__(
        self,
        template: RequestTemplate,
        session: Session,
        link: Link,
        client: httpx2.Client | httpx2.AsyncClient,
        store: PositionStore | None,
        on_change: Callable[[Change], Any] | None,
    ) -> None:
        self.closed = False
        self._restarting = False
        self._template = template
        self._session = session
        self._link = link
        self._client = client
        self._store = store
        self._on_change = on_change

    @property
    def url(self) -> str:
        return str(self._template.url)

    @property
    def last_event_id(self) -> str:
        return self._session.last_event_id

    def close(self) -> None:
        self.closed = True
        self._link.interrupt()

    def restart(self) -> None:
        self._restarting = True
        self._link.interrupt()

    # -- reading

    def ready(self) -> Event | None:
        """Return the next event if it is there already; most events arrive many at a time."""
        if self.closed or self._store is not None or self._session.changes:
            return None
        return self._session.ready()

    async def next_item(self) -> Event | None:
        """Return the next event, None at the end. The event before it counts as processed."""
        self._save()
        while not self.closed:
            item = self._session.take()
            await self._report_changes()
            if item is not None:
                return item
            self._save()
            if await self._next_chunk() is None:
                break
        return None

    async def next_raw(self) -> bytes | None:
        """Return the next bytes as they arrive, None at the end."""
        self._save()
        chunk = await self._next_chunk()
        self._session.skip()
        await self._report_changes()
        return chunk

    async def _next_chunk(self) -> bytes | None:
        """Return the next bytes after decoding them too; None at the end of the last connection."""
        while await self.open():
            try:
                chunk = await self._link.read()
            except Interrupted:
                await self._handle_interrupt()
            except httpx2.RequestError as error:
                await self._end_connection(how_it_broke(error))
            else:
                if chunk is not None:
                    self._session.feed(chunk)
                    return chunk
                await self._end_connection(None)
        return None

    async def _end_connection(self, error: str | None) -> None:
        await self._link.drop()
        self._session.ended(error, time.monotonic())

    def _save(self) -> None:
        if self._store is not None:
            self._store.save(self._session.last_event_id)

    async def _report_changes(self) -> None:
        while self._session.changes:
            change = self._session.changes.popleft()
            if self._on_change is not None and not self.closed:
                await self._link.call(self._on_change, change)

    # -- connecting

    async def open(self) -> bool:
        """Wait until a connection is open. Return False if there will be no more."""
        while True:
            await self._report_changes()
            if self.closed:
                return False
            match self._session.step:
                case Connect() if self._link.is_open:
                    return True
                case Connect() if self._session.is_open:
                    # The reader was cancelled, which closed the connection.
                    self._session.restarted()
                case Connect(last_event_id):
                    await self._connect(last_event_id)
                case Wait(seconds):
                    await self._wait(seconds)
                case Stop():
                    return self._stop()

    def _stop(self) -> bool:
        self.closed = True
        error = self._session.stopped()
        if error is not None:
            raise error
        return False

    async def _wait(self, seconds: float) -> None:
        try:
            await self._link.sleep(seconds)
        except Interrupted:
            await self._handle_interrupt()
        else:
            self._session.advance(None)

    async def _connect(self, last_event_id: bytes | None) -> None:
        try:
            ending = await self._attempt(last_event_id)
        except Interrupted:
            await self._handle_interrupt()
        else:
            if ending is not None:
                await self._link.drop()
                self._session.advance(ending)

    async def _attempt(self, last_event_id: bytes | None) -> Ending | None:
        """Try to open a stream. Return how that failed, or None if the stream is open."""
        try:
            headers = await self._headers()
            response = await self._send(self._request(headers, last_event_id), headers)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            return requests.failed(self._template.url, error)
        except OSError as error:
            # From the user's function for the headers: for example, the token server is down.
            return Failed(f"cannot get the headers for the request: {requests.reason_of(error)}")
        if not requests.is_readable(response):
            return requests.refused(response, await self._read_refusal(response))
        self._opened(response)
        return None

    async def _headers(self) -> Headers:
        """Return the caller's headers for one request."""
        headers = self._template.headers
        return cast(Headers, await self._link.call(headers)) if callable(headers) else headers

    def _request(self, headers: Headers, last_event_id: bytes | None) -> httpx2.Request:
        template = self._template
        return self._client.build_request(
            template.method,
            template.url,
            content=template.body,
            headers=requests.stream_headers(headers, last_event_id, template.body_headers),
            timeout=template.timeouts.until_head(),
        )

    async def _send(self, request: httpx2.Request, headers: Headers) -> httpx2.Response:
        """
        Send a request and follow its redirects; one that must not be followed is the answer.

        Each request starts at the URL of the user. `headers` are the user's.
        """
        home = request.url.origin
        for _ in range(requests.MAX_REDIRECTS + 1):
            auth = httpx2.USE_CLIENT_DEFAULT if request.url.origin == home else None
            response = await self._link.send(request, auth)
            following = response.next_request
            if following is None:
                return response
            if following.url.origin != home and not requests.may_leave(response.request, headers):
                return response
            await self._link.drop()
            request = requests.redirected(request, following, home)
        raise httpx2.TooManyRedirects(f"more than {requests.MAX_REDIRECTS} redirects", request=request)

    def _opened(self, response: httpx2.Response) -> None:
        silence = self._template.timeouts.silence or silence_limit(response.headers.get("tidewire-heartbeat"))
        set_read_timeout(response, silence)
        self._session.opened(str(response.url), silence, response.headers, time.monotonic())

    async def _read_refusal(self, response: httpx2.Response) -> bytes:
        """Return the first part of an answer that is not a stream; it may explain why."""
        body = b""
        if response.status_code in (200, 204):
            return body
        set_read_timeout(response, REFUSAL_TIMEOUT)
        deadline = time.monotonic() + REFUSAL_TIMEOUT
        try:
            while len(body) < MAX_REFUSAL and time.monotonic() < deadline:
                chunk = await self._link.read()
                if chunk is None:
                    break
                body += chunk
        except httpx2.RequestError:
            pass
        return body

    # -- interrupts

    async def _handle_interrupt(self) -> None:
        await self._link.drop()
        # Clear the interrupt first: a `restart` after this line interrupts again or is seen below.
        self._link.clear_interrupt()
        if self._restarting:
            self._restarting = False
            self._session.restarted()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    coroutine.close()
    raise AssertionError("a coroutine of the sync client suspended")


def set_read_timeout(response: httpx2.Response, seconds: float | None) -> None:
    # httpcore2 reads this value when it starts to read the body, so it can be set after the head.
    response.request.extensions["timeout"]["read"] = seconds


def how_it_broke(error: httpx2.RequestError) -> str:
    if isinstance(error, httpx2.ReadTimeout):
        silence = error.request.extensions["timeout"]["read"]
        return f"nothing was received for {silence:g} s"
    return f"the connection broke: {requests.reason_of(error)}"
