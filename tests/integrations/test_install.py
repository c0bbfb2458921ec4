"""`install(app, hub)`: what a hub does in a Starlette and a FastAPI program."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import JSONResponse

from tidewire import Hub
from tidewire.errors import StreamRefused
from tidewire.integrations import fastapi, starlette

PROGRAMS = {"fastapi": (FastAPI, fastapi.install), "starlette": (Starlette, starlette.install)}


class Program:
    """A program with routes that use its hub, and a lifespan of its own."""

    def __init__(self, kind: str) -> None:
        make, install = PROGRAMS[kind]
        self.hub = Hub(max_event=100)
        self.ready_inside: list[bool] = []
        self.app: Any = make(lifespan=self.lifespan)
        install(self.app, self.hub)
        self.app.add_route("/publish", self.publish, methods=["GET", "POST"])
        self.app.add_route("/refused", self.refused)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[dict[str, str]]:
        self.ready_inside.append(self.hub.node.ready)
        yield {"own": "state"}
        self.ready_inside.append(self.hub.node.ready)

    async def publish(self, request: Request) -> JSONResponse:
        receipt = await self.hub.publish(request.query_params["topic"], request.query_params["data"])
        return JSONResponse(str(receipt.position))

    async def refused(self, request: Request) -> None:
        raise StreamRefused("a server that this program is a client of")

    async def ask(self, method: str, path: str, **query: str) -> httpx2.Response:
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, params=query)


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Program:
    return Program(request.param)


async def test_the_hub_is_open_as_long_as_the_program(program: Program) -> None:
    async with program.app.router.lifespan_context(program.app) as state:
        assert state == {"own": "state"}
        assert (await program.ask("POST", "/publish", topic="a", data="x")).status_code == 200
    assert program.ready_inside == [True, True]
    assert program.hub.subscribers("a") == 0


@pytest.mark.parametrize(
    ("topic", "data", "status", "code"),
    [
        ("rooms/*", "x", 400, "invalid_topic"),
        ("$sys", "x", 403, "reserved_topic"),
        ("ended", "x", 409, "topic_ended"),
        ("a", "x" * 101, 413, "event_too_large"),
    ],
)
async def test_errors_of_the_hub_are_problems(
    program: Program, topic: str, data: str, status: int, code: str
) -> None:
    async with program.app.router.lifespan_context(program.app):
        await program.hub.end("ended")
        answer = await program.ask("POST", "/publish", topic=topic, data=data)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["code"], answer.json()["stored"]) == (code, False)
        assert "stored" not in (await program.ask("GET", "/publish", topic=topic, data=data)).json()


async def test_a_fault_of_the_program_stays_one(program: Program) -> None:
    async with program.app.router.lifespan_context(program.app):
        with pytest.raises(StreamRefused):
            await program.ask("GET", "/refused")
