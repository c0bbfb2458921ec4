"""
A hub as an ASGI app: the whole HTTP API (docs/reference/http.md), below any mount point.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from typing import Any

from ..auth.access import Open, Permit
from ..delivery.node import Node
from ..delivery.step_budget import budget_of_loop, cost_of_body, cost_of_request
from ..errors import MethodNotAllowed, NotFound, TidewireError
from ..log.drafts import check_batch, check_data, check_key, draft, draft_of, end_draft
from ..log.entries import Draft, Receipt
from ..log.json_text import read_json
from ..metrics import CONTENT_TYPE
from .admission import Admission, is_loopback
from .answers import content_head, receipt_fields
from .asgi import Receive, Scope, Send, address_in
from .body import BOM, ClientGone, read_body
from .hub_like import HubLike
from .hub_stream import HubStream
from .ingest import Ingestion, with_key
from .managing import list_streams, read_revocation
from .origins import Cors, check_host
from .plain import PlainPublishes
from .reply import Reply
from .requests import (
    EndRequest,
    HistoryRequest,
    IngestRequest,
    PublishJsonRequest,
    PublishRequest,
    Request,
    read_publication,
    read_subscription,
    topic_of,
)

NDJSON = b"application/x-ndjson"
JAVASCRIPT = b"text/javascript; charset=utf-8"


class HubApp:
    """
    The ASGI app of a hub.

    `allowed_hosts`: the host names it accepts; None if the program checks Host itself.
    """

    def __init__(
        self, hub: HubLike, cors: Cors, admission: Admission, allowed_hosts: Iterable[str] | None
    ) -> None:
        self._hub = hub
        self._open = hub.opened
        self._settings = hub.settings
        self._cors = cors
        self._admission = admission
        self._hosts = None if allowed_hosts is None else frozenset(allowed_hosts)
        # For our own server: the most common publishes, without ASGI.
        self.plain = PlainPublishes(hub, self._check, cors.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            rest = await self._http(scope, receive, send)
            if rest is not None:
                # Awaited here, so that an idle stream does not keep the request and its frames in memory.
                await rest
        else:
            # Only events are served here, no WebSockets.
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            lifespan = self._hub.lifespan()
            await lifespan.__aenter__()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await lifespan.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None] | None:
        """Respond to a request. If the response is a stream, return what sends the rest of it."""
        await budget_of_loop().take(cost_of_request(scope["query_string"]))
        reply = Reply(scope, send, self._cors.headers(None))
        try:
            request = Request(scope)
            reply.common = self._cors.headers(request)
            return await self._answer(request, reply, scope, receive, send)
        except TidewireError as error:
            self._hub.metrics.refused.labels(error.code).inc()
            await reply.refuse(error)
        except ClientGone:
            pass
        return None

    async def _answer(
        self, request: Request, reply: Reply, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None] | None:
        self._check(request)
        if request.path == "/events" or request.path.startswith("/events/"):
            return await self._events(request, reply, scope, receive, send)
        if request.path == "/revocations":
            await self._revoke(request, reply, scope, receive)
            return None
        found = FIXED_PATHS.get(request.path)
        if found is None:
            raise NotFound("nothing here; streams are at /events")
        allow(request, "GET", "HEAD")
        await found(self, reply, scope)
        return None

    def _check(self, request: Request) -> None:
        """Refuse a request for another host, or one that another site's page makes a browser send."""
        if self._hosts is not None:
            check_host(request, self._hosts)
        self._cors.check(request)

    async def _events(
        self, request: Request, reply: Reply, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None] | None:
        allow(request, "GET", "HEAD", "POST", "DELETE", "OPTIONS")
        topic = topic_of(request)
        if request.method == "OPTIONS":
            await reply.send(204, self._cors.preflight(request))
        elif request.method in ("GET", "HEAD"):
            return await self._subscribe(request, topic, reply, scope, receive, send)
        else:
            await self._publish(request, topic, reply, scope, receive, send)
        return None

    async def _permit(self, scope: Scope) -> Permit:
        """Return what the client of a request may do. Raises `Unauthorized` if its grant was revoked, too."""
        access = self._hub.access
        grant = await access.grant(scope)
        if refusal := (await self._open()).bearers.refusal(grant):
            raise refusal
        return Permit(grant, access)

    # -- subscribing

    async def _subscribe(
        self,
        request: Request,
        topic: str | None,
        reply: Reply,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Awaitable[None] | None:
        wanted = read_subscription(request, topic, self._settings.max_topics)
        permit = await self._permit(scope)
        permit.check_subscribe(wanted.selector.terms)
        if isinstance(wanted, HistoryRequest):
            node = await self._open()
            address = self._admission.counted(address_in(scope))
            page = await node.history(wanted.selector, wanted.claim, wanted.limit, address)
            await reply.send_json(page)
            return None
        heartbeat = self._settings.heartbeat
        stream = HubStream(
            self._open, self._admission, reply.common, request, wanted, heartbeat, grant=permit.grant
        )
        return await stream.begin(scope, receive, send)

    # -- publishing

    async def _publish(
        self,
        request: Request,
        topic: str | None,
        reply: Reply,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        wanted = read_publication(request, topic)
        permit = await self._permit(scope)
        if isinstance(wanted, EndRequest | PublishRequest):
            permit.check_publish(wanted.topic)
        else:
            permit.check_publishes()
        node = await self._open()
        if refusal := node.refusal():
            raise refusal
        if isinstance(wanted, IngestRequest):
            head = content_head(NDJSON, None) + reply.common
            await Ingestion(node, permit, wanted, head, receive, send).run()
            return
        answer: Any
        if isinstance(wanted, EndRequest):
            receipts = await node.append([end_draft(*wanted, max_event=self._settings.max_event)])
            answer = self._receipt(node, receipts[0])
        elif isinstance(wanted, PublishRequest):
            receipts = await node.append([await self._read_event(request, wanted, receive)])
            answer = self._receipt(node, receipts[0])
        else:
            answer = await self._publish_json(node, permit, wanted, await self._read_body(request, receive))
        await reply.send_json(answer)

    async def _read_event(self, request: Request, wanted: PublishRequest, receive: Receive) -> Draft:
        # Check the head before reading the body.
        limit = self._settings.max_event
        empty = draft(wanted.topic, event=wanted.event, retry=wanted.retry, key=wanted.key, max_event=limit)
        return empty._replace(data=check_data(await self._read_body(request, receive), limit))

    async def _publish_json(self, node: Node, permit: Permit, wanted: PublishJsonRequest, body: bytes) -> Any:
        await budget_of_loop().take(cost_of_body(body))
        fields = read_json(body.removeprefix(BOM))
        limit = self._settings.max_event
        if not isinstance(fields, list):
            event = draft_of(fields, max_event=limit)
            permit.check_publish(event.topic)
            if event.key is None and wanted.key is not None:
                event = event._replace(key=check_key(wanted.key))
            return self._receipt(node, (await node.append([event]))[0])
        check_batch(fields, self._settings.max_batch)
        drafts = [self._draft_of_batch(permit, item, index, wanted.key) for index, item in enumerate(fields)]
        receipts = await node.append(drafts) if drafts else []
        return [self._receipt(node, receipt) for receipt in receipts]

    def _draft_of_batch(self, permit: Permit, item: Any, index: int, key: str | None) -> Draft:
        try:
            event = draft_of(item, max_event=self._settings.max_event)
            permit.check_publish(event.topic)
            return with_key(event, key, index)
        except TidewireError as error:
            error.members["index"] = index
            raise

    async def _read_body(self, request: Request, receive: Receive) -> bytes:
        declared = request.header(b"content-length")
        return await read_body(receive, declared, self._settings.max_body, self._settings.body_timeout)

    def _receipt(self, node: Node, receipt: Receipt) -> dict[str, Any]:
        return receipt_fields(receipt, node.engine.durability)

    # -- for admins

    async def _check_admin(self, scope: Scope) -> None:
        """Raise the refusal unless the client is an admin, or on this machine if the hub has no keys."""
        if not (isinstance(self._hub.access, Open) and from_loopback(scope)):
            (await self._permit(scope)).check_admin()

    async def _revoke(self, request: Request, reply: Reply, scope: Scope, receive: Receive) -> None:
        allow(request, "POST", "OPTIONS")
        if request.method == "OPTIONS":
            await reply.send(204, self._cors.preflight(request))
            return
        await self._check_admin(scope)
        await self._hub.revoke(**read_revocation(await self._read_body(request, receive)))
        await reply.send(204, [(b"cache-control", b"no-store")])

    async def _streams(self, reply: Reply, scope: Scope) -> None:
        await self._check_admin(scope)
        await reply.send_json({"streams": await list_streams(await self._open())})

    # -- the rest

    async def _live(self, reply: Reply, scope: Scope) -> None:
        await reply.send_json({"status": "live"})

    async def _ready(self, reply: Reply, scope: Scope) -> None:
        node = await self._open()
        state = "draining" if node.draining else "ready" if node.ready else "engine down"
        await reply.send_json({"status": state}, 200 if node.ready else 503)

    async def _metrics(self, reply: Reply, scope: Scope) -> None:
        if not from_loopback(scope):
            (await self._permit(scope)).check_admin()
        node = await self._open()
        await reply.send_content(CONTENT_TYPE.encode(), node.metrics.text())

    async def _javascript(self, reply: Reply, scope: Scope) -> None:
        content = files("tidewire.web").joinpath("tidewire.js").read_bytes()
        await reply.send_content(JAVASCRIPT, content)


def from_loopback(scope: Scope) -> bool:
    """Whether the client is on this machine; a client without an address has a Unix socket."""
    client = scope.get("client")
    return not client or is_loopback(client[0])


FIXED_PATHS: dict[str, Callable[[HubApp, Reply, Scope], Awaitable[None]]] = {
    "/health/live": HubApp._live,
    "/health/ready": HubApp._ready,
    "/metrics": HubApp._metrics,
    "/streams": HubApp._streams,
    "/tidewire.js": HubApp._javascript,
}


def allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise MethodNotAllowed(f"method {request.method[:20]} not allowed", allow=", ".join(methods))
