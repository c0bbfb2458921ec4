"""
What one subscription does, from its first request to its end. Written once for both clients.

Rule 1: `Session` decides, this file does it, and whatever may take time goes through a `Link`.
Rule 2: the coroutines of the async client's `Link` suspend and those of the sync client's never do, so `run`
        brings a coroutine of this file to its end in one go. There is no second version of anything here.
Rule 3: `close` and `restart` may come at any moment, from another thread or task. They leave a mark and wake
        whoever reads, which finds `Interrupted` raised where it waited, and does the rest itself.
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

# The explanation of a refusal is worth no more than this.
REFUSAL_TIMEOUT = 5.0
MAX_REFUSAL = 64 * 1024


class Interrupted(Exception):
    """`Link.interrupt` was called."""


class Link(Protocol):
    """The one connection of a subscription, and whatever else takes time."""

    @property
    def is_open(self) -> bool: ...

    async def send(self, request: httpx2.Request, auth: Any) -> httpx2.Response:
        """Send a request and return the answer, whose body `read` gives."""

    async def read(self) -> bytes | None:
        """Return the next bytes, None at the end. Raise `httpx2.RequestError`."""

    async def drop(self) -> None:
        """Close the connection, if there is one."""

    async def sleep(self, seconds: float) -> None: ...

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user."""

    def interrupt(self) -> None:
        """Make `send`, `read` and `sleep` raise `Interrupted`, now or when they are called next."""

    def uninterrupt(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """What each request of a subscription has in common."""

    method: str
    url: httpx2.URL
    headers: HeaderSource
    body: bytes | None
    body_headers: Headers
    timeouts: Timeouts


class Subscription:
    """Connects, reads, waits and stops; `next_item` is all that whoever reads it calls."""

    def __init__(
        self,
        call: Call,
        session: Session,
        link: Link,
        client: httpx2.Client | httpx2.AsyncClient,
        store: PositionStore | None,
        on_change: Callable[[Change], Any] | None,
    ) -> None:
        self.closed = False
        self._restarting = False
        self._call = call
        self._session = session
        self._link = link
        self._client = client
        self._store = store
        self._on_change = on_change

    @property
    def url(self) -> str:
        return str(self._call.url)

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
        """Return the next event if nothing has to be done for it; most come many at a time."""
        if self.closed or self._store is not None or self._session.changes:
            return None
        return self._session.ready()

    async def next_item(self) -> Event | None:
        """Return the next event, None at the end; the one before it counts as processed."""
        self._save()
        while not self.closed:
            item = self._session.take()
            await self._tell()
            if item is not None:
                return item
            self._save()
            if await self._next_chunk() is None:
                break
        return None

    async def next_raw(self) -> bytes | None:
        """Return the next bytes as they come, None at the end."""
        self._save()
        chunk = await self._next_chunk()
        self._session.skip()
        await self._tell()
        return chunk

    async def _next_chunk(self) -> bytes | None:
        """Return the next bytes, and have them decoded; None at the end of the last connection."""
        while await self.open():
            try:
                chunk = await self._link.read()
            except Interrupted:
                await self._interrupted()
            except httpx2.RequestError as error:
                await self._lose(what_broke(error))
            else:
                if chunk is not None:
                    self._session.feed(chunk)
                    return chunk
                await self._lose(None)
        return None

    async def _lose(self, error: str | None) -> None:
        await self._link.drop()
        self._session.ended(error, time.monotonic())

    def _save(self) -> None:
        if self._store is not None:
            self._store.save(self._session.last_event_id)

    async def _tell(self) -> None:
        while self._session.changes:
            change = self._session.changes.popleft()
            if self._on_change is not None and not self.closed:
                await self._link.call(self._on_change, change)

    # -- connecting

    async def open(self) -> bool:
        """Bring about an open connection; return False if there is to be none any more."""
        while True:
            await self._tell()
            if self.closed:
                return False
            match self._session.step:
                case Connect() if self._link.is_open:
                    return True
                case Connect() if self._session.is_open:
                    # Whoever was reading was cancelled, and the connection with it.
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
            await self._interrupted()
        else:
            self._session.advance(None)

    async def _connect(self, last_event_id: bytes | None) -> None:
        try:
            ending = await self._try(last_event_id)
        except Interrupted:
            await self._interrupted()
        else:
            if ending is not None:
                await self._link.drop()
                self._session.advance(ending)

    async def _try(self, last_event_id: bytes | None) -> Ending | None:
        """Try to open a stream; return how that ended, None if it is open."""
        try:
            response = await self._send(await self._request(last_event_id))
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            return requests.failed(self._call.url, error)
        except OSError as error:
            # What the user's own function for the headers may well meet: a token server that is away.
            return Failed(f"no headers for the request: {requests.why(error)}")
        if not requests.readable(response):
            return requests.refused(response, await self._refusal(response))
        self._begin(response)
        return None

    async def _request(self, last_event_id: bytes | None) -> httpx2.Request:
        call = self._call
        headers = call.headers
        if callable(headers):
            headers = cast(Headers, await self._link.call(headers))
        return self._client.build_request(
            call.method,
            call.url,
            content=call.body,
            headers=requests.stream_headers(headers, last_event_id, call.body_headers),
            timeout=call.timeouts.until_head(),
        )

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and follow redirects, each time anew from the URL that the caller gave."""
        home = request.url.origin
        for _ in range(requests.MAX_REDIRECTS + 1):
            auth = httpx2.USE_CLIENT_DEFAULT if request.url.origin == home else None
            response = await self._link.send(request, auth)
            if response.next_request is None:
                return response
            await self._link.drop()
            request = requests.redirected(request, response.next_request, home)
        raise httpx2.TooManyRedirects(f"more than {requests.MAX_REDIRECTS} redirects", request=request)

    def _begin(self, response: httpx2.Response) -> None:
        silence = self._call.timeouts.silence or silence_limit(response.headers.get("tidewire-heartbeat"))
        set_read_timeout(response, silence)
        self._session.opened(str(response.url), silence, response.headers, time.monotonic())

    async def _refusal(self, response: httpx2.Response) -> bytes:
        """Return the beginning of an answer that is no stream, which may say why."""
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

    # -- being interrupted

    async def _interrupted(self) -> None:
        await self._link.drop()
        # In this order: whoever interrupts from now on does it anew, or is heeded below.
        self._link.uninterrupt()
        if self._restarting:
            self._restarting = False
            self._session.restarted()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Bring a coroutine that never suspends to its end."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    coroutine.close()
    raise AssertionError("the sync client has nothing to wait for outside its own calls")


def set_read_timeout(response: httpx2.Response, seconds: float | None) -> None:
    # httpcore2 looks it up when the body begins to be read: a heartbeat is known only then.
    response.request.extensions["timeout"]["read"] = seconds


def what_broke(error: httpx2.RequestError) -> str:
    if isinstance(error, httpx2.ReadTimeout):
        silence = error.request.extensions["timeout"]["read"]
        return f"nothing came for {silence:g} s"
    return f"the connection broke: {requests.why(error)}"
