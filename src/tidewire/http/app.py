"""
A hub as an ASGI app: the whole HTTP surface (docs/reference/http.md), below any mount point.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Any, Protocol

import orjson

from ..delivery.node import Node
from ..errors import Forbidden, MethodNotAllowed, NotFound, TidewireError
from ..log.drafts import check_batch, check_data, draft, draft_of, end_draft
from ..log.entries import Draft, Receipt
from ..metrics import CONTENT_TYPE
from .admission import Admission, is_loopback
from .answers import content_head, receipt_fields, refusal
from .asgi import Headers, Receive, Scope, Send
from .body import ClientGone, read_body
from .hub_stream import HubStream, Stream
from .ingest import Ingestion, read_json, with_key
from .origins import Cors, check_host
from .plain import PlainPublishes, Publisher
from .requests import (
    End,
    History,
    Ingest,
    Publish,
    PublishJson,
    Request,
    read_publication,
    read_subscription,
    topic_of,
)

logger = logging.getLogger("tidewire")

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
JAVASCRIPT = b"text/javascript; charset=utf-8"


class Opener(Publisher, Protocol):
    """Who opens the node: the hub."""

    async def open(self) -> Node:
        """Return the open node; open it where no lifespan did."""

    def lifespan(self) -> AbstractAsyncContextManager[None]: ...


class HubApp:
    """
    The ASGI app of a hub.

    `allowed_hosts`: None where the program around it checks Host itself.
    """

    def __init__(
        self, hub: Opener, cors: Cors, admission: Admission, allowed_hosts: Iterable[str] | None
    ) -> None:
        self._hub = hub
        self._open = hub.open
        self._settings = hub.settings
        self._cors = cors
        self._admission = admission
        self._hosts = None if allowed_hosts is None else frozenset(allowed_hosts)
        # For our own server: the common case without ASGI.
        self.plain = PlainPublishes(hub, self._check, cors.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live_span(receive, send)
        elif scope["type"] == "http":
            stream = await self._http(scope, receive, send)
            if stream is not None:
                # Awaited here, an idle stream does not hold the frames and the head of its request.
                await stream
        else:
            # Events go one way: there are no WebSockets here.
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _live_span(self, receive: Receive, send: Send) -> None:
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

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> Stream | None:
        """Answer a request; return the rest of the answer if it is a stream."""
        request = None
        try:
            request = Request(scope)
            return await self._answer(request, scope, receive, send)
        except TidewireError as error:
            await self._refuse(request, scope, send, error)
        except ClientGone:
            pass
        return None

    async def _answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> Stream | None:
        self._check(request)
        if request.path == "/events" or request.path.startswith("/events/"):
            return await self._events(request, scope, receive, send)
        found = FIXED.get(request.path)
        if found is None:
            raise NotFound("there is nothing here; streams are at /events")
        allow(request, "GET", "HEAD")
        await found(self, request, scope, send)
        return None

    def _check(self, request: Request) -> None:
        """Refuse what is not for us, or what another site's page makes a browser send."""
        if self._hosts is not None:
            check_host(request, self._hosts)
        self._cors.check(request)

    async def _events(self, request: Request, scope: Scope, receive: Receive, send: Send) -> Stream | None:
        allow(request, "GET", "HEAD", "POST", "DELETE", "OPTIONS")
        topic = topic_of(request)
        if request.method == "OPTIONS":
            await self._send(send, 204, self._cors.preflight(request), b"")
        elif request.method in ("GET", "HEAD"):
            return await self._subscribe(request, topic, scope, receive, send)
        else:
            await self._publish(request, topic, receive, send)
        return None

    # -- subscribing

    async def _subscribe(
        self, request: Request, topic: str | None, scope: Scope, receive: Receive, send: Send
    ) -> Stream | None:
        wanted = read_subscription(request, topic, self._settings.max_topics)
        if isinstance(wanted, History):
            node = await self._open()
            page = await node.history(wanted.selector, wanted.claim, wanted.limit)
            await self._send_json(request, send, page)
            return None
        stream = HubStream(self._open, self._admission, self._cors, request, wanted, self._settings.heartbeat)
        return await stream.begin(scope, receive, send)

    # -- publishing

    async def _publish(self, request: Request, topic: str | None, receive: Receive, send: Send) -> None:
        wanted = read_publication(request, topic)
        node = await self._open()
        if refusal := node.refusal():
            raise refusal
        if isinstance(wanted, Ingest):
            headers = [*content_head(NDJSON, None), *self._cors.headers(request)]
            await Ingestion(node, wanted, headers, receive, send).run()
            return
        answer: Any
        if isinstance(wanted, End):
            receipts = await node.append([end_draft(*wanted, max_event=self._settings.max_event)])
            answer = self._receipt(node, receipts[0])
        elif isinstance(wanted, Publish):
            receipts = await node.append([await self._read_event(request, wanted, receive)])
            answer = self._receipt(node, receipts[0])
        else:
            answer = await self._publish_json(node, wanted, await self._read_body(request, receive))
        await self._send_json(request, send, answer)

    async def _read_event(self, request: Request, wanted: Publish, receive: Receive) -> Draft:
        # What the head says is judged before the body is read.
        limit = self._settings.max_event
        empty = draft(wanted.topic, event=wanted.event, retry=wanted.retry, key=wanted.key, max_event=limit)
        return empty._replace(data=check_data(await self._read_body(request, receive), limit))

    async def _publish_json(self, node: Node, wanted: PublishJson, body: bytes) -> Any:
        fields = read_json(body)
        limit = self._settings.max_event
        if not isinstance(fields, list):
            event = draft_of(
                {**fields, "key": fields.get("key", wanted.key)} if is_object(fields) else fields,
                max_event=limit,
            )
            return self._receipt(node, (await node.append([event]))[0])
        check_batch(fields, self._settings.max_batch)
        drafts = [self._draft_of_batch(item, index, wanted.key) for index, item in enumerate(fields)]
        receipts = await node.append(drafts) if drafts else []
        return [self._receipt(node, receipt) for receipt in receipts]

    def _draft_of_batch(self, item: Any, index: int, key: str | None) -> Draft:
        try:
            return with_key(draft_of(item, max_event=self._settings.max_event), key, index)
        except TidewireError as error:
            error.members["index"] = index
            raise

    async def _read_body(self, request: Request, receive: Receive) -> bytes:
        declared = request.header(b"content-length")
        return await read_body(receive, declared, self._settings.max_body, self._settings.body_timeout)

    def _receipt(self, node: Node, receipt: Receipt) -> dict[str, Any]:
        return receipt_fields(receipt, node.engine.durability)

    # -- the rest

    async def _live(self, request: Request, scope: Scope, send: Send) -> None:
        await self._send_json(request, send, {"status": "live"})

    async def _ready(self, request: Request, scope: Scope, send: Send) -> None:
        node = await self._open()
        state = "draining" if node.draining else "ready" if node.ready else "engine down"
        await self._send_json(request, send, {"status": state}, 200 if node.ready else 503)

    async def _metrics(self, request: Request, scope: Scope, send: Send) -> None:
        client = scope.get("client")
        if client and not is_loopback(client[0]):
            raise Forbidden("metrics are for loopback peers", code="loopback_only")
        node = await self._open()
        await self._send_content(request, send, CONTENT_TYPE.encode(), node.metrics.text())

    async def _javascript(self, request: Request, scope: Scope, send: Send) -> None:
        content = files("tidewire.web").joinpath("tidewire.js").read_bytes()
        await self._send_content(request, send, JAVASCRIPT, content)

    # -- answers

    async def _send_json(self, request: Request, send: Send, value: Any, status: int = 200) -> None:
        await self._send_content(request, send, JSON, orjson.dumps(value), status)

    async def _send_content(
        self, request: Request, send: Send, kind: bytes, content: bytes, status: int = 200
    ) -> None:
        headers = [*content_head(kind, len(content)), *self._cors.headers(request)]
        await self._send(send, status, headers, b"" if request.method == "HEAD" else content)

    async def _refuse(self, request: Request | None, scope: Scope, send: Send, error: TidewireError) -> None:
        self._hub.metrics.refused.labels(error.code).inc()
        publish = scope["method"] in ("POST", "DELETE")
        status, headers, body = refusal(error, self._cors.headers(request), publish=publish)
        await self._send(send, status, headers, b"" if scope["method"] == "HEAD" else body)

    async def _send(self, send: Send, status: int, headers: Headers, body: bytes) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


FIXED: dict[str, Callable[[HubApp, Request, Scope, Send], Awaitable[None]]] = {
    "/health/live": HubApp._live,
    "/health/ready": HubApp._ready,
    "/metrics": HubApp._metrics,
    "/tidewire.js": HubApp._javascript,
}


def allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise MethodNotAllowed(f"{request.method[:20]} is not possible here", allow=", ".join(methods))


def is_object(value: Any) -> bool:
    return isinstance(value, dict)
