"""Our protocol, over real sockets: what stays with uvicorn, what is left in memory, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
from typing import Any

import pytest

from support.stream_clients import Way, ask, hang_up, portable, stick
from support.stream_server import (
    FIRST,
    Serving,
    StreamApp,
    closed,
    get,
    post,
    read_all,
    read_until,
    responses,
)
from support.waiting import PATIENCE, wait_until
from tidewire.server import protocol
from tidewire.server.protocol import StreamProtocol
from tidewire.settings import Settings

# -- what stays with uvicorn


def test_other_requests_are_served_by_uvicorn(serving: Serving) -> None:
    """Keep-alive, pipelining, bodies: everything else works as in uvicorn."""
    with serving.connect() as client:
        client.sendall(get("/a") + post(b"b" * 100_000) + get("/c") + get("/d", "Connection: close"))
        answers = list(responses(read_all(client)))
    assert answers == [(200, b"ok /a"), (200, b"b" * 100_000), (200, b"ok /c"), (200, b"ok /d")]
    assert serving.server.server_state.total_requests == 4


@pytest.mark.parametrize("eager", [False, True] if sys.version_info >= (3, 12) else [False])
def test_apps_that_answer_at_once(eager: bool) -> None:
    """Under an eager task factory too, an app starts when the parser is done with what has come."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with Serving(app, loop="asyncio") as serving:
        if eager:
            loop = serving.server.servers[0].get_loop()
            serving.call(loop.set_task_factory, asyncio.eager_task_factory)
        with serving.connect() as client:
            client.sendall(get("/a") + post(b"b") + get("/c", "Connection: close"))
            assert list(responses(read_all(client))) == [(200, b"ok")] * 3


def test_an_answer_before_the_end_of_the_body_says_that_the_connection_ends() -> None:
    """A client that keeps the connection would lose its next request on it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with Serving(app) as serving:
        with serving.connect() as client:
            client.sendall(post(b"whole") + post(b"half of it")[:-5])
            whole, half = read_all(client).split(b"ok")[:2]
        assert b"connection: close" not in whole
        assert b"connection: close" in half


def test_an_untested_uvicorn_is_portable(app: StreamApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TAKEOVER", False)
    response = ask(app, get("/stream", "Connection: close"))
    assert app.taken == [False]
    portable(response)


def test_the_versions_it_was_tested_with() -> None:
    assert protocol.tested("0.54.0")
    assert protocol.tested("0.54.7")
    assert not protocol.tested("0.55.0")
    assert not protocol.tested("1.0")


def test_an_untested_uvicorn_is_logged_once_at_import() -> None:
    code = """
import uvicorn
uvicorn.__version__ = "0.99.0"
from tidewire.server import protocol
assert not protocol.TAKEOVER
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert result.stderr == "uvicorn 0.99.0 was not tested with Tidewire; streams stay portable\n"


# -- what is left in memory

KINDS = ("StreamProtocol", "RequestResponseCycle", "HttpRequestParser", "StreamOffer", "FlowControl")


def alive(*kinds: str) -> int:
    """Count the objects of some types, including those that wait for the garbage collector."""
    return sum(type(thing).__name__ in kinds for thing in gc.get_objects())


def test_the_request_its_task_and_its_parser_are_freed(app: StreamApp, loop: str) -> None:
    """10,000 idle streams are 10,000 transports and little else."""
    gc.collect()
    before = alive(*KINDS)
    with Serving(app, loop=loop) as serving, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(serving.connect()) for _ in range(20)]
        for client in clients:
            client.sendall(get())
            read_until(client, FIRST)
        wait_until(lambda: len(app.taken) == 20 and not serving.server.server_state.tasks)
        app.scopes.clear()
        gc.disable()
        try:  # by reference counts alone
            wait_until(lambda: alive(*KINDS) == before)
        finally:
            gc.enable()
        assert len(serving.connections) == 20


def test_a_lost_stream_is_freed(app: StreamApp, loop: str) -> None:
    with Serving(app, loop=loop) as serving:
        client = serving.connect()
        client.sendall(get())
        read_until(client, FIRST)
        wait_until(lambda: app.taken == [True] and not serving.server.server_state.tasks)
        gc.disable()
        try:
            before = alive("SocketWire", "FakeSubscriber")
            client.close()
            wait_until(lambda: "lost" in app.subscribers[0].calls)
            app.subscribers.clear()
            wait_until(lambda: alive("SocketWire", "FakeSubscriber") == before - 2)
        finally:
            gc.enable()


def test_a_thousand_connections_leave_nothing_behind(app: StreamApp, loop: str) -> None:
    requests = [b"", b"GET /str", get(), get() + b"x", get("/next"), b"\x00", get(), get(method="HEAD")]
    with Serving(app, loop=loop) as serving:
        for number in range(1000):
            request = requests[number % len(requests)]
            with serving.connect() as client:
                client.sendall(request)
                if number % 3 and len(request) not in (0, 8):
                    client.recv(65536)
                if number % 5 == 0:
                    hang_up(client, "reset")
        wait_until(lambda: not serving.connections and not serving.server.server_state.tasks)
        assert all(s.calls.count("lost") == s.calls.count("attach") <= 1 for s in app.subscribers)


# -- stopping


def test_a_stopping_server_drains_fifty_streams(way: Way, app: StreamApp) -> None:
    clients = [way.open() for _ in range(50)]
    wait_until(lambda: all(subscriber.wire for subscriber in app.subscribers))
    way.serving.stop()
    for client in clients:
        assert way.body(read_all(client)) == (b"", True)
        client.close()
    assert {tuple(subscriber.calls) for subscriber in app.subscribers} == {("attach", "stopping", "lost")}


def test_a_stopping_server_does_not_wait_for_stuck_readers(way: Way, app: StreamApp) -> None:
    client = way.open(receive_buffer=4096)
    stick(way, app.subscriber)
    way.serving.stop()
    client.close()


def test_a_stopping_server_closes_idle_connections(way: Way) -> None:
    with way.connect() as fresh, way.connect() as used:
        used.sendall(get("/a", version="1.1"))
        read_until(used, b"ok /a")
        way.serving.stop()
        assert closed(fresh)
        assert closed(used)


# -- settings


def test_limits_come_from_the_settings() -> None:
    configured = StreamProtocol.configured(Settings(head_timeout=3, max_headers=7))
    assert (configured.head_timeout, configured.max_headers) == (3, 7)
    assert configured.body_timeout == Settings().body_timeout
    assert StreamProtocol.head_timeout == Settings().head_timeout
