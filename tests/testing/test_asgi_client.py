"""`tidewire.testing.client`, on hubs and on programs that have nothing of ours."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from support.processes import Process
from support.waiting import wait_until_async
from tidewire import End, Event, EventStreamResponse, Gap, Hub
from tidewire.errors import StartRefused, StreamRefused
from tidewire.testing import client

STARTED: list[str] = []


def orders(hub: Hub) -> FastAPI:
    app = FastAPI(lifespan=hub.lifespan)

    @app.get("/orders/{id}/events")
    async def events(request: Request, id: int) -> Any:
        return hub.stream(request, f"orders/{id}")

    @app.post("/orders/{id}/pay")
    async def pay(id: int) -> dict[str, int]:
        await hub.publish(f"orders/{id}", {"paid": True}, event="status")
        return {"id": id}

    app.mount("/hub", hub.app)
    return app


async def test_a_hub_in_a_program() -> None:
    hub = Hub()
    async with client(orders(hub)) as c, c.sse("/orders/7/events") as events:
        assert events.response.status_code == 200
        assert events.response.headers["tidewire-heartbeat"] == "15"
        assert (await c.post("/orders/7/pay")).json() == {"id": 7}
        event = await events.next(timeout=10)
        assert (event.event, event.json()) == ("status", {"paid": True})
        assert event.id == events.last_event_id == str(await hub.head())
        # A wait in vain costs nothing.
        with pytest.raises(TimeoutError, match="no event within 0.05 s"):
            await events.next(timeout=0.05)
        assert hub.subscribers("orders/7") == 1
        await c.post("/orders/7/pay")
        await events.next()
        await hub.end("orders/7")
        (end,) = await events.rest()
        assert isinstance(end, End)
        with pytest.raises(EOFError):
            await events.next()
    with pytest.raises(StartRefused):
        _ = hub.node


async def test_leaving_and_coming_back() -> None:
    hub = Hub()
    async with client(orders(hub)) as c:
        async with c.sse("/orders/7/events") as events:
            await c.post("/orders/7/pay")
            await events.next()
        assert hub.subscribers("orders/7") == 0
        await hub.publish("orders/7", "missed")
        async with c.sse("/orders/7/events", last_event_id=events.last_event_id) as events:
            assert (await events.next()).data == "missed"
        async with c.sse("/orders/7/events", last_event_id="zzzzzz.3") as events:
            gap = await events.next()
            assert isinstance(gap, Gap)
            assert gap.reason == "foreign"
        async with c.sse("/hub/events", params={"topic": "orders/*", "since": "start"}) as events:
            assert (await events.next()).topic == "orders/7"


async def test_a_body_goes_ahead_of_its_reader_by_no_more_than_a_socket_holds() -> None:
    made = 0

    async def stream(request: Any) -> StreamingResponse:
        async def numbers() -> AsyncIterator[str]:
            nonlocal made
            while True:
                made += 1
                yield f"data: {made} {'x' * 1_000}\n\n"

        return StreamingResponse(numbers(), media_type="text/event-stream")

    async with client(Starlette(routes=[Route("/", stream)])) as c, c.sse("/") as events:
        await events.next()
        await asyncio.sleep(0.1)
        assert made < 100
        for number in range(2, 1_000):
            assert (await events.next()).data.startswith(f"{number} ")
        assert made < 1_100


def foreign() -> Starlette:
    """A program without anything of ours, of which every part waits for ever."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"name": "state of the lifespan"}
        STARTED.append("stopped")

    async def forever(first: str) -> AsyncIterator[str]:
        STARTED.append("generator")
        try:
            yield first
            await asyncio.Event().wait()
        finally:
            STARTED.append("closed")

    async def plain(request: Any) -> StreamingResponse:
        text = "retry: 70\ndata: caf\xe9 \u2028\ndata\nid: 1\n\n"
        return StreamingResponse(forever(text), media_type="text/event-stream; charset=utf-8")

    async def starlette(request: Any) -> EventSourceResponse:
        return EventSourceResponse(forever("from sse-starlette"))

    async def echo(request: Any) -> Any:
        body = (await request.body()).decode()
        return EventStreamResponse(
            iter([request.state.name, request.headers["x-me"], body, request.url.query])
        )

    async def refuse(request: Any) -> JSONResponse:
        return JSONResponse({"detail": "not you"}, 403)

    async def fail(request: Any) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "data: one\n\n"
            raise ZeroDivisionError("in the stream")

        return StreamingResponse(body(), media_type="text/event-stream")

    async def fail_at_once(request: Any) -> StreamingResponse:
        raise ZeroDivisionError("at once")

    async def headers(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-seen"] = "yes"
        return response

    handlers = [plain, starlette, refuse, fail, fail_at_once]
    routes = [Route(f"/{handler.__name__}", handler) for handler in handlers]
    routes.append(Route("/echo", echo, methods=["POST"]))
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=headers)]
    return Starlette(routes=routes, lifespan=lifespan, middleware=middleware)


