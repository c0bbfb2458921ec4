"""The fast path compared with the normal path: the same responses in the same order, whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.slow_engine import SlowEngine, slow_engines
from support.stream_server import Serving, closed, get, head_of, post, read_all, read_until, responses
from support.tokens import SECRET, token
from support.waiting import PATIENCE, wait_until
from tidewire import Grant, Hub, Tokens
from tidewire.http.admission import Admission
from tidewire.http.app import HubApp
from tidewire.http.origins import Cors
from tidewire.inspect.inspector import Inspector
from tidewire.server import direct
from tidewire.server.protocol import StreamProtocol
from tidewire.settings import Settings

FRIEND = "https://friend.example"
LIMITS: dict[str, Any] = {"max_event": 2000, "max_body": 3000, "body_timeout": 1, "engine_timeout": 4}


class Watched(HubApp):
    """A hub's app that counts the requests on the normal path."""

    def __init__(self, hub: Hub) -> None:
        inspector = Inspector(hub, lambda: None)
        super().__init__(hub, Cors([FRIEND]), Admission(hub.settings, 100), ["localhost"], inspector)
        self.hub = hub
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        await super().__call__(scope, receive, send)


class HubServer:
    """A hub on a server, and clients of it."""

    def __init__(self, serving: Serving, app: Watched, engines: list[SlowEngine]) -> None:
        self.serving = serving
        self.app = app
        self._engines = engines

    @property
    def engine(self) -> SlowEngine:
        (engine,) = self._engines
        return engine

    def connect(self) -> socket.socket:
        return self.serving.connect()

    def known(self, *headers: str, topic: str = "a", body: bytes = b"warm") -> socket.socket:
        """Return a client on a connection that knows this head from now on."""
        client = self.connect()
        for _ in range(2):
            assert ask(client, publish(body, *headers, topic=topic))[0] == 200
        return client

    def keep_idle(self, seconds: float) -> None:
        """Have new connections closed that are idle for this long."""
        self.serving.server.config.timeout_keep_alive = seconds

    def calls(self, work: Callable[[], object]) -> int:
        """Return how many requests of `work` took the normal path."""
        before = self.app.calls
        work()
        return self.app.calls - before


def publish(body: bytes, *headers: str, topic: str = "a", length: int | None = None) -> bytes:
    return post(body, *headers, path=f"/events/{topic}", length=length)


