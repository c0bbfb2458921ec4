"""Attacks D15, F10 to F12 and F21: limits, and refusals that may pass (docs/reference/attacks.md)."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from support.processes import Process
from support.tokens import SECRET, bearer, token
from support.waiting import PATIENCE, wait_until
from support.ways import Answer, Served, dict_of, raw_request, served
from tidewire.event_stream import Decoder


@pytest.fixture(scope="module", params=["takeover", "uvicorn"])
def small(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param, max_streams=3, max_streams_per_address=2) as running:
        yield running


def wait_empty(hub: Served) -> None:
    """Wait until the hub has noticed the end of all streams of the tests before."""
    wait_until(lambda: "tidewire_open_streams 0.0" in hub.ask("GET", "/metrics").body.decode())


def check_refusal(hub: Served, status: int, code: str, **headers: str) -> None:
    """Check that a native client is refused with status 200; ours and a plain one with `status`."""
    native = hub.ask("GET", "/events/f10", headers={"Accept": "text/event-stream", **headers})
    assert (native.status, native.headers["content-type"]) == (200, "text/event-stream")
    decoder = Decoder()
    assert decoder.feed(native.body) == []
    assert decoder.retry is not None
    assert 1000 <= decoder.retry <= 300_000
    ours = hub.ask("GET", "/events/f10", headers={"Tidewire-Client": "test", **headers})
    plain = hub.ask("GET", "/events/f10?control=none", headers={"Accept": "text/event-stream", **headers})
    for answer in (ours, plain):
        assert (answer.status, answer.json()["code"]) == (status, code)
        assert int(answer.headers["retry-after"]) >= 1


def test_f10_too_many_streams_from_one_address(small: Served) -> None:
    wait_empty(small)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(small.listen("/events/f10")).take(1)
        check_refusal(small, 429, "too_many_streams")
        # Publishes are still accepted.
        small.publish("f10", "x")


def test_f10_a_stream_that_ended_makes_room_for_another(small: Served) -> None:
    wait_empty(small)
    for _ in range(20):
        with small.listen("/events/f10") as listener:
            assert listener.take(1)


def listen_from(address: str, port: int) -> socket.socket:
    """Open a stream from another loopback address and return it when it has begun."""
    client = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(address, 0))
    client.sendall(b"GET /events/f10 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    received = b""
    while b"hub.position" not in received:
        part = client.recv(65536)
        assert part, received
        received += part
    return client


def test_too_many_streams_on_the_node(small: Served) -> None:
    wait_empty(small)
    clients = [listen_from(f"127.0.0.{number}", small.port) for number in (2, 3, 4)]
    try:
        check_refusal(small, 503, "full")
    finally:
        for client in clients:
            client.close()


@pytest.fixture(scope="module", params=["takeover", "uvicorn"])
def slow(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A hub whose addresses may open three streams, and one more in an hour."""
    with served(request.param, stream_rate=1 / 3600, stream_burst=3) as running:
        yield running


def test_f21_a_rate_for_each_address_that_head_does_not_spend(slow: Served) -> None:
    # The server believes this header of a proxy on the same machine.
    first, other = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
    for _ in range(10):
        assert slow.ask("HEAD", "/events/f21", headers=first).status == 200
    for headers in (first, other):
        for _ in range(3):
            with slow.listen("/events/f21", headers) as listener:
                assert listener.take(1)
        refused = slow.ask("GET", "/events/f21", headers={**headers, "Tidewire-Client": "test"})
        assert (refused.status, refused.json()["code"]) == (503, "too_fast")
        assert slow.ask("HEAD", "/events/f21", headers=headers).status == 200
    # Loopback is not counted.
    for _ in range(5):
        with slow.listen("/events/f21") as listener:
            assert listener.take(1)


def test_each_refusal_is_counted(small: Served) -> None:
    wait_empty(small)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(small.listen("/events/f10")).take(1)
        small.ask("GET", "/events/f10", headers={"Accept": "text/event-stream"})
        small.ask("POST", "/events/f10?retry=x", b"x")
    metrics = small.ask("GET", "/metrics").body.decode()
    for code in ("too_many_streams", "invalid_retry"):
        assert f'tidewire_refused_requests_total{{code="{code}"}}' in metrics


