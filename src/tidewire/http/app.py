"""
A hub as an ASGI app: the whole HTTP API (docs/reference/http.md), below any mount point.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files

from ..auth.access import Open, Permit, missing
from ..auth.bearer import bearer_token
from ..auth.cookies import session_cookie
from ..auth.grants import Grant
from ..delivery.node import Node
from ..delivery.step_budget import budget_of_loop, cost_of_request
from ..delivery.stream_lines import log_refused
from ..errors import MethodNotAllowed, NotFound, TidewireError, Unauthorized, Unavailable
from ..metrics import CONTENT_TYPE
from ..topics import check_publish_topic
from .admission import Admission, is_loopback
from .answers import content_head
from .asgi import Receive, Scope, Send, address_in
from .body import ClientGone, body_of
from .hub_like import HubLike, InspectorLike
from .hub_stream import HubStream
from .landing import HEAD as LANDING_HEAD
from .landing import landing_page, wants_page
from .managing import describe_run, list_runs, list_streams, read_revocation
from .openapi import description
from .origins import VARY_ORIGIN, Cors, check_host
from .plain import PlainPublishes
from .publishing import Publishing
from .reply import Reply
from .requests import (
    EndRequest,
    HistoryRequest,
    IngestRequest,
    PublishRequest,
    Request,
    SubscribeRequest,
    asks_for_stream,
    read_publication,
    read_subscription,
    read_ticket,
    topic_of,
    topics_in,
)
from .tickets import issue, redeem

NO_STORE = [(b"cache-control", b"no-store")]
# For answers to requests with a ticket in their URL.
NO_REFERRER = [(b"referrer-policy", b"no-referrer")]
JAVASCRIPT = b"text/javascript; charset=utf-8"
INSPECT = "/inspect"
# What proxies add to the requests that they pass on.
PROXY_HEADERS = {b"forwarded", b"x-forwarded-for", b"x-real-ip"}
HTML = b"text/html; charset=utf-8"


class HubApp:
    """
    The ASGI app of a hub.

    `allowed_hosts`: the host names it accepts; None if the program checks Host itself.
    """

    def __init__(
        self,
        hub: HubLike,
        cors: Cors,
        admission: Admission,
        allowed_hosts: Iterable[str] | None,
        inspector: InspectorLike,
    ) -> None:
        self._hub = hub
        self._inspector = inspector
        self._open = hub.opened
        self._settings = hub.settings
        self._cors = cors
        self._admission = admission
        self._hosts = None if allowed_hosts is None else frozenset(allowed_hosts)
        # For our own server: the most common publishes, without ASGI.
        self.plain = PlainPublishes(hub, self._check, cors.headers, admission)

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
        reply = Reply(scope, send, VARY_ORIGIN)
        request = None
        try:
            request = Request(scope)
            reply.common = self._cors.headers(request)
            return await self._answer(request, reply, scope, receive, send)
        except TidewireError as error:
            self.count_refusal(error.code)
            if request is not None and asks_for_stream(request):
                log_refused(error.code, reply.grant, request.client, topics_in(request))
            await reply.refuse(error)
        except ClientGone:
            pass
        return None

    def count_refusal(self, code: str) -> None:
        """Count a request that was refused, here or by the server in front."""
        self._hub.metrics.refused.labels(code).inc()

    async def _answer(
        self, request: Request, reply: Reply, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None] | None:
        self._check(request)
        if request.path == "/events" or request.path.startswith("/events/"):
            return await self._events(request, reply, scope, receive, send)
        if request.path == INSPECT or request.path.startswith(INSPECT + "/"):
            await self._inspect(request, reply, scope, receive, send)
            return None
        found, changing = FIXED_PATHS.get(request.path), CHANGING.get(request.path)
        if changing and not (found and request.method in READING):
            methods, change = changing
            allow(request, *(READING if found else ()), *methods, "OPTIONS")
            if request.method == "OPTIONS":
                await reply.send(204, self._cors.preflight(request))
            else:
                self._check_page(request, scope)
                await change(self, request, reply, scope, receive)
            return None
        if found is None:
            raise nothing_here()
        allow(request, *READING)
        await found(self, reply, scope)
        return None

    def _check(self, request: Request) -> None:
        """Refuse a request for another host, or one that another site's page makes a browser send."""
        if self._hosts is not None:
            check_host(request, self._hosts)
        self._cors.check(request)

    def _check_page(self, request: Request, scope: Scope) -> None:
        """Refuse a write by a cookie that no page is known for."""
        if self._hub.access.by_cookie(scope):
            self._cors.check_page(request)

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
        return self._permit_of(await self._open(), await self._hub.access.grant(scope))

    def _permit_of(self, node: Node, grant: Grant) -> Permit:
        if refusal := node.bearers.refusal(grant):
            raise refusal
        return Permit(grant, self._hub.access)

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
        ticket = read_ticket(request)
        if ticket is not None:
            reply.common = [*reply.common, *NO_REFERRER]
        node = await self._open()
        try:
            access = self._hub.access
            granted = access.grant(scope) if ticket is None else redeem(node, access, ticket, request)
            # Known before it is judged: the log says whose revoked token was refused.
            reply.grant = await granted
            permit = self._permit_of(node, reply.grant)
        except Unavailable as error:
            if ticket is None or isinstance(wanted, HistoryRequest):
                raise
            await self._stream(request, wanted, reply).refuse(node, send, error)
            return None
        permit.check_subscribe(wanted.selector.terms)
        if isinstance(wanted, HistoryRequest):
            address = self._admission.counted(address_in(scope))
            page = await node.history(wanted.selector, wanted.claim, wanted.limit, address)
            await reply.send_json(page)
            return None
        return await self._stream(request, wanted, reply, permit.grant).begin(scope, receive, send)

    def _stream(
        self, request: Request, wanted: SubscribeRequest, reply: Reply, grant: Grant | None = None
    ) -> HubStream:
        heartbeat = self._settings.heartbeat
        return HubStream(self._open, self._admission, reply.common, request, wanted, heartbeat, grant=grant)

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
        self._check_page(request, scope)
        node = await self._open()
        permit = self._permit_of(node, await self._hub.access.grant(scope))
        if isinstance(wanted, EndRequest | PublishRequest):
            permit.check_publish(wanted.topic)
        else:
            permit.check_publishes()
        if refusal := node.refusal():
            raise refusal
        publishing = Publishing(node, permit, self._admission, request, receive)
        if isinstance(wanted, IngestRequest):
            await publishing.ingest(wanted, reply.common, send)
        else:
            await reply.send_json(await publishing.store(wanted))

    # -- a cookie or a ticket for a token

    async def _session(self, request: Request, reply: Reply, scope: Scope, receive: Receive) -> None:
        if not self._hub.access.takes_tokens:
            raise NotFound("this hub takes no tokens, so it has no sessions")
        if request.method == "DELETE":
            await self._end_session(scope)
            cookie = session_cookie(scope, b"", 0)
        else:
            token = bearer_token(scope)
            if token is None:
                raise missing()
            until = (await self._permit(scope)).grant.until
            assert until is not None  # every token has an end
            cookie = session_cookie(scope, token, until - time.time())
        await reply.send(204, [*NO_STORE, (b"set-cookie", cookie)])

    async def _end_session(self, scope: Scope) -> None:
        """
        Refuse the token of a session from now on, if it has a name, and end the streams of its subject.

        Other tabs may have opened theirs with an older token of the same session.
        """
        try:
            grant = (await self._permit(scope)).grant
        except Unauthorized:
            return  # it is over
        if grant.jti:
            await self._hub.revoke(jti=grant.jti, sub=None, iss=None, until=grant.until)
        if grant.sub:
            await self._hub.kick(grant.sub, iss=grant.iss or None, reason="logged out")

    async def _ticket(self, request: Request, reply: Reply, scope: Scope, receive: Receive) -> None:
        permit = await self._permit(scope)
        permit.check_subscribes()
        if refusal := self._admission.ticket_refusal(permit.grant, address_in(scope), time.monotonic()):
            raise refusal
        await reply.send_json(await issue(await self._open(), permit.access, permit.grant, request))

    # -- for admins

    async def _check_admin(self, scope: Scope) -> Permit | None:
        """
        Raise the refusal unless the client is an admin, or on this machine if the hub has no keys.

        Return what says that it is an admin; None if that is where it is.
        """
        if isinstance(self._hub.access, Open) and is_local(scope):
            return None
        permit = await self._permit(scope)
        permit.check_admin()
        return permit

    async def _revoke(self, request: Request, reply: Reply, scope: Scope, receive: Receive) -> None:
        await self._check_admin(scope)
        await self._hub.revoke(**read_revocation(await body_of(request, receive, self._settings)))
        await reply.send(204, NO_STORE)

    async def _streams(self, reply: Reply, scope: Scope) -> None:
        await self._check_admin(scope)
        await reply.send_json({"streams": await list_streams(await self._open())})

    async def _runs(self, reply: Reply, scope: Scope) -> None:
        await self._check_admin(scope)
        await reply.send_json({"runs": list_runs(await self._hub.runs())})

    async def _cancel_run(self, request: Request, reply: Reply, scope: Scope, receive: Receive) -> None:
        await self._check_admin(scope)
        topic = check_publish_topic(request.one("topic") or "")
        run = await self._hub.cancel(topic, reason=request.one("reason") or "")
        if run is None:
            raise NotFound("no run of this topic is known")
        await reply.send_json(describe_run(run))

    async def _inspect(
        self, request: Request, reply: Reply, scope: Scope, receive: Receive, send: Send
    ) -> None:
        # No page of another origin is to read this.
        reply.common = VARY_ORIGIN
        allow(request, *self._inspector.methods(request.path))
        permit = None
        if not (self._hub.access.takes_tokens and self._inspector.is_shell(request.path)):
            permit = await self._check_admin(scope)
        if request.method not in READING:
            self._check_page(request, scope)
        await self._inspector.answer(request, reply, scope, receive, send, permit)

    # -- the rest

    async def _live(self, reply: Reply, scope: Scope) -> None:
        await reply.send_json({"status": "live"})

    async def _ready(self, reply: Reply, scope: Scope) -> None:
        node = await self._open()
        state = "draining" if node.draining else "ready" if node.ready else "engine down"
        await reply.send_json({"status": state}, 200 if node.ready else 503)

    async def _metrics(self, reply: Reply, scope: Scope) -> None:
        if not is_local(scope):
            (await self._permit(scope)).check_admin()
        node = await self._open()
        await reply.send_content(CONTENT_TYPE.encode(), node.metrics.text())

    async def _openapi(self, reply: Reply, scope: Scope) -> None:
        await reply.send_json(description(self._settings, scope.get("root_path", "").rstrip("/")))

    async def _landing(self, reply: Reply, scope: Scope) -> None:
        request = Request(scope)
        if not wants_page(request):
            raise nothing_here()
        root = scope.get("root_path", "").rstrip("/")
        page = landing_page(request, root, self._hub.access.takes_tokens)
        await reply.send(200, content_head(HTML, len(page)) + LANDING_HEAD, page)

    async def _javascript(self, reply: Reply, scope: Scope) -> None:
        content = files("tidewire.web").joinpath("tidewire.js").read_bytes()
        await reply.send_content(JAVASCRIPT, content)


