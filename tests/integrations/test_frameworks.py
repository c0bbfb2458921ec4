"""
The integrations, each on its framework's own server: the example, and the program of the page.

Both are the same program: a stream of a hub, a publish, and a stream from a generator.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest

from support.documents import blocks
from support.ports import free_port
from support.processes import Process
from support.waiting import wait_until
from support.ways import Served, tracebacks

ROOT = Path(__file__).parents[2]


class Framework(NamedTuple):
    """Commands that serve on `{port}`: an app that `{app}` names, and the program of the page, a file."""

    app: str
    example: str
    page: str
    program: str
    stops: str
    """As `app`: a server that tells its workers to stop, which hypercorn does not."""


FRAMEWORKS = {
    "fastapi": Framework(
        app="-m uvicorn {app} --port {port} --ws none",
        example="examples.frameworks.fastapi_orders:app",
        page="docs/how-to/fastapi.md",
        program="",  # many blocks, run by tests/docs/test_code.py
        stops="-m uvicorn {app} --port {port} --ws none",
    ),
    "starlette": Framework(
        app="-m uvicorn {app} --port {port} --ws none",
        example="examples.frameworks.starlette_orders:app",
        page="docs/how-to/fastapi.md",
        program="",
        stops="-m uvicorn {app} --port {port} --ws none",
    ),
    "aiohttp": Framework(
        app="-m aiohttp.web {app} --hostname 127.0.0.1 --port {port}",
        example="examples.frameworks.aiohttp_orders:main",
        page="docs/how-to/aiohttp.md",
        program="main.py",
        stops="-m aiohttp.web {app} --hostname 127.0.0.1 --port {port}",
    ),
    "quart": Framework(
        app="-m hypercorn {app} --bind 127.0.0.1:{port}",
        example="examples.frameworks.quart_orders:app",
        page="docs/how-to/quart.md",
        program="-m hypercorn main:app --bind 127.0.0.1:{port}",
        stops="-m uvicorn {app} --port {port} --ws none",
    ),
    "litestar": Framework(
        app="-m uvicorn {app} --port {port} --ws none",
        example="examples.frameworks.litestar_orders:app",
        page="docs/how-to/litestar.md",
        program="-m uvicorn main:app --port {port}",
        stops="-m uvicorn {app} --port {port} --ws none",
    ),
}


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return FRAMEWORKS[request.param]


@contextmanager
def running(command: str, port: int, cwd: Path) -> Iterator[Served]:
    with Process([sys.executable, *command.split()], cwd=cwd) as process:
        process.wait_port(port)
        yield Served(port, process, "asgi")


@contextmanager
def example(framework: Framework, command: str | None = None) -> Iterator[Served]:
    port = free_port()
    command = (command or framework.app).format(app=framework.example, port=port)
    with running(command, port, ROOT) as server:
        yield server


def check(server: Served) -> None:
    with server.listen("/orders/7/events") as stream, server.listen("/clock") as clock:
        assert stream.headers["content-type"] == clock.headers["content-type"] == "text/event-stream"
        assert stream.take(1)[0].event == "hub.position"
        assert server.ask("POST", "/orders/7/pay").status == 204
        event = stream.take(1)[0]
        assert (event.event, json.loads(event.data)) == ("status", {"status": "paid"})
        assert [item.event for item in clock.take(2)] == ["tick", "tick"]


def test_the_example(framework: Framework) -> None:
    with example(framework) as server:
        check(server)


@pytest.mark.parametrize("framework", ["aiohttp", "quart", "litestar"], indirect=True)
def test_the_program_of_the_page(framework: Framework, tmp_path: Path) -> None:
    (block,) = blocks("python", framework.page)
    port = free_port()
    (tmp_path / "main.py").write_text(block.text.replace("8000", str(port)))
    with running(framework.program.format(port=port), port, tmp_path) as server:
        check(server)


def test_a_stream_resumes(framework: Framework) -> None:
    with example(framework) as server:
        with server.listen("/orders/7/events") as stream:
            (begin,) = stream.take(1)
        server.ask("POST", "/orders/7/pay")
        with server.listen("/orders/7/events", {"Last-Event-ID": begin.id}) as stream:
            assert [event.event for event in stream.take(1)] == ["status"]


def test_refusals_are_problems(framework: Framework) -> None:
    with example(framework) as server:
        refused = server.ask("POST", "/orders/*/pay")
        assert (refused.status, refused.json()["code"], refused.json()["stored"]) == (
            400,
            "invalid_topic",
            False,
        )
        assert refused.headers["content-type"] == "application/problem+json"
        no_topic = server.ask("GET", "/orders/*/events")
        assert (no_topic.status, no_topic.json()["code"]) == (404, "no_such_topic")
        assert "Traceback" not in server.process.output


@pytest.mark.parametrize("framework", ["aiohttp", "quart"], indirect=True)  # for Litestar a `get` is no HEAD
def test_head_opens_no_stream(framework: Framework) -> None:
    with example(framework) as server:
        head = server.ask("HEAD", "/orders/7/events")
        assert (head.status, head.headers["content-type"], head.body) == (200, "text/event-stream", b"")


def test_a_stop_ends_the_streams_of_the_hub(framework: Framework) -> None:
    with example(framework, framework.stops) as server:
        with server.listen("/orders/7/events") as stream, server.listen("/clock") as clock:
            stream.take(1)
            clock.take(1)
            server.process.stop()
            stream.rest()
            clock.rest_until_cut()
        assert tracebacks(server.process.output) == 0


# -- what only one of them has

APP_OF_AIOHTTP = """
from aiohttp import web