async def test_programs_of_others() -> None:
    STARTED.clear()
    async with client(foreign(), headers={"X-Me": "ada"}) as c:
        async with c.sse("/plain") as events:
            assert await events.next() == Event("caf\xe9 \u2028\n", id="1")
            assert events.response.headers["x-seen"] == "yes"
        await wait_until_async(lambda: STARTED == ["generator", "closed"])
        async with c.sse("/starlette") as events:
            assert (await events.next()).data == "from sse-starlette"
        async with c.sse("/echo?a=b", method="POST", json=[1]) as events:
            assert [event.data for event in await events.rest()] == [
                "state of the lifespan",
                "ada",
                "[1]",
                "a=b",
            ]
    assert STARTED[-1] == "stopped"


async def test_what_a_program_raises_and_refuses() -> None:
    async with client(foreign()) as c:
        async with c.sse("/refuse") as events:
            assert events.response.status_code == 403
            with pytest.raises(StreamRefused, match="403 application/json.*not you"):
                await events.next()
        with pytest.raises(ZeroDivisionError, match="in the stream"):
            async with c.sse("/fail") as events:
                assert (await events.next()).data == "one"
                await events.next()
        with pytest.raises(ZeroDivisionError, match="at once"):
            async with c.sse("/fail_at_once") as events:
                raise AssertionError("not reached")
        with pytest.raises(ZeroDivisionError, match="at once"):
            await c.get("/fail_at_once")
        assert (await c.get("/refuse")).json() == {"detail": "not you"}


async def test_programs_with_and_without_a_lifespan() -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with client(bare) as c:
        assert (await c.get("/")).status_code == 204

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartRefused, match="no database"):
        async with client(broken):
            raise AssertionError("not reached")


async def test_it_is_an_ordinary_client_too() -> None:
    hub = Hub()
    async with client(orders(hub)) as c:
        async with c.stream("GET", "/orders/7/events") as response:
            assert isinstance(response, httpx2.Response)
            chunk = await anext(response.aiter_raw())
            assert chunk.startswith((b": tidewire", b"retry"))


PLUGIN_TESTS = """
import asyncio, signal
from tidewire import Hub

seen, handlers = [], {}

def program(hub):
    async def app(scope, receive, send):
        if scope["type"] == "http":
            await hub.stream(scope, "news", since="start")(scope, receive, send)
    return app

async def use(hub, sse_client, text):
    assert not len(await hub.history("news"))
    async with sse_client(program(hub)) as c, c.sse("/") as events:
        await hub.publish("news", text)
        assert (await events.next(timeout=10)).data == text

def test_first(hub, sse_client):
    handlers["before"] = signal.getsignal(signal.SIGTERM)
    asyncio.run(use(hub, sse_client, "one"))
    seen.append(hub)

def test_second(hub, sse_client):
    assert isinstance(hub, Hub) and hub not in seen
    assert hub.subscribers("news") == 0
    asyncio.run(use(hub, sse_client, "two"))

def test_the_handlers_of_signals_are_as_before():
    assert not type(signal.getsignal(signal.SIGTERM)).__module__.startswith("tidewire")
"""


def test_the_fixtures_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_program.py").write_text(PLUGIN_TESTS)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "tidewire.pytest_plugin", "-p", "no:cacheprovider"]
    with Process([*argv, "--rootdir", tmp_path, tmp_path], cwd=tmp_path) as process:
        assert process.wait() == 0, process.output
        assert "3 passed" in process.output