def is_local(scope: Scope) -> bool:
    """
    Whether the client is on this machine; a client without an address has a Unix socket.

    A request that a proxy passes on is not, wherever the proxy is: its client may be anywhere.
    """
    if any(name in PROXY_HEADERS for name, _ in scope["headers"]):
        return False
    client = scope.get("client")
    return not client or is_loopback(client[0])


Change = Callable[[HubApp, Request, Reply, Scope, Receive], Awaitable[None]]

READING = ("GET", "HEAD")

# The paths that change something, and the methods that do.
CHANGING: dict[str, tuple[tuple[str, ...], Change]] = {
    "/revocations": (("POST",), HubApp._revoke),
    "/runs": (("DELETE",), HubApp._cancel_run),
    "/session": (("POST", "DELETE"), HubApp._session),
    "/tickets": (("POST",), HubApp._ticket),
}

FIXED_PATHS: dict[str, Callable[[HubApp, Reply, Scope], Awaitable[None]]] = {
    "/": HubApp._landing,
    "/health/live": HubApp._live,
    "/health/ready": HubApp._ready,
    "/metrics": HubApp._metrics,
    "/openapi.json": HubApp._openapi,
    "/runs": HubApp._runs,
    "/streams": HubApp._streams,
    "/tidewire.js": HubApp._javascript,
}


def nothing_here() -> NotFound:
    return NotFound("nothing here; streams are at /events")


def allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise MethodNotAllowed(f"method {request.method[:20]} not allowed", allow=", ".join(methods))
