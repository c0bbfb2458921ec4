"""
One stream as an HTTP response: of a hub's topics, or straight from a generator.

Both are ASGI callables, and Starlette responses where Starlette is installed,
so that FastAPI takes them as they are.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from .. import hub_events
from ..delivery.node import Node
from ..delivery.stopping import drains_of_loop
from ..delivery.subscriber import Subscriber
from ..errors import TidewireError
from ..event_stream import comment
from ..settings import Settings
from .admission import COME_BACK, Admission
from .answers import problem, stream_head
from .asgi import Headers, Receive, Scope, Send
from .asgi_wire import AsgiWire
from .generator import GeneratorStream, Item
from .origins import Cors
from .requests import Request, Subscribe

if TYPE_CHECKING:
    Base = object
else:
    try:
        from starlette.responses import Response as Base
    except ImportError:
        Base = object

# The rest of an answer: a stream that sends until it ends or its client leaves.
Stream = Coroutine[Any, Any, None]

# How long the first bytes may take through the program's middleware before the
# stream goes on without the socket. Middleware that holds them longer holds all.
TAKEOVER_TIMEOUT = 1.0


class Offer(Protocol):
    """What `scope["extensions"]["tidewire.stream"]` is on our own server."""

    def arm(self, first: bytes, subscriber: Subscriber) -> None: ...

    async def settled(self, timeout: float) -> bool: ...

    def on_stopping(self, callback: Callable[[], object]) -> None: ...


def offer_in(scope: Scope) -> Offer | None:
    offer: Offer | None = (scope.get("extensions") or {}).get("tidewire.stream")
    return offer


class AsgiResponse(Base):
    """The least that a Starlette response is; `headers` may be added to before it is sent."""

    def __init__(self, status_code: int = 200, headers: Headers | None = None) -> None:
        self.status_code = status_code
        self.background = None
        self.body = b""
        self.raw_headers = headers or []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class HubStream(AsgiResponse):
    """The response to one subscription; `node` opens the hub where no lifespan did."""

    def __init__(
        self,
        node: Callable[[], Awaitable[Node]],
        admission: Admission,
        cors: Cors,
        request: Request,
        subscribe: Subscribe,
        heartbeat: float,
    ) -> None:
        super().__init__(200, stream_head(request.http_version, heartbeat) + cors.headers(request))
        self._node = node
        self._admission = admission
        self._cors = cors
        self._request = request
        self._subscribe = subscribe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = await self.begin(scope, receive, send)
        if stream is not None:
            await stream

    async def begin(self, scope: Scope, receive: Receive, send: Send) -> Stream | None:
        """Send the head and the first bytes; return what sends the rest, where that is to be sent here."""
        node = await self._node()
        address = scope["client"][0] if scope.get("client") else None
        refusal = self._refusal(node, address)
        if self._request.method == "HEAD":
            await self._send_head(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif refusal is not None:
            node.metrics.refused.labels(refusal.code).inc()
            await self._refuse(send, refusal)
        else:
            return await self._open(node, address, scope, receive, send)
        return None

    async def _open(
        self, node: Node, address: str | None, scope: Scope, receive: Receive, send: Send
    ) -> Stream | None:
        wanted = self._subscribe
        opening = await node.subscribe(wanted.selector, wanted.claim, wanted.opened)
        if opening is None:
            headers = [*self._cors.headers(self._request), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return None
        subscriber, first = opening
        subscriber.address = self._admission.counted(address)
        offer = offer_in(scope)
        if offer is not None:
            offer.arm(first, subscriber)
        await self._send_head(send)
        await send({"type": "http.response.body", "body": first, "more_body": True})
        if offer is not None:
            if await offer.settled(TAKEOVER_TIMEOUT):
                return None
            offer.on_stopping(subscriber.server_stopping)
        return AsgiWire(subscriber, send).run(receive)

    def _refusal(self, node: Node, address: str | None) -> TidewireError | None:
        of_address = node.streams_by_address[self._admission.counted(address)]
        now = time.monotonic()
        return node.refusal() or self._admission.refusal(address, of_address, node.streams_open, now)

    async def _send_head(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _refuse(self, send: Send, refusal: TidewireError) -> None:
        """Refuse for now. A native EventSource gives up for ever on any answer but 200."""
        if self._request.native:
            await self._send_head(send)
            wait = (refusal.retry_after or 0) + random.random() * COME_BACK
            body = comment(refusal.code) + hub_events.retry(wait)
        else:
            status, headers, body = problem(refusal, publish=False)
            headers += self._cors.headers(self._request)
            await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Refusal(AsgiResponse):
    """The answer to a request for a stream that is not possible."""

    def __init__(self, error: TidewireError) -> None:
        status, headers, self._content = problem(error, publish=False)
        super().__init__(status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._content})


class EventStreamResponse(AsgiResponse):
    """
    A stream without a log, straight from a generator.

        return EventStreamResponse(ticks())

    `content`: an async or sync iterable that yields `Event`, `str` (its data)
    or `dict` (the fields of an `Event`; data that is no text becomes JSON).
    It gets the head, heartbeat, drain and bounds of a hub's streams. When the
    client leaves, an async generator is closed within a second and a sync one
    at its next `yield`; a sync one runs in a thread of its own. If it raises,
    the stream ends with a `hub.error` event. `max_age`: seconds after which it
    is ended; None for no end. Raises `TypeError` where `content` is not such
    an iterable.
    """

    media_type = "text/event-stream"
    settings = (
        Settings()
    )  # a subclass may have others: `retry`, `heartbeat`, `drain` and `send_timeout` count

    def __init__(
        self,
        content: AsyncIterable[Item] | Iterable[Item],
        *,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        max_age: float | None = None,
    ) -> None:
        # A text iterates too, by its characters; and a function is easily passed without its call.
        if isinstance(content, (str, bytes, Mapping)) or not isinstance(content, (AsyncIterable, Iterable)):
            raise TypeError(
                f"content is an iterable of events, such as a generator, not {type(content).__name__}"
            )
        extra = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]
        replaced = {name for name, _ in extra}
        head = stream_head("1.1", self.settings.heartbeat)
        super().__init__(status_code, [item for item in head if item[0] not in replaced] + extra)
        self._content = content
        self._max_age = max_age

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope.get("http_version", "1.1").startswith("1"):
            self.raw_headers = [item for item in self.raw_headers if item[0] != b"connection"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._stream(scope, receive, send)
        if self.background is not None:
            await self.background()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = GeneratorStream(self._content, self.settings, self._max_age, send)
        offer = offer_in(scope)
        if offer is not None:
            offer.on_stopping(drains_of_loop().start_drain)
        await stream.run(receive)
