"""
One subscription as an HTTP response, on both ways to the socket.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Awaitable, Callable

from .. import hub_events
from ..auth.grants import Grant
from ..delivery.node import Node
from ..delivery.stream_lines import log_refused
from ..errors import TidewireError, Unauthorized
from ..event_stream import comment
from .admission import RETRY_SPREAD, Admission, address_client
from .answers import problem, stream_head
from .asgi import Headers, Receive, Scope, Send, address_in
from .asgi_wire import AsgiWire
from .offer import offer_in
from .origins import VARY_ORIGIN
from .requests import Request, SubscribeRequest
from .responses import AsgiResponse

# Seconds that the first bytes may take through the program's middleware. After that the
# stream stays on the portable way.
TAKEOVER_TIMEOUT = 1.0

# Where a plain stream starts: it has no hub.position.
POSITION_HEADER = b"tidewire-position"

# Characters that are kept of the name of a client's program.
MAX_AGENT = 200


class HubStream(AsgiResponse):
    """
    The response to one subscription.

    `node` returns the open node; `common` are headers that every response has. The stream ends with its
    `grant`. A route may say `response_class=HubStream`, so that FastAPI describes it as a stream.
    """

    media_type = "text/event-stream"
    # Whether our own server may hand over its socket.
    takes_over = True

    def __init__(
        self,
        node: Callable[[], Awaitable[Node]],
        admission: Admission,
        common: Headers,
        request: Request,
        subscribe: SubscribeRequest,
        heartbeat: float,
        status_code: int = 200,  # FastAPI reads the default, to describe a route with this class
        *,
        grant: Grant | None = None,
    ) -> None:
        head = stream_head(request.http_version, heartbeat, plain=subscribe.plain)
        super().__init__(status_code, head + common)
        self._node = node
        self._admission = admission
        self._common = common
        self._request = request
        self._subscribe = subscribe
        self._grant = grant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rest = await self.begin(scope, receive, send)
        if rest is not None:
            await rest
        await self.run_background()

    async def begin(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None] | None:
        """Send the head and first bytes. Return what sends the rest; None if all is sent or taken over."""
        node = await self._node()
        refusal = None if self._grant is None else node.bearers.refusal(self._grant)
        if refusal is not None:
            await self.refuse(node, send, refusal)
            return None
        if self._request.method == "HEAD":
            # It opens no stream, so it does not count as one.
            await self._send_head(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return None
        address = address_in(scope)
        full = self._refusal(node, address)
        if full is None:
            node.tally.accept()
            return await self._open(node, address, scope, receive, send)
        await self.refuse(node, send, full)
        return None

    async def _open(
        self, node: Node, address: str | None, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None] | None:
        wanted = self._subscribe
        counted = self._admission.counted(address)
        try:
            opening = await node.subscribe(
                wanted.selector,
                wanted.claim,
                wanted.wants_hub_open,
                counted,
                wanted.plain,
                address,
                self._grant,
                wanted.run,
            )
        except TidewireError as refusal:  # of a plain stream, or of a grant that has just ended
            await self.refuse(node, send, refusal)
            return None
        if opening is None:
            headers = [*self._common, (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return None
        subscriber, first = opening
        subscriber.agent = agent_of(self._request)
        if wanted.plain:
            at = str(node.window.position(subscriber.offset)).encode()
            self.raw_headers.append((POSITION_HEADER, at))
        offer = offer_in(scope)
        if offer is not None and self.takes_over:
            subscriber.after = self.background
            offer.arm(first, subscriber)
        await self._send_head(send)
        await send({"type": "http.response.body", "body": first, "more_body": True})
        if offer is not None:
            if self.takes_over and await offer.settled(TAKEOVER_TIMEOUT):
                self.background = None  # the node runs it when the stream is over
                return None
            subscriber.after = None
            offer.on_stopping(subscriber.server_stopping)
        return AsgiWire(subscriber, send, offer).run(receive)

    def _refusal(self, node: Node, address: str | None) -> TidewireError | None:
        of_address = node.tally.of_client(address_client(self._admission.counted(address)))
        of_subject = 0 if self._grant is None else node.tally.of_client(self._grant.subject)
        now = time.monotonic()
        return node.stream_refusal() or self._admission.refusal(
            address, of_address, node.streams_open, now, of_subject
        )

    async def _send_head(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def refuse(self, node: Node, send: Send, refusal: TidewireError) -> None:
        """
        Refuse the stream, a normal one for now.

        Any status but 200 makes a native EventSource give up forever, as it should without a valid
        grant. The client of a plain stream is not one, and would take a 200 for an answer without content.
        """
        node.metrics.refused.labels(refusal.code).inc()
        topics = len(self._subscribe.selector.terms)
        log_refused(refusal.code, self._grant, self._request.client, topics)
        passes = not isinstance(refusal, Unauthorized)
        if passes and self._request.native and not self._subscribe.plain:
            await self._send_head(send)
            wait = (refusal.retry_after or 0) + random.random() * RETRY_SPREAD
            body = comment(refusal.code) + hub_events.retry(wait)
        else:
            status, headers, body = problem(refusal, publish=False)
            headers += self._common
            await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def agent_of(request: Request) -> str | None:
    """Return the program that the client is, as it says. Many streams share one text."""
    agent = request.header(b"user-agent")
    return None if agent is None else sys.intern(agent[:MAX_AGENT])


class RefusedStream(HubStream):
    """The response to a request for a stream that is refused before it begins."""

    def __init__(self, error: TidewireError) -> None:
        status, headers, self._content = problem(error, publish=False)
        AsgiResponse.__init__(self, status, headers + VARY_ORIGIN)

    async def begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._send_head(send)
        await send({"type": "http.response.body", "body": self._content})
