"""
What is answered below `/inspect`: see docs/reference/inspector.md. Who may ask is judged before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from tidewire import __version__

from ..auth.access import Permit
from ..delivery.node import Node
from ..errors import Misdirected, NotFound, Unavailable
from ..http.asgi import Receive, Scope, Send
from ..http.hub_like import HubLike
from ..http.reply import Reply
from ..http.requests import Request
from ..http.responses import EventStreamResponse
from . import asking
from .files import PAGE, is_file, read_file
from .live import LiveView, Show
from .sampling import Sampler, labelled
from .streams import list_streams, no_such_stream, show_event, show_stream
from .topics import list_topics, show_topic

ROOT = "/inspect"
STREAMS = ROOT + "/streams/"
# Streams of the inspector at the same time, each of which may go through all streams once a second.
MOST_VIEWERS = 8

READ = ("GET", "HEAD")
READING = frozenset(
    f"{ROOT}/{name}" for name in ("overview", "topics", "topic", "streams", "event", "stream")
)


class Inspector:
    """Implements `InspectorLike`. `sampler` returns that of the open node."""

    def __init__(self, hub: HubLike, sampler: Callable[[], Sampler | None]) -> None:
        self._hub = hub
        self._sampler_of_node = sampler
        self._viewers = 0

    def methods(self, path: str) -> tuple[str, ...]:
        if path.startswith(STREAMS):
            return (*READ, "DELETE")
        if path not in READING and not self.is_shell(path):
            raise NotFound("the inspector has nothing here")
        return READ

    def is_shell(self, path: str) -> bool:
        return path in (ROOT, ROOT + "/") or is_file(path.removeprefix(ROOT + "/"))

    async def answer(
        self,
        request: Request,
        reply: Reply,
        scope: Scope,
        receive: Receive,
        send: Send,
        permit: Permit | None,
    ) -> None:
        path = request.path
        if path == ROOT + "/":
            # The page names its files as seen from /inspect.
            await reply.send(308, [(b"location", b"../inspect"), (b"content-length", b"0")])
        elif self.is_shell(path):
            name = PAGE if path == ROOT else path.removeprefix(ROOT + "/")
            head, content = read_file(name)
            await reply.send(200, head, content)
        else:
            node = await self._hub.opened()
            check_node(request, node)
            if path == ROOT + "/stream":
                await self._stream(node, request, scope, receive, send, permit)
            elif request.method == "DELETE":
                number = asking.read_number(path.removeprefix(STREAMS))
                if not node.end_stream(number, asking.read_reason(request)):
                    raise no_such_stream()
                await reply.send(204, [(b"cache-control", b"no-store")])
            else:
                await reply.send_json(await self._read(node, request)())

    def _read(self, node: Node, request: Request) -> Show:
        """Return what makes the answer to a request that reads. Raises what is wrong with the request."""
        path = request.path
        if path.startswith(STREAMS):
            return partial(show_stream, node, asking.read_number(path.removeprefix(STREAMS)))
        if path == ROOT + "/event":
            return partial(show_event, node, asking.read_event(request))
        if path == ROOT + "/overview":
            return at_once(partial(self._history, node, asking.read_span(request)))
        return self._view(node, path.removeprefix(ROOT + "/"), request)

    def _view(self, node: Node, name: str, request: Request) -> Show:
        if name == "topics":
            return partial(list_topics, node, asking.read_topics(request))
        if name == "topic":
            return at_once(partial(show_topic, node, asking.read_topic(request)))
        if name == "stream":
            return partial(show_stream, node, asking.read_number(request.one("stream") or ""))
        return partial(list_streams, node, asking.read_streams(request))

    # -- the overview

    def _sampler(self) -> Sampler:
        sampler = self._sampler_of_node()
        assert sampler is not None, "the node is open"
        return sampler

    def _overview(self, node: Node) -> dict[str, Any]:
        window, metrics, engine = node.window, node.metrics, node.engine
        sampler = self._sampler()
        return {
            "node": {
                "name": engine.presence.name,
                "pid": os.getpid(),
                "version": __version__,
                "engine": type(engine).__module__.removeprefix("tidewire.engines.").partition(".")[0],
                "durability": engine.durability,
                "shared": engine.shared,
                "state": "draining" if node.draining else "ready" if node.ready else "engine down",
                "since": sampler.since,
                "head": str(window.position(window.head)),
                "floor": window.floor,
                "data": node.settings.inspect_data > 0,
                "viewers": self._viewers,
            },
            "now": sampler.now.fields(),
            "totals": {
                "published": metrics.published.value,
                "deliveries": metrics.delivered.value,
                "opened": sum(number for _, number in labelled(metrics.opened)),
                **{
                    name: dict(labelled(counter))
                    for name, counter in (
                        ("ended", metrics.ended),
                        ("gaps", metrics.gaps),
                        ("refused", metrics.refused),
                    )
                },
            },
        }

    def _history(self, node: Node, span: str) -> dict[str, Any]:
        history = [sample.fields() for sample in self._sampler().history(span)]
        return {**self._overview(node), "span": span, "history": history}

    # -- live

    async def _stream(
        self, node: Node, request: Request, scope: Scope, receive: Receive, send: Send, permit: Permit | None
    ) -> None:
        if refusal := node.refusal():
            raise refusal
        name = asking.read_view(request)
        view = None if name is None else self._view(node, name, request)
        if self._viewers >= MOST_VIEWERS:
            raise Unavailable(
                f"{MOST_VIEWERS} inspectors look at this process already",
                code="too_many_viewers",
                retry_after=10,
            )

        def may_look() -> bool:
            grant = None if permit is None else permit.grant
            if grant is None:
                return True
            return node.bearers.refusal(grant) is None and (grant.check is None or grant.check())

        live = LiveView(
            self._sampler(),
            partial(self._overview, node),
            None if name is None or view is None else (EVENTS.get(name, name), view),
            may_look,
        )
        self._viewers += 1
        try:
            await EventStreamResponse(live.events())(scope, receive, send)
        finally:
            self._viewers -= 1


def check_node(request: Request, node: Node) -> None:
    """Raises `Misdirected` if the request is meant for another process, which numbers its own streams."""
    wanted = request.one("node")
    if wanted and wanted != node.engine.presence.name:
        raise Misdirected("another process of this hub got the request; ask again", code="another_process")


# The events of views whose names differ.
EVENTS = {"stream": "timeline"}


def at_once(show: Callable[[], Any]) -> Show:
    async def shown() -> Any:
        return show()

    return shown