from tidewire import EventStreamResponse, Hub
from tidewire.integrations.aiohttp import HUB, install, respond, stream


async def events(request):
    try:
        return await stream(request, "news", control=False)
    finally:
        print("over", flush=True)


async def fails(request):
    async def items():
        yield "one"
        raise ValueError("broken")

    return await respond(request, EventStreamResponse(items()))


async def count(request):
    return web.Response(text=str(request.config_dict[HUB].subscribers("news")))


def main(argv=None):
    app, inner = web.Application(), web.Application()
    install(app, Hub())
    inner.add_routes([web.get("/events", events), web.get("/fails", fails), web.get("/count", count)])
    app.add_subapp("/inner", inner)
    return app
"""


@contextmanager
def aiohttp_app(tmp_path: Path) -> Iterator[Served]:
    pytest.importorskip("aiohttp")
    (tmp_path / "app_of_a_test.py").write_text(APP_OF_AIOHTTP)
    port = free_port()
    command = FRAMEWORKS["aiohttp"].app.format(app="app_of_a_test:main", port=port)
    with running(command, port, tmp_path) as server:
        yield server


def test_aiohttp_a_client_that_leaves_is_noticed(tmp_path: Path) -> None:
    with aiohttp_app(tmp_path) as server:
        with server.listen("/inner/events"):
            wait_until(lambda: server.ask("GET", "/inner/count").body == b"1")
        wait_until(lambda: server.ask("GET", "/inner/count").body == b"0")
        server.process.wait_line("over")


def test_aiohttp_a_plain_stream_is_cut_at_a_stop(tmp_path: Path) -> None:
    with aiohttp_app(tmp_path) as server, server.listen("/inner/events") as stream:
        server.process.stop()
        assert stream.rest_until_cut() == []
        assert "Traceback" not in server.process.output


def test_aiohttp_a_generator_that_fails_is_told_and_cut(tmp_path: Path) -> None:
    with aiohttp_app(tmp_path) as server, server.listen("/inner/fails") as stream:
        assert [event.event for event in stream.rest_until_cut()] == ["message", "hub.error"]


APP_OF_QUART = """
from quart import Quart, request

from tidewire import EventStreamResponse, Hub
from tidewire.integrations.quart import install, respond, stream

hub = Hub()
app = Quart(__name__)
install(app, hub)
torn_down = []


@app.get("/events")
async def events():
    response = stream(request, "news")
    response.set_cookie("seen", "1")
    return response


@app.get("/spoilt")
async def spoilt():
    stream(request, "news")
    return "no stream", 403


@app.get("/fails")
async def fails():
    async def items():
        yield "one"
        raise ValueError("broken")

    return respond(request, EventStreamResponse(items()))


@app.teardown_request
async def torn(error):
    torn_down.append(request.path)


@app.get("/state")
async def state():
    return {"streams": hub.subscribers("news"), "torn_down": torn_down}
"""


@pytest.fixture
def quart_app(tmp_path: Path) -> Iterator[Served]:
    pytest.importorskip("quart")
    (tmp_path / "app_of_a_test.py").write_text(APP_OF_QUART)
    port = free_port()
    command = FRAMEWORKS["quart"].app.format(app="app_of_a_test:app", port=port)
    with running(command, port, tmp_path) as server:
        yield server


def test_quart_a_stream_does_not_hold_the_context_of_its_request(quart_app: Served) -> None:
    with quart_app.listen("/events"):
        wait_until(lambda: quart_app.ask("GET", "/state").json()["streams"] == 1)
        assert "/events" in quart_app.ask("GET", "/state").json()["torn_down"]
    wait_until(lambda: quart_app.ask("GET", "/state").json()["streams"] == 0)


def test_quart_what_a_view_adds_to_the_response_is_sent(quart_app: Served) -> None:
    with quart_app.listen("/events") as stream:
        assert stream.headers["set-cookie"].startswith("seen=1")
        assert stream.headers["content-type"] == "text/event-stream"
        assert not {"content-length", "tidewire-stand-in"} & stream.headers.keys()


def test_quart_a_stream_that_the_view_does_not_return_is_not_sent(quart_app: Served) -> None:
    answer = quart_app.ask("GET", "/spoilt")
    assert (answer.status, answer.body) == (403, b"no stream")
    assert quart_app.ask("GET", "/state").json()["streams"] == 0


def test_quart_a_generator_that_fails_is_told_and_cut(quart_app: Served) -> None:
    with quart_app.listen("/fails") as stream:
        assert [event.event for event in stream.rest_until_cut()] == ["message", "hub.error"]


@pytest.mark.parametrize("topic", ["a//b", "//a", "a/", "a//", "a%20b", "a%2Fb"])
def test_litestar_a_topic_of_the_mount_is_what_the_client_sent(topic: str) -> None:
    with example(FRAMEWORKS["litestar"]) as server:
        assert server.ask("POST", f"/hub/events/{topic}", "x").status == 200
        page = server.ask("GET", "/hub/events?topic=**", headers={"Accept": "application/json"})
        assert [event["topic"] for event in page.json()["events"]] == [unquote(topic)]