# -- limits of a subject


@pytest.fixture(scope="module")
def locked(kind: tuple[str, str], url: str) -> Iterator[Served]:
    """A hub with keys. A subject may have two streams, and publish three events and one more in an hour."""
    slow = {"stream_rate": 1 / 3600, "stream_burst": 3, "publish_rate": 1 / 3600, "publish_burst": 3}
    options = {"url": url, "hub": {"max_streams_per_subject": 2, **slow}}
    with served(kind[0], "locked_hub:app", keys=[SECRET], **options) as running:
        yield running


def of(sub: str) -> dict[str, str]:
    return bearer(token(sub=sub, subscribe=["**"], publish=["**"]))


def refusals(hub: Served, code: str) -> float:
    """Return how many requests were refused with that code, by the metrics."""
    found = re.search(
        rf'^tidewire_refused_requests_total{{code="{code}"}} (\S+)$',
        hub.ask("GET", "/metrics").body.decode(),
        re.MULTILINE,
    )
    return float(found[1]) if found else 0.0


def test_f10_too_many_streams_of_one_subject(locked: Served) -> None:
    one, other = of("f10"), of("f10-other")
    before = refusals(locked, "too_many_streams_of_subject")
    with ExitStack() as stack:
        first, _ = (stack.enter_context(locked.listen("/events/f10", one)) for _ in range(2))
        wait_until(lambda: streams_of(locked, "f10") == 2)
        check_refusal(locked, 429, "too_many_streams_of_subject", **one)
        assert refusals(locked, "too_many_streams_of_subject") == before + 3
        # Another subject at the same address is not affected.
        with locked.listen("/events/f10", other) as listener:
            assert listener.take(1)
        first.close()
        wait_until(lambda: streams_of(locked, "f10") == 1)
        assert stack.enter_context(locked.listen("/events/f10", one)).take(1)


def streams_of(hub: Served, sub: str) -> int:
    admin = bearer(token(admin=True))
    streams = hub.ask("GET", "/streams", headers=admin).json()["streams"]
    return [stream["sub"] for stream in streams].count(sub)


def test_f11_opening_and_closing_again_and_again(locked: Served) -> None:
    # The server believes this header of a proxy on the same machine.
    here, there = {**of("f11"), "X-Forwarded-For": "203.0.113.11"}, {"X-Forwarded-For": "203.0.113.12"}
    for _ in range(3):
        with locked.listen("/events/f11", here) as listener:
            assert listener.take(1)
    wait_until(lambda: streams_of(locked, "f11") == 0)
    check_refusal(locked, 503, "too_fast", **here)
    with locked.listen("/events/f11", {**of("f11"), **there}) as listener:
        assert listener.take(1)


def publishes(hub: Served, count: int, headers: dict[str, str]) -> list[Answer]:
    """Publish on one connection, as a publisher does that our server knows after its second request."""
    connection, answers = HTTPConnection("127.0.0.1", hub.port, timeout=PATIENCE), []
    for number in range(count):
        connection.request("POST", "/events/f12", str(number), headers)
        response = connection.getresponse()
        answers.append(Answer(response.status, dict_of(response), response.read()))
    connection.close()
    return answers


def test_f12_publishing_too_fast(locked: Served) -> None:
    one, other = of("f12"), of("f12-other")
    before = refusals(locked, "too_many_publishes")
    answers = publishes(locked, 5, one)
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    event = '{"topic": "f12", "data": "x"}'
    answers = [
        *answers[3:],
        locked.ask("POST", "/events", event, one),
        locked.ask("POST", "/events", f"[{event}]", one),
        locked.ask("DELETE", "/events/f12", headers=one),
    ]
    for answer in answers:
        assert answer.json()["code"] == "too_many_publishes"
        assert answer.json()["stored"] is False
        assert 3000 < int(answer.headers["retry-after"]) <= 3600
    lines = {**one, "Content-Type": "application/x-ndjson"}
    refused = locked.ask("POST", "/events", f"{event}\n{event}\n", lines).json()
    assert (refused["line"], refused["code"], refused["stored"]) == (1, "too_many_publishes", False)
    assert refusals(locked, "too_many_publishes") == before + 6
    # Others publish as before.
    assert [answer.status for answer in publishes(locked, 3, other)] == [200] * 3
    page = locked.ask("GET", "/events/f12", headers={**one, "Accept": "application/json"}).json()
    assert [event["data"] for event in page["events"]] == ["0", "1", "2"] * 2


