"""
A hub in an aiohttp program: `install(app, hub)`, then `await stream(request, "news")` in a handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from ..errors import TidewireError
from ..http.asgi import Message, Scope
from ..http.offer import CUT, ResponseCut
from ..http.responses import AsgiResponse
from ..hub import Hub
from .refusals import refusal

try:
    from aiohttp import web
except ImportError:
    raise ImportError("tidewire.integrations.aiohttp needs aiohttp: pip install aiohttp") from None

if TYPE_CHECKING:
    from ..auth.grants import Grant

# The program's hub: `request.config_dict[HUB]`.
HUB = web.AppKey("HUB", Hub)

# Seconds between two checks whether the client has left: by default aiohttp does not tell a handler.
CHECK_INTERVAL = 1.0


def install(app: web.Application, hub: Hub) -> None:
    """
    Open `hub` with the program and make the errors that it raises in handlers problem+json.

    Call it once, before the program starts. The hub opens before the program's own cleanup contexts
    and closes after them. When the program stops, its streams end first.
    """

    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with hub.lifespan():
            yield

    async def drain(app: web.Application) -> None:
        await hub.drain()

    app[HUB] = hub
    app.cleanup_ctx.insert(0, opened)
    app.on_shutdown.append(drain)
    app.middlewares.append(answer_refusals)


async def stream(
    request: web.Request,
    *topics: str,
    patterns: Iterable[str] = (),
    since: str | None = None,
    control: bool = True,
    grant: Grant | None = None,
) -> web.StreamResponse:
    """Stream `topics`, and what matches `patterns`, as `Hub.stream` does; return when the stream is over."""
    hub = request.config_dict[HUB]
    response = hub.stream(
        scope_of(request), *topics, patterns=patterns, since=since, control=control, grant=grant
    )
    return await respond(request, response)


async def respond(request: web.Request, response: AsgiResponse) -> web.StreamResponse:
    """Send a response of ours, such as an `EventStreamResponse`; return when it is over."""
    exchange = Exchange(request)
    try:
        await response(scope_of(request), exchange.receive, exchange.send)
    except ResponseCut:
        pass  # `send` has closed the connection
    return exchange.response


@web.middleware
async def answer_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except TidewireError as error:
        return await respond(request, refusal(error, request.method))


def scope_of(request: web.Request) -> Scope:
    """Return the ASGI scope of a request."""
    return {
        "type": "http",
        "method": request.method,
        "scheme": request.scheme,
        "http_version": f"{request.version.major}.{request.version.minor}",
        "path": request.path,
        "query_string": request.rel_url.raw_query_string.encode(),
        "headers": request.raw_headers,
        "client": (request.remote, 0) if request.remote else None,
    }


class Exchange:
    """The `receive` and `send` of ASGI for one request, whose body the handler has read if it wants it."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response = web.StreamResponse()

    async def receive(self) -> Message:
        while (transport := self._request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(CHECK_INTERVAL)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.response.set_status(message["status"])
            for name, value in message["headers"]:
                self.response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            if self.response.headers.get("connection") == "close":
                self.response.force_close()
            await self.response.prepare(self._request)
        elif message["type"] == CUT:
            if self._request.transport is not None:
                self._request.transport.close()
        elif message["body"]:
            await self.response.write(message["body"])
