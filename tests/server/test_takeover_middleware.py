"""What a program's middleware does to a stream, and whether it can still be taken over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from support.stream_clients import ask, portable, write
from support.stream_server import (
    FIRST,
    PORTABLE_BODY,
    Serving,
    StreamApp,
    dechunk,
    get,
    head_of,
    read_all,
    read_until,
)
from support.waiting import wait_until


class Labelled(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-label"] = "yes"
        return response


def cors(app: Any) -> Any:
    return CORSMiddleware(app, allow_origins=["https://page.example"])


MIDDLEWARES: dict[str, Callable[[Any], Any]] = {
    "CORS": cors,
    "GZip": GZipMiddleware,
    "BaseHTTP": Labelled,
    "all": lambda app: cors(GZipMiddleware(Labelled(Labelled(app)))),
}


@pytest.mark.parametrize("name", MIDDLEWARES)
def test_middleware_works_and_the_stream_is_taken_over(name: str, app: StreamApp, loop: str) -> None:
    with Serving(MIDDLEWARES[name](app), loop=loop) as serving, serving.connect() as client:
        client.sendall(get("/stream", "Origin: https://page.example", "Accept-Encoding: gzip"))
        data = read_until(client, FIRST)
        subscriber = app.subscriber
        write(serving, subscriber, b"data: later\n\n")
        wait_until(lambda: app.taken == [True] and not serving.server.server_state.tasks)
        serving.call(subscriber.wire.end)
        _, headers, body = head_of(data + read_all(client))
    assert dechunk(body) == (FIRST + b"data: later\n\n", True)
    if name in ("CORS", "all"):
        assert headers["access-control-allow-origin"] == "https://page.example"
    if name in ("BaseHTTP", "all"):
        assert headers["x-label"] == "yes"


class Between:
    """A middleware that changes messages: `change` maps a message to those sent instead."""

    def __init__(self, app: Any, change: Callable[[Any], list[Any]], delay: float = 0) -> None:
        self.app, self.change, self.delay = app, change, delay

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def changed(message: Any) -> None:
            for other in self.change(message):
                await send(other)

        await self.app(scope, receive, changed)


def reversing(message: Any) -> list[Any]:
    """Encode the content, as a compressing middleware does."""
    if message["type"] == "http.response.start":
        return [{**message, "headers": [*message["headers"], (b"content-encoding", b"reversed")]}]
    return [{**message, "body": message["body"][::-1]}]


def marking_encoded(message: Any) -> list[Any]:
    """Set the header, but leave the bytes unchanged."""
    return reversing(message) if message["type"] == "http.response.start" else [message]


def with_length(message: Any) -> list[Any]:
    if message["type"] == "http.response.start":
        length = b"%d" % len(PORTABLE_BODY)
        return [{**message, "headers": [*message["headers"], (b"Content-Length", length)]}]
    return [message]


def halving(message: Any) -> list[Any]:
    if not message.get("body"):
        return [message]
    body, half = message["body"], len(message["body"]) // 2
    return [{**message, "body": body[:half]}, {**message, "body": body[half:]}]


def prefixing(message: Any) -> list[Any]:
    """Send another chunk first."""
    if message["type"] == "http.response.start":
        return [message, {"type": "http.response.body", "body": b": mine\n\n", "more_body": True}]
    return [message]


@pytest.mark.parametrize("change", [marking_encoded, with_length, halving, prefixing])
def test_a_stream_that_middleware_changes_arrives_complete(
    change: Callable[[Any], list[Any]], app: StreamApp
) -> None:
    _, headers, body = head_of(ask(Between(app, change), get("/stream", "Connection: close")))
    assert app.taken == [False]
    if "transfer-encoding" in headers:
        body, ended = dechunk(body)
        assert ended
    assert body.removeprefix(b": mine\n\n") == PORTABLE_BODY


def test_a_compressed_stream_arrives_complete(app: StreamApp) -> None:
    _, headers, body = head_of(ask(Between(app, reversing), get("/stream", "Connection: close")))
    assert app.taken == [False]
    assert headers["content-encoding"] == "reversed"
    chunks = [FIRST, b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]
    assert dechunk(body) == (b"".join(chunk[::-1] for chunk in chunks), True)


def test_an_empty_chunk_before_the_first_changes_nothing(app: StreamApp) -> None:
    def preceded(message: Any) -> list[Any]:
        empty = {"type": "http.response.body", "body": b"", "more_body": True}
        return [message, empty] if message["type"] == "http.response.start" else [message]

    with Serving(Between(app, preceded)) as serving, serving.connect() as client:
        client.sendall(get())
        read_until(client, FIRST)
        assert app.subscriber.calls == ["attach"]


def test_a_body_that_comes_too_late_is_not_taken_over(app: StreamApp) -> None:
    """`settled` gave up and the endpoint chose the portable way: from then on nothing may take the socket."""

    class Late:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            queue: asyncio.Queue[Any] = asyncio.Queue()
            task = asyncio.create_task(self.app(scope, receive, queue.put))
            await task  # holds all messages back until the endpoint is done
            while not queue.empty():
                await send(queue.get_nowait())

    app.wait = 0.05
    response = ask(Late(app), get("/stream", "Connection: close"))
    assert app.taken == [False]
    portable(response)