def test_f12_a_batch_is_paid_off(locked: Served) -> None:
    many = "[" + ",".join(['{"topic": "f12b", "data": "x"}'] * 100) + "]"
    assert len(locked.ask("POST", "/events", many, of("f12b")).json()) == 100
    refused = locked.ask("POST", "/events/f12b", "x", of("f12b"))
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) > 90 * 3600


def test_d15_too_many_tickets_of_one_subject(kind: tuple[str, str], tmp_path: Path) -> None:
    url = "memory" if kind[1] == "memory" else f"sqlite:///{tmp_path}/log.db"
    options = {"url": url, "hub": {"max_tickets_per_subject": 3}}
    with served(kind[0], "locked_hub:app", keys=[SECRET], **options) as hub:
        answers = [hub.ask("POST", "/tickets", headers=of("d15")) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        refused = answers[3]
        assert refused.json()["code"] == "too_many_tickets"
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert refusals(hub, "too_many_tickets") == 1
        # Others get theirs, and those that were given are good.
        assert hub.ask("POST", "/tickets", headers=of("d15-other")).status == 200
        with hub.listen(f"/events/a?ticket={answers[0].json()['ticket']}") as listener:
            assert listener.status == 200


# -- limits of our own server


def test_f01_to_f03_what_the_server_refuses_is_counted() -> None:
    long, many = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 9000), b"X: 1\r\n" * 200
    with served("takeover") as hub:
        assert raw_request(hub.port, long).startswith(b"HTTP/1.1 414 ")
        assert raw_request(hub.port, b"GET / HTTP/1.1\r\n%b\r\n" % many).startswith(b"HTTP/1.1 431 ")
        assert raw_request(hub.port, b"POST / HTTP/1.1 what\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        for code in ("url_too_long", "head_too_large", "invalid_request"):
            assert refusals(hub, code) == 1


# -- short of memory


def test_a_hub_that_is_short_of_memory_sheds_load(kind: tuple[str, str], url: str) -> None:
    with served(kind[0], url=url, max_memory=1024**2) as hub:
        check_refusal(hub, 503, "memory_low")
        event = '{"topic": "m", "data": "x"}'
        for answer in [*publishes(hub, 4, {}), hub.ask("POST", "/events", f"[{event}]")]:
            assert (answer.status, answer.json()["code"], answer.json()["stored"]) == (
                503,
                "memory_low",
                False,
            )
            assert int(answer.headers["retry-after"]) >= 1
        refused = hub.ask("POST", "/events", event, {"Content-Type": "application/x-ndjson"}).json()
        assert (refused["line"], refused["code"], refused["stored"]) == (1, "memory_low", False)
        page = hub.ask("GET", "/events/m", headers={"Accept": "application/json"}).json()
        assert page["events"] == []
        metrics = hub.ask("GET", "/metrics").body.decode()
        assert float(re.findall(r"^tidewire_memory_share (\S+)$", metrics, re.MULTILINE)[0]) > 1
        assert refusals(hub, "memory_low") == 9
        assert hub.process.output.count("of the memory is used") == 1


def test_f10_more_connections_than_an_address_may_have() -> None:
    command = [sys.executable, "-m", "tidewire", "serve", "--engine", "memory", "--port", "0"]
    with Process([*command, "--max-connections-per-address", "20"]) as process, ExitStack() as stack:
        hub = Served(int(process.wait_line(r"http://127\.0\.0\.1:([0-9]+)")[1]), process, "takeover")
        flood = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", hub.port), PATIENCE, source_address=("127.0.0.9", 0))
            )
            for _ in range(100)
        ]
        # Those beyond the limit are closed before anything is read from them.
        wait_until(lambda: refusals(hub, "too_many_connections") == 80)
        assert sum(was_closed(client) for client in flood) == 80
        with hub.listen("/events/f10") as listener:
            assert listener.take(1)


def was_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
