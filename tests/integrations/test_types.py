"""The types that programs write: `mypy --strict` accepts them."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

PROGRAM = """
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from tidewire import Event, EventStreamResponse, Hub, HubStream, Receipt
from tidewire.integrations.fastapi import install

hub = Hub()
app = FastAPI()
install(app, hub)


@app.get("/orders/{id}/events", response_class=HubStream)
async def events(request: Request, id: int) -> HubStream:
    response = hub.stream(request, f"orders/{id}", patterns=["news/*"])
    response.headers["X-Own"] = "yes"
    return response


@app.get("/any")
async def any_response(request: Request) -> Response:
    return hub.stream(request, "any")


async def done() -> None: ...


@app.get("/clock")
async def clock() -> EventStreamResponse:
    async def ticks() -> AsyncIterator[Event | str]:
        yield Event("tick")
        yield "tock"

    return EventStreamResponse(ticks(), 200, {"X-Own": "yes"}, background=BackgroundTask(done))


async def publish() -> Receipt:
    return await hub.publish("any", {"a": 1})
"""


def test_a_program_with_types(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "program.py"]
    checked = run(command, capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
