"""
A hub in a Quart program: `install(app, hub)`, then `return stream(request, "news")` in a view.

Quart sends only responses of its own. So a view returns an empty one that stands for ours, and the middleware
that `install` adds sends ours in its place, once Quart has left the request's context.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import TidewireError
from ..http.asgi import Message, Receive, Scope, Send
from ..http.responses import AsgiResponse
from ..hub import Hub
from .refusals import refusal

try:
    from quart import Quart, Response, current_app
    from quart import request as current_request
except ImportError:
    raise ImportError("tidewire.integrations.quart needs Quart: pip install quart") from None

if TYPE_CHECKING:
    from ..auth.grants import Grant

# The name of the hub in `app.extensions`.
EXTENSION = "tidewire"

# Where the scope of a request has the response that is sent in place of Quart's.
IN_PLACE = "tidewire.in_place"

# The header of the response that stands for it. No client sees it.
STAND_IN = "tidewire-stand-in"

App = Callable[[Any, Any, Any], Awaitable[None]]


def install(app: Quart, hub: Hub) -> None:
    """
    Open `hub` with the program and make the errors that it raises in views problem+json.

    Call it once, before the program starts and before you wrap `app.asgi_app` yourself. The hub opens before
    the program's later `while_serving` functions and closes after them.
    """

    async def opened() -> AsyncGenerator[None]:
        async with hub.lifespan():
            yield

    async def answer(error: TidewireError) -> Response:
        return respond(current_request, refusal(error, current_request.method))

    app.extensions[EXTENSION] = hub
    app.while_serving(opened)
    app.register_error_handler(TidewireError, answer)
    app.asgi_app = in_place(app.asgi_app)  # type: ignore[method-assign,assignment]


def stream(
    request: Any,
    *topics: str,
    patterns: Iterable[str] = (),
    since: str | None = None,
    control: bool = True,
    grant: Grant | None = None,
) -> Response:
    """Return the response that streams `topics`, and what matches `patterns`, as `Hub.stream` does."""
    hub: Hub = current_app.extensions[EXTENSION]
    response = hub.stream(
        request.scope, *topics, patterns=patterns, since=since, control=control, grant=grant
    )
    return respond(request, response)


def respond(request: Any, response: AsgiResponse) -> Response:
    """Return what a view returns to send a response of ours, such as an `EventStreamResponse`."""
    request.scope[IN_PLACE] = response
    return Response("", headers={STAND_IN: "1"})


def in_place(app: App) -> App:
    """Return an ASGI app as `app`, but where it answers with a stand-in, our response is sent."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        chosen: AsgiResponse | None = None
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def send_others(message: Message) -> None:
            nonlocal chosen
            if message["type"] == "http.response.start" and is_stand_in(message):
                chosen = scope[IN_PLACE]
                chosen.raw_headers += added(message)
            if chosen is None:
                await send(message)
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set_result(None)

        async def receive_until_answered() -> Message:
            """Return a disconnect once all is sent, as a server does. Quart 0.23 waits for it."""
            received = asyncio.ensure_future(receive())
            first: list[asyncio.Future[Any]] = [received, answered]
            try:
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                return received.result() if received.done() else {"type": "http.disconnect"}
            finally:
                received.cancel()

        await app(scope, receive_until_answered, send_others)
        if chosen is not None:
            await chosen(scope, receive, send)

    return asgi


def is_stand_in(message: Message) -> bool:
    return any(name.lower() == STAND_IN.encode() for name, _ in message["headers"])


def added(message: Message) -> list[tuple[bytes, bytes]]:
    """Return the headers that the program gave the stand-in, such as cookies."""
    headers = [(name.lower(), value) for name, value in message["headers"]]
    own = (STAND_IN.encode(), b"content-type", b"content-length")
    return [(name, value) for name, value in headers if name not in own]
