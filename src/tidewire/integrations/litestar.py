"""
A hub in a Litestar program: `HubPlugin(hub)` opens it, and a handler returns `respond(hub.stream(…))`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from ..errors import TidewireError
from ..http.asgi import Receive, Scope, Send
from ..http.responses import AsgiResponse
from ..hub import Hub
from .refusals import refusal

try:
    from litestar import Request, Response, asgi
    from litestar.config.app import AppConfig
    from litestar.plugins import InitPlugin
except ImportError:
    raise ImportError("tidewire.integrations.litestar needs Litestar: pip install litestar") from None


class HubPlugin(InitPlugin):
    """
    Opens `hub` with the program and makes the errors that it raises in handlers problem+json.

    `path`: where the hub's whole HTTP interface is mounted; None for nowhere.
    """

    def __init__(self, hub: Hub, path: str | None = None) -> None:
        self._hub = hub
        self._path = path

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.insert(0, self._hub.lifespan)
        app_config.exception_handlers = {TidewireError: answer, **app_config.exception_handlers}
        if self._path is not None:
            mount = asgi(self._path, is_mount=True, copy_scope=True)
            app_config.route_handlers.append(mount(mounted(self._hub, self._path)))
        return app_config


class StreamResponse(Response[None]):
    """What a handler returns to send a response of ours."""

    def __init__(self, response: AsgiResponse) -> None:
        super().__init__(None)
        self._response = response

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        return self._response


def respond(response: AsgiResponse) -> StreamResponse:
    """Return what a handler returns to send a response of ours: a `HubStream` or an `EventStreamResponse`."""
    return StreamResponse(response)


def answer(request: Request[Any, Any, Any], error: TidewireError) -> StreamResponse:
    return StreamResponse(refusal(error, request.method))


def mounted(hub: Hub, path: str) -> Any:
    """Return the app of `hub` for the mount point `path`. Topics are exactly as the client sent them."""
    below = "/" + path.strip("/")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Litestar takes empty levels out of `path` and adds a slash, so what the client sent counts.
        sent = unquote_to_bytes(scope["raw_path"].partition(b"?")[0]).decode(errors="replace")
        if sent.startswith(below + "/") and "\N{REPLACEMENT CHARACTER}" not in sent:
            scope = {**scope, "path": sent.removeprefix(below), "raw_path": None, "root_path": ""}
        await hub.app(scope, receive, send)

    return app
