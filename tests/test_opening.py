"""A hub that meets several event loops, threads and processes in its life (promise G21)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from support.fakes import listen, quiet, virtual
from support.ports import free_port
from support.processes import Process
from support.waiting import PATIENCE, wait_until
from support.ways import APPS, Listener, Served
from tidewire import Hub
from tidewire.delivery.stopping import drains_of_loop
from tidewire.errors import Draining, StartRefused
from tidewire.workers import shared_descriptors


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/log.db"


async def close(hub: Hub) -> None:
    await hub.close()


# -- loops one after another


def test_each_loop_may_publish(url: str) -> None:
    threads = threading.active_count()
    hub = Hub(url)
    offsets = [asyncio.run(hub.publish("a", str(number))).position.offset for number in range(3)]
    assert offsets == ([1, 1, 1] if url == "memory" else [1, 2, 3])
    assert hub.subscribers("a") == 0
    with pytest.raises(StartRefused):
        hub.publish_soon("a", "its loop is closed")
    asyncio.run(close(hub))
    # The log is released: another hub may have it.
    asyncio.run(close_after_publishing(Hub(url)))
    wait_until(lambda: threading.active_count() <= threads)


async def close_after_publishing(hub: Hub) -> None:
    await hub.publish("a", "x")
    await hub.close()


def test_a_loop_may_end_while_the_hub_opens(url: str) -> None:
    hub = Hub(url)

    async def begin() -> None:
        opening = asyncio.ensure_future(hub.open())
        await asyncio.sleep(0)
        opening.cancel()

    for _ in range(3):
        asyncio.run(begin())
    assert asyncio.run(hub.publish("a", "x")).position.offset == 1
    asyncio.run(close(hub))


def test_a_loop_may_end_while_the_hub_drains(url: str) -> None:
    hub = Hub(url)

    async def begin() -> None:
        await hub.publish("a", "x")
        draining = asyncio.ensure_future(hub.drain())
        await asyncio.sleep(0)
        draining.cancel()

    asyncio.run(begin())
    asyncio.run(hub.publish("a", "y"))
    asyncio.run(close(hub))


def test_requests_of_a_test_client_without_a_lifespan(url: str) -> None:
    hub = Hub(url)
    app = FastAPI(lifespan=hub.lifespan)
    app.mount("/hub", hub.app)

    @app.post("/publish")
    async def publish() -> int:
        return (await hub.publish("a", "x")).position.offset

    def offsets() -> list[int]:
        # Without `with`, each request has its own event loop.
        client = TestClient(app)
        return [client.post("/publish").json(), client.post("/publish").json()]

    assert offsets() == ([1, 1] if url == "memory" else [1, 2])
    with TestClient(app) as client:
        last = client.post("/publish").json()
        assert client.post("/publish").json() == last + 1
        assert client.get("/hub/events/a", headers={"Accept": "application/json"}).status_code == 200
    assert offsets() == ([1, 1] if url == "memory" else [5, 6])
    asyncio.run(close(hub))


# -- two loops at the same time


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@contextmanager
def loop_in_thread() -> Iterator[Loop]:
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()


CALLS: dict[str, Callable[[Hub], Any]] = {
    "open": lambda hub: hub.open(),
    "publish": lambda hub: hub.publish("a", "x"),
    "publish_many": lambda hub: hub.publish_many([{"topic": "a"}]),
    "end": lambda hub: hub.end("b"),
    "head": lambda hub: hub.head(),
    "drain": lambda hub: hub.drain(),
    "close": lambda hub: hub.close(),
    "lifespan": lambda hub: hub.lifespan().__aenter__(),
    "stream": lambda hub: hub.stream(SCOPE, "a")(SCOPE, asyncio.Event().wait, ignore),
}

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [],
    "http_version": "1.1",
}


async def ignore(message: Any) -> None: ...


def test_a_second_live_loop_is_refused_and_told_what_to_do(url: str) -> None:
    hub = Hub(url)

    async def call(name: str) -> None:
        with pytest.raises(StartRefused, match="publish_soon") as refusal:
            await CALLS[name](hub)
        assert refusal.value.code == "other_loop"

    with loop_in_thread() as other:
        other.run(hub.publish("a", "first"))
        for name in CALLS:
            asyncio.run(call(name))
        # What may be called from anywhere hops over.
        assert hub.publish_soon("a", "second").result(PATIENCE).position.offset == 2
        assert hub.subscribers("a") == 0
        other.run(hub.close())
        asyncio.run(close_after_publishing(hub))


def test_two_loops_that_meet_a_new_hub_at_the_same_time(url: str) -> None:
    with loop_in_thread() as one, loop_in_thread() as two:
        hub = Hub(url)
        answers = [
            asyncio.run_coroutine_threadsafe(hub.publish("a", "x"), loop.loop).exception
            for loop in (one, two)
        ]
        refused = [error for answer in answers if (error := answer(PATIENCE))]
        assert len(refused) <= 1
        assert all(isinstance(error, StartRefused) and "publish_soon" in str(error) for error in refused)
        for loop in (one, two):
            if hub.node.loop is loop.loop:
                loop.run(hub.close())
                break


# -- servers


@contextmanager
def serving(command: str, url: str) -> Iterator[Served]:
    port = free_port()
    program, *arguments = command.format(port=port).split()
    argv = [str(Path(sys.executable).parent / program), *arguments]
    with Process(argv, env={"LOG": url, "PYTHONPATH": str(APPS)}) as process:
        process.wait_port(port)
        yield Served(port, process, program)
        process.send_signal(signal.SIGTERM)
        assert process.wait() in (0, -signal.SIGTERM), process.output


GUNICORN = (
    "gunicorn early:{app} --bind 127.0.0.1:{{port}} --no-control-socket -k uvicorn_worker.UvicornWorker"
)


@pytest.mark.parametrize("app", ["app", "bare"])
@pytest.mark.parametrize(
    "command",
    ["uvicorn early:{app} --port {{port}}", f"{GUNICORN} --preload"],
    ids=["uvicorn", "gunicorn-preload"],
)
def test_a_publish_at_import_and_then_a_server(command: str, app: str, url: str) -> None:
    with serving(command.format(app=app), url) as served:
        # In a file the event of the import is kept; the streams get what is published now.
        kept = ["imported"] if url != "memory" else []
        with served.listen("/news") as listener:
            assert served.ask("POST", "/news").status == 200
            events = listener.take(len(kept) + 2)
            assert [event.data for event in events if event.event == "message"] == [*kept, "served"]


def test_a_server_in_a_thread_and_a_script_beside_it(url: str) -> None:
    hub = Hub(url)
    app = FastAPI(lifespan=hub.lifespan)

    @app.get("/news")
    async def news(request: Request) -> Any:
        return hub.stream(request, "news")

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    with Listener(port, "/news") as listener:
        listener.take(1)
        with pytest.raises(StartRefused, match="publish_soon"):
            asyncio.run(hub.publish("news", "lost"))
        hub.publish_soon("news", "found").result(PATIENCE)
        assert [event.data for event in listener.take(1)] == ["found"]
    server.should_exit = True
    thread.join(PATIENCE)
    # The server's loop is closed, and its hub with it.
    assert asyncio.run(hub.publish("news", "after")).position.offset == (1 if url == "memory" else 2)
    asyncio.run(close(hub))


# -- forks

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked child and return its exit code: 0 if it raises nothing."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def sockets_of_servers() -> list[int]:
    gc.collect()
    return shared_descriptors()


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_may_use_a_hub_whose_loop_has_ended(url: str) -> None:
    # With the socket of a server that an earlier test has left, the child would be another worker of it.
    wait_until(lambda: not sockets_of_servers())
    hub = Hub(url)
    asyncio.run(hub.publish("a", "parent"))
    assert in_child(lambda: asyncio.run(close_after_publishing(hub))) == 0
    assert asyncio.run(hub.publish("a", "parent")).position.offset == (1 if url == "memory" else 3)
    asyncio.run(close(hub))


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_leaves_an_open_hub_to_its_parent(tmp_path: Path) -> None:
    hub = Hub(f"sqlite:///{tmp_path}/log.db")

    def use() -> None:
        assert hub.subscribers("a") == 0
        with pytest.raises(StartRefused, match="was open in the process that this one was forked from"):
            asyncio.run(hub.publish("a", "child"))

    with loop_in_thread() as parent:
        parent.run(hub.publish("a", "parent"))
        assert in_child(use) == 0
        assert parent.run(hub.publish("a", "parent")).position.offset == 2
        # A child that lives longer than the hub does not keep the lock.
        reader, writer = os.pipe()
        begun, begins = os.pipe()
        child = os.fork()
        if not child:
            os.close(writer)
            os.write(begins, b".")
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
        # Once it runs, it has closed its copy of the lock.
        assert os.read(begun, 1)
        parent.run(hub.close())
        asyncio.run(close_after_publishing(hub))
        os.close(writer)
        os.waitpid(child, 0)
        os.close(begun)
        os.close(begins)


# -- after a drain


@virtual
async def test_a_drained_hub_can_be_opened_again() -> None:
    hub = Hub()
    await hub.open()
    drains_of_loop().stop()  # as SIGINT does
    await hub.drain()
    with pytest.raises(Draining):
        await hub.publish("a", "while it stops, nothing opens it")
    node = await hub.open()
    wire = await listen(node, "a")
    await hub.publish("a", "again")
    await quiet()
    assert [event.data for event in wire.of_type("message")] == ["again"]
    await hub.close()


@virtual
async def test_opening_during_a_drain_waits_for_its_end() -> None:
    hub = Hub()
    first = await hub.open()
    draining = asyncio.ensure_future(hub.drain())
    await asyncio.sleep(0)
    nodes = await asyncio.gather(hub.open(), hub.open())
    assert draining.done()
    assert nodes[0] is nodes[1] is not first
    await hub.publish("a", "x")
    await hub.close()


PROMPT = """
import asyncio, signal
from tidewire import Hub

async def main():
    hub = Hub({url!r})
    # As a notebook: an interrupt ends what runs, and not the program.
    signal.signal(signal.SIGINT, lambda *_: None)
    for number in range(3):
        async with hub.lifespan():
            await hub.publish("a", str(number))
            signal.raise_signal(signal.SIGINT)
            while not hub.node.draining:
                await asyncio.sleep(0.01)
        print("drained", flush=True)
    await hub.open()
    await hub.publish("a", "3")
    await asyncio.sleep(0.1)
    await hub.publish("a", "4")
    await hub.close()
    print("done", flush=True)

asyncio.run(main())
"""


def test_a_sigint_that_does_not_end_the_program(url: str) -> None:
    with Process([sys.executable, "-c", PROMPT.format(url=url)]) as process:
        process.wait_line("done")
        assert process.wait() == 0
        assert process.output.count("drained") == 3
