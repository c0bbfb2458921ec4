"""
The demo's ASGI app, around the app of a hub.

`/demo` shows random events and how a stream recovers from faults, `/demo/broadcast`
one cat fact for all listeners, `/demo/tabs` twelve tabs on one connection,
`/demo/answer` an answer that survives its page. All other requests go to the hub.
The pages show text only by `textContent` and load nothing from other servers; the
content security policy enforces both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from random import Random, uniform
from typing import Any

import orjson

from .. import hub_events
from ..errors import Forbidden, InvalidInput, MethodNotAllowed, NotFound, TidewireError, Unavailable
from ..event_stream import Decoder
from ..http.answers import content_head, content_type, problem, stream_head
from ..http.asgi import Headers
from ..http.origins import VARY_ORIGIN, Cors, check_host
from ..http.requests import Request
from ..http.responses import EventStreamResponse
from ..hub import Hub
from .answers import Answers
from .content import CAT_FACTS
from .memes import MEMES, svg
from .random_events import deck
from .views import PREFIX, View, Views

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Route = Callable[[Request, Scope, Receive, Send], Awaitable[None]]

BROADCAST = "broadcast"
# Words of an answer in the time of one random event.
WORDS = 8

POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGE_HEAD = [
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]

# Page three shows this page in twelve frames.
FRAME = "/demo/tab"
FRAME_HEAD = [
    (name, value.replace(b"frame-ancestors 'none'", b"frame-ancestors 'self'")) for name, value in PAGE_HEAD
]


class Demo:
    """The ASGI app of `tidewire demo`."""

    def __init__(
        self,
        hub: Hub,
        *,
        seed: int | None = None,
        interval: float = 1.0,
        events: int = 30,
        allowed_hosts: Iterable[str] | None = None,
    ) -> None:
        """
        Serve `hub` and the demo. `seed` makes the events repeatable. Each page view gets `events` events, one
        every `interval` seconds. `allowed_hosts` is the hub's; with None the Host header is not checked.
        """
        self.hub = hub
        self.views = Views(hub, seed, interval, events)
        self.answers = Answers(hub, seed, interval / WORDS)
        self._cors = Cors(())
        self._hosts = None if allowed_hosts is None else frozenset(allowed_hosts)
        self._facts = deck(Random(seed), CAT_FACTS)
        self._latest_fact: str | None = None
        self._files = demo_files()
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "/"): self._home,
            ("GET", "/demo/events"): self._classic,
            ("GET", "/demo/status"): self._status,
            ("GET", "/subscribeToEvents"): self._subscribe,
            ("GET", "/generateEvent"): self._generate,
            ("GET", "/demo/broadcast/latest"): self._latest,
            ("POST", "/demo/faults/drop"): self._fault(self.views.drop),
            ("POST", "/demo/faults/silent"): self._fault(self.views.silence),
            ("POST", "/demo/faults/refuse"): self._fault(self.views.refuse),
            ("POST", "/demo/answer/ask"): self._ask,
            ("POST", "/demo/answer/stop"): self._stop,
            ("POST", "/demo/answer/kill"): self._kill,
        }
        self._paths = {path for _, path in self._routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.hub.app(scope, receive, send)
            return
        try:
            await self._serve(Request(scope), scope, receive, send)
        except TidewireError as error:
            status, headers, body = problem(error, publish=False)
            await answer(send, status, headers + VARY_ORIGIN, body)

    async def _serve(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        path = request.path
        if not (
            path in self._paths or path in self._files or path.startswith(("/demo/", f"/events/{PREFIX}"))
        ):
            await self.hub.app(scope, receive, send)
            return
        if self._hosts is not None:
            check_host(request, self._hosts)
        if path.startswith("/events/"):
            await self._topic(request, scope, receive, send)
            return
        self._cors.check(request)
        if path in self._files:
            await self._file(request, send)
        elif path in self._paths:
            await self._route(request)(request, scope, receive, send)
        else:
            raise NotFound("no such page in the demo")

    def _route(self, request: Request) -> Route:
        route = self._routes.get((request.method, request.path))
        if route is None:
            allowed = ", ".join(method for method, path in self._routes if path == request.path)
            raise MethodNotAllowed(f"use {allowed}", allow=allowed)
        return route

    # -- pages

    async def _home(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 307, [(b"location", b"/demo"), (b"content-length", b"0")])

    async def _file(self, request: Request, send: Send) -> None:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("use GET", allow="GET, HEAD")
        kind, body = self._files[request.path]
        headers = content_head(kind, len(body)) + (FRAME_HEAD if request.path == FRAME else PAGE_HEAD)
        await answer(send, 200, headers, b"" if request.method == "HEAD" else body)

    async def _status(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        topic = request.one("topic") or BROADCAST
        view = self.views.get(topic)
        now = asyncio.get_running_loop().time()
        node = await self.hub.opened()
        await answer_json(
            send,
            {
                "streams": node.streams_open + self.views.classic_streams,
                "listening": self.hub.subscribers(topic),
                "view": None if view is None else view.status(now),
            },
        )

    # -- page one

    async def _topic(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the hub answer. Record what a page cannot see: its `Last-Event-ID` and the `retry:` it gets."""
        if request.method != "GET":
            await self.hub.app(scope, receive, send)
            return
        topic = request.path.removeprefix("/events/")
        last_event_id = request.header(b"last-event-id")
        view = self.views.get(topic)
        if view is not None and asyncio.get_running_loop().time() < view.refused_until:
            await self._refuse(request, view, last_event_id, send)
            return
        await self.hub.app(scope, receive, self._recording(send, topic, last_event_id))

    async def _refuse(self, request: Request, view: View, last_event_id: str | None, send: Send) -> None:
        """Refuse as a full hub does. After any answer but 200 a native EventSource would give up forever."""
        seconds = uniform(1, 2)
        view.connected(last_event_id, round(seconds * 1000))
        if not request.native:
            raise Unavailable("refused by the demo", retry_after=seconds)
        head = stream_head(request.http_version, self.hub.settings.heartbeat)
        await answer(send, 200, head, hub_events.retry(seconds))

    async def _classic(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        topic = f"classic/{named(request, 'view')}"
        response = EventStreamResponse(self.views.classic(self.views.open(topic)))
        await response(scope, receive, self._recording(send, topic, request.header(b"last-event-id")))

    def _recording(self, send: Send, topic: str, last_event_id: str | None) -> Send:
        """Return a `send` that records the `retry:` that a stream begins with."""
        at_start = False

        async def record(message: Any) -> None:
            nonlocal at_start
            if message["type"] == "http.response.start":
                at_start = (
                    message["status"] == 200 and (b"content-type", b"text/event-stream") in message["headers"]
                )
            elif at_start:
                at_start = False
                decoder = Decoder()
                decoder.feed(message.get("body", b""))
                self.views.open(topic).connected(last_event_id, decoder.retry)
            await send(message)

        return record

    def _fault(self, cause: Callable[[str], Awaitable[float]]) -> Route:
        async def route(request: Request, scope: Scope, receive: Receive, send: Send) -> None:
            await answer_json(send, {"seconds": await cause(request.one("topic") or "")})

        return route

    # -- page two

    async def _subscribe(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        await self.hub.stream(scope, BROADCAST)(scope, receive, send)

    async def _generate(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        # By GET, so that it works from the address bar. Pages of other sites are refused.
        if request.header(b"sec-fetch-site") == "cross-site":
            raise Forbidden("pages of other sites cannot publish")
        id, fact = await self._publish_fact()
        listening = self.hub.subscribers(BROADCAST)
        await answer_json(send, {"id": id, "text": fact, "listening": listening})

    async def _latest(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the latest fact. Publish one if there is none, so that the page does not open empty."""
        if self._latest_fact is None:
            await self._publish_fact()
        await answer_json(send, {"text": self._latest_fact})

    async def _publish_fact(self) -> tuple[str, str]:
        """Publish the next fact. Return the event's id, and the fact."""
        fact = self._latest_fact = next(self._facts)
        receipt = await self.hub.publish(BROADCAST, {"text": fact}, event="catFact")
        return str(receipt.position), fact

    # -- page four

    async def _ask(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        await answer_json(
            send, {"state": await self.answers.ask(named(request, "name"), named(request, "key"))}
        )

    async def _stop(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answers.stop(named(request, "name"))
        await answer_json(send, {})

    async def _kill(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        self.answers.kill(named(request, "name"))
        await answer_json(send, {})


def named(request: Request, parameter: str) -> str:
    """Return a name that a page made up. Raises `InvalidInput` if it is missing or long."""
    name = request.one(parameter)
    if not name or len(name) > 64:
        raise InvalidInput(f"pass ?{parameter}= with at most 64 characters", code="invalid_query")
    return name


async def answer(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, value: Any) -> None:
    # The line end is for curl in a terminal.
    body = orjson.dumps(value) + b"\n"
    await answer(send, 200, content_head(b"application/json", len(body)), body)


def demo_files() -> dict[str, tuple[bytes, bytes]]:
    """Return pages, scripts and pictures: path to type and content. About 70 kB, kept in memory."""
    pages = {"index.html": "/demo"}
    found: dict[str, tuple[bytes, bytes]] = {}
    for file in files("tidewire").joinpath("web", "demo").iterdir():
        kind = content_type(file.name)
        path = pages.get(file.name, f"/demo/{file.name.removesuffix('.html')}")
        found[path] = kind, file.read_bytes()
    for meme in MEMES:
        found[f"/demo/memes/{meme.name}.svg"] = content_type("meme.svg"), svg(meme).encode()
    return found
