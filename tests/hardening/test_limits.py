"""Attacks F10 and F21: refusals that may pass (docs/reference/attacks.md#a-refusal-that-may-pass)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.waiting import PATIENCE
from support.ways import Served, served
from tidewire.event_stream import Decoder


@pytest.fixture(scope="module", params=["takeover", "uvicorn"])
def small(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param, max_streams=3, max_streams_per_address=2) as running:
        yield running


def check_refusal(hub: Served, status: int, code: str) -> None:
    """Check that a native client is refused with status 200 and ours with `status`."""
    native = hub.ask("GET", "/events/f10", headers={"Accept": "text/event-stream"})
    assert (native.status, native.headers["content-type"]) == (200, "text/event-stream")
    decoder = Decoder()
    assert decoder.feed(native.body) == []
    assert decoder.retry is not None
    assert 1000 <= decoder.retry <= 300_000
    ours = hub.ask("GET", "/events/f10", headers={"Tidewire-Client": "test"})
    assert (ours.status, ours.json()["code"]) == (status, code)
    assert int(ours.headers["retry-after"]) >= 1


def test_f10_too_many_streams_from_one_address(small: Served) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(small.listen("/events/f10")).take(1)
        check_refusal(small, 429, "too_many_streams")
        # Publishes are still accepted.
        small.publish("f10", "x")


def test_f10_a_stream_that_ended_makes_room_for_another(small: Served) -> None:
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
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(small.listen("/events/f10")).take(1)
        small.ask("GET", "/events/f10", headers={"Accept": "text/event-stream"})
        small.ask("POST", "/events/f10?retry=x", b"x")
    metrics = small.ask("GET", "/metrics").body.decode()
    for code in ("too_many_streams", "invalid_retry"):
        assert f'tidewire_refused_requests_total{{code="{code}"}}' in metrics