def read_answer(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    data = read_until(client, b"\r\n\r\n")
    status, headers, body = head_of(data)
    while len(body) < int(headers["content-length"]):
        body += client.recv(65536)
    return status, headers, body


def ask(client: socket.socket, request: bytes) -> tuple[int, dict[str, str], Any]:
    """Return status, headers (except the date) and body of the response."""
    client.sendall(request)
    status, headers, body = read_answer(client)
    headers.pop("date")
    return status, headers, json.loads(body)


def offset(answer: tuple[int, dict[str, str], Any]) -> int:
    assert answer[0] == 200, answer
    return int(answer[2]["id"].split(".")[1])


def history(served: HubServer, topic: str = "a") -> list[dict[str, Any]]:
    answer = ask(served.connect(), get(f"/events/{topic}", "Accept: application/json"))
    events: list[dict[str, Any]] = answer[2]["events"]
    return events


def metrics(served: HubServer) -> str:
    client = served.connect()
    client.sendall(get("/metrics"))
    return read_answer(client)[2].decode()


def awaits_body(served: HubServer) -> bool:
    """Return whether a connection waits for a body on the fast path."""
    paths = [getattr(connection, "_fast_path", None) for connection in list(served.serving.connections)]
    return any(path is not None and path._partial for path in paths)


@pytest.fixture(params=["memory", "slow", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Engines that answer at once, after a turn of the loop, and from a thread."""
    return f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else str(request.param)


@pytest.fixture
def engines() -> Iterator[list[SlowEngine]]:
    with slow_engines() as opened:
        yield opened


@pytest.fixture
def served(url: str, loop: str, engines: list[SlowEngine]) -> Iterator[HubServer]:
    hub = Hub(url, per_process=True, **LIMITS)
    app = Watched(hub)
    protocol = StreamProtocol.configured(Settings(**LIMITS))
    with Serving(app, loop=loop, protocol=protocol) as serving:
        serving.server.config.timeout_keep_alive = 60
        yield HubServer(serving, app, engines)
        if serving.thread.is_alive():
            closing = asyncio.run_coroutine_threadsafe(hub.close(), serving.server.servers[0].get_loop())
            closing.result(PATIENCE)


only_slow = pytest.mark.parametrize("url", ["slow"])
only_memory = pytest.mark.parametrize("url", ["memory"])


# -- what takes the fast path, and that the responses are the same


def test_a_head_that_came_twice_is_known(served: HubServer) -> None:
    client = served.connect()
    answers = [ask(client, publish(b"x" * 50)) for _ in range(6)]
    assert served.app.calls == 2
    assert [offset(answer) for answer in answers] == [1, 2, 3, 4, 5, 6]
    for _, headers, fields in answers:
        assert headers == answers[0][1]
        assert fields == {**answers[0][2], "id": fields["id"]}


def test_a_known_head_may_have_another_length(served: HubServer) -> None:
    client = served.known()
    assert served.calls(lambda: [ask(client, publish(b"x" * size)) for size in (0, 1, 10, 1999)]) == 0
    page = history(served)
    assert [len(event["data"]) for event in page] == [4, 4, 0, 1, 10, 1999]


def test_a_body_that_comes_after_its_head(served: HubServer) -> None:
    client = served.known()
    request = publish("späta".encode())

    def send_in_two() -> None:
        client.sendall(request[:-6])
        wait_until(lambda: awaits_body(served))
        assert ask(client, request[-6:])[0] == 200

    assert served.calls(send_in_two) == 0
    assert history(served)[-1]["data"] == "späta"


@only_memory
def test_a_body_in_many_pieces_takes_the_normal_path(served: HubServer) -> None:
    client = served.known()
    request = publish(b"0123456789")

    def send_in_pieces() -> None:
        client.sendall(request[:-10])
        wait_until(lambda: awaits_body(served))
        client.sendall(request[-10:-5])
        wait_until(lambda: not awaits_body(served))
        assert ask(client, request[-5:])[0] == 200

    assert served.calls(send_in_pieces) == 1
    assert served.calls(lambda: ask(client, request)) == 0
    assert [event["data"] for event in history(served)[-2:]] == ["0123456789"] * 2


@only_memory
def test_type_retry_and_topic_come_from_the_head(served: HubServer) -> None:
    client = served.known("Event-Type: paid", topic="t%C3%A9?retry=700")
    assert (
        served.calls(lambda: ask(client, publish(b"1", "Event-Type: paid", topic="t%C3%A9?retry=700"))) == 0
    )
    assert history(served, "t%C3%A9")[-1] == {
        **history(served, "t%C3%A9")[0],
        "data": "1",
        "id": history(served, "t%C3%A9")[-1]["id"],
    }
    assert history(served, "t%C3%A9")[-1]["event"] == "paid"


@only_memory
@pytest.mark.parametrize(
    "headers",
    [("Idempotency-Key: k",), ("Expect: 100-continue",), ("Connection: Upgrade", "Upgrade: h2c")],
    ids=["key", "expect", "upgrade"],
)
def test_requests_that_are_not_plain_take_the_normal_path(
    served: HubServer, headers: tuple[str, ...]
) -> None:
    client = served.connect()
    for _ in range(4):
        client.sendall(publish(b"x", *headers))
        data = read_until(client, b"}")
        assert head_of(data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))[0] == 200
    assert served.app.calls == 4


@only_memory
def test_a_connection_that_closes_takes_the_normal_path(served: HubServer) -> None:
    for _ in range(4):
        client = served.connect()
        client.sendall(publish(b"x", "Connection: close"))
        assert head_of(read_all(client))[1]["connection"] == "close"
    old = publish(b"x").replace(b"HTTP/1.1", b"HTTP/1.0")
    for _ in range(4):
        client = served.connect()
        client.sendall(old)
        assert head_of(read_all(client))[0] == 200
    assert served.app.calls == 8


@only_memory
def test_chunks_and_json_take_the_normal_path(served: HubServer) -> None:
    client = served.connect()
    chunked = get("/events/a", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n0\r\n\r\n"
    batch = post(b'{"topic":"a"}', path="/events")
    for request in (chunked, batch) * 3:
        assert ask(client, request)[0] == 200
    assert served.app.calls == 6


def test_a_head_with_a_token_is_known(loop: str) -> None:
    """The token is verified once, and whether it is still good is asked each time."""
    tokens = Tokens(SECRET)
    app = Watched(Hub(auth=tokens, per_process=True))
    request = publish(b"x", f"Authorization: Bearer {token(publish=['a'])}")
    with Serving(app, loop=loop, protocol=StreamProtocol.configured(Settings(**LIMITS))) as serving:
        client = serving.connect()
        assert [ask(client, request)[0] for _ in range(6)] == [200] * 6
        assert app.calls == 2
        tokens._verified.clear()
        assert [ask(client, request)[0] for _ in range(3)] == [200] * 3
        assert app.calls == 3


def test_with_a_function_of_the_program_no_head_is_known(loop: str) -> None:
    asked = []

    async def who(scope: Any) -> Grant:
        asked.append(scope["path"])
        return Grant(publish=["a"])

    app = Watched(Hub(auth=who, per_process=True))
    with Serving(app, loop=loop, protocol=StreamProtocol.configured(Settings(**LIMITS))) as serving:
        client = serving.connect()
        assert [ask(client, publish(b"x"))[0] for _ in range(5)] == [200] * 5
        assert app.calls == len(asked) == 5


@only_memory
def test_only_a_few_heads_are_remembered(served: HubServer) -> None:
    client = served.known(topic="first")
    for number in range(direct.MAX_HEADS):
        for _ in range(3):
            ask(client, publish(b"x", topic=f"other{number}"))
    assert served.calls(lambda: ask(client, publish(b"x", topic="first"))) == 1


@only_memory
def test_long_heads_are_not_remembered(served: HubServer) -> None:
    client = served.connect()
    for _ in range(4):
        assert ask(client, publish(b"x", "Filler: " + "x" * direct.MAX_HEAD))[0] == 200
    assert served.app.calls == 4


@only_memory
def test_an_access_log_sees_every_request(served: HubServer, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("uvicorn.access")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, "uvicorn.access"):
            client = served.connect()
            for _ in range(4):
                ask(client, publish(b"x"))
    finally:
        logger.removeHandler(caplog.handler)
    assert sum("POST /events/a" in record.getMessage() for record in caplog.records) == 4


def test_middleware_sees_every_request(loop: str) -> None:
    hub = Hub(per_process=True)
    calls = 0

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1
        await hub.app(scope, receive, send)

    with Serving(middleware, loop=loop) as serving:
        client = serving.connect()
        for _ in range(4):
            assert ask(client, publish(b"x"))[0] == 200
    assert calls == 4


# -- refusals

REFUSED = {
    "not UTF-8": (publish(b"\xff"), 400, "invalid_utf8"),
    "a large event": (publish(b"x" * 2001), 413, "event_too_large"),
    "a large body": (publish(b"x" * 3001), 413, "body_too_large"),
    "an ended topic": (publish(b"x", topic="ended"), 409, "topic_ended"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_the_same_as_on_the_normal_path(served: HubServer, case: str) -> None:
    request, status, code = REFUSED[case]
    topic = "ended" if "ended" in case else "a"
    known = served.known(topic=topic)
    ask(served.connect(), get("/events/ended", method="DELETE"))
    ordinary, answer = ask(served.connect(), request), ask(known, request)
    assert answer == ordinary
    assert (answer[0], answer[2]["code"], answer[2]["stored"]) == (status, code, False)
    assert answer[1]["connection"] == "close"
    assert closed(known)
    assert f'code="{code}"}} 2.0' in metrics(served)


@only_memory
@pytest.mark.parametrize("topic", ["$a", "a*", "a%01"])
def test_an_invalid_head_is_refused_every_time(served: HubServer, topic: str) -> None:
    for _ in range(4):
        assert ask(served.connect(), publish(b"x", topic=topic))[0] in (400, 403)
    assert (
        ask(served.known(), publish(b"x").replace(b"localhost", b"evil.example"))[2]["code"] == "wrong_host"
    )


@only_memory
def test_the_cross_site_rule(served: HubServer) -> None:
    friend = served.known(f"Origin: {FRIEND}")
    answer = ask(friend, publish(b"x", f"Origin: {FRIEND}"))
    assert answer[1]["access-control-allow-origin"] == FRIEND
    for _ in range(4):
        assert ask(served.connect(), publish(b"x", "Origin: https://evil.example"))[0] == 403
    assert ask(friend, publish(b"x", "Origin: https://evil.example"))[0] == 403
    served.serving.logs_fine = False  # one line about the origin


@only_memory
def test_a_head_that_ends_with_bare_lfs_is_refused(served: HubServer) -> None:
    served.known()
    for _ in range(4):
        client = served.connect()
        client.sendall(publish(b"\r\n\r\n").replace(b"\r\n", b"\n", 3))
        assert head_of(read_all(client))[0] == 400


@only_slow
def test_an_engine_that_does_not_answer(served: HubServer) -> None:
    known, other = served.known(), served.connect()
    served.engine.slow = True
    known.sendall(publish(b"x"))
    ordinary = ask(other, publish(b"x"))
    answer = read_answer(known)
    assert (answer[0], json.loads(answer[2])) == (ordinary[0], ordinary[2])
    assert {**answer[1], "date": ""} == {**ordinary[1], "date": ""}
    assert (ordinary[0], ordinary[2]["code"], ordinary[2]["stored"]) == (503, "unknown", "unknown")
    assert closed(known)


@only_slow
def test_an_engine_that_fails(served: HubServer) -> None:
    served.serving.logs_fine = False
    known = served.known()
    served.engine.fault = OSError("broken")
    known.sendall(publish(b"x"))
    assert head_of(read_all(known))[0] == 500
    assert any("broken" in line for line in served.serving.records.lines)


# -- during a publish


@only_slow
def test_requests_during_a_publish_are_answered_after_it(served: HubServer) -> None:
    client = served.known()
    served.engine.slow = True
    client.sendall(publish(b"1"))
    wait_until(lambda: served.engine.waiting)
    served.engine.slow = False
    rest = [publish(b"2"), get("/health/live"), publish(b"3", topic="b"), publish(b"4")]
    for request in rest:
        client.sendall(request)
    served.engine.go_on()
    data = b""
    while data.count(b"HTTP/1.1 200 ") < 5 or not data.endswith(b"}"):
        data += client.recv(65536)
    bodies = [json.loads(body) for _, body in responses(data)]
    assert [body.get("status") for body in bodies] == [None, None, "live", None, None]
    assert [int(body["id"].split(".")[1]) for body in bodies if "id" in body] == [3, 4, 5, 6]


def test_many_requests_at_once_are_answered_in_order(served: HubServer) -> None:
    client = served.known()
    requests = [publish(b"%d" % number) if number % 3 else get("/health/live") for number in range(60)]
    client.sendall(b"".join(requests))
    data = b""
    while data.count(b"HTTP/1.1 200 ") < 60 or not data.endswith(b"}"):
        data += client.recv(65536)
    bodies = [json.loads(body) for _, body in responses(data)]
    assert ["status" in body for body in bodies] == [number % 3 == 0 for number in range(60)]
    offsets = [int(body["id"].split(".")[1]) for body in bodies if "id" in body]
    assert offsets == list(range(3, 43))
    assert served.calls(lambda: ask(client, publish(b"x"))) == 0


@only_slow
def test_an_event_is_stored_even_if_its_client_leaves(served: HubServer) -> None:
    client = served.known()
    served.engine.slow = True
    client.sendall(publish(b"left"))
    wait_until(lambda: served.engine.waiting)
    client.close()
    wait_until(lambda: not served.serving.connections)
    served.engine.go_on()
    wait_until(lambda: history(served)[-1]["data"] == "left")


@only_slow
def test_a_server_that_stops_responds_first(served: HubServer) -> None:
    client, idle, half = served.known(), served.known(topic="b"), served.known(topic="c")
    served.engine.slow = True
    client.sendall(publish(b"x"))
    half.sendall(publish(b"x", topic="c", length=10))
    wait_until(lambda: served.engine.waiting and awaits_body(served))
    served.serving.server.should_exit = True
    assert closed(idle)
    served.engine.go_on()
    status, headers, _ = read_answer(client)
    assert (status, headers["connection"]) == (200, "close")
    assert closed(client)
    half.close()
    served.serving.stop()


@only_slow
def test_a_drain_waits_for_a_publish_and_refuses_the_next_one(served: HubServer) -> None:
    client, other = served.known(), served.known()
    served.engine.slow = True
    client.sendall(publish(b"x"))
    wait_until(lambda: served.engine.waiting)
    draining = asyncio.run_coroutine_threadsafe(
        served.app.hub.drain(), served.serving.server.servers[0].get_loop()
    )
    wait_until(lambda: served.app.hub.node.draining)
    refused = ask(other, publish(b"x"))
    assert (refused[0], refused[2]["code"], refused[2]["stored"]) == (503, "draining", False)
    assert not draining.done()
    served.engine.go_on()
    assert read_answer(client)[0] == 200
    draining.result(PATIENCE)


# -- deadlines


def test_a_body_that_does_not_come(served: HubServer) -> None:
    client = served.known()
    client.sendall(publish(b"", length=10))
    status, headers, body = read_answer(client)
    assert (status, json.loads(body)["code"]) == (408, "request_timeout")
    assert headers["connection"] == "close"
    assert closed(client)


@only_memory
def test_an_idle_connection_is_closed_and_a_used_one_is_not(served: HubServer) -> None:
    served.keep_idle(1.5)
    used, idle = served.known(), served.known()
    for _ in range(4):
        assert not closed(used, 0.5)
        assert ask(used, publish(b"x"))[0] == 200
    assert closed(idle)
    assert closed(used)


@only_slow
def test_the_keep_alive_time_does_not_end_a_publish_under_way(served: HubServer) -> None:
    served.keep_idle(1)
    client = served.known()
    served.engine.slow = True
    client.sendall(publish(b"x"))
    assert not closed(client, 1.5)
    served.engine.go_on()
    assert read_answer(client)[0] == 200
    assert closed(client)


def test_the_deadline_of_a_body_ends_with_it(served: HubServer) -> None:
    served.keep_idle(2)
    client = served.known()
    request = publish(b"x" * 10)
    client.sendall(request[:-10])
    wait_until(lambda: awaits_body(served))
    client.sendall(request[-10:] + request)
    data = b""
    while data.count(b"HTTP/1.1 200 ") < 2 or not data.endswith(b"}"):
        received = client.recv(65536)
        assert received, data
        data += received
    assert read_all(client) == b"", "the connection was idle, and nothing was late"


def test_requests_are_counted(served: HubServer) -> None:
    client = served.known()
    for _ in range(5):
        ask(client, publish(b"x"))
    wait_until(lambda: served.serving.server.server_state.total_requests == 7)
    assert "tidewire_published_events_total 7.0" in metrics(served)
