"""Publishing, ending, history."""

from __future__ import annotations

from typing import Any

import pytest

from clients import Client
from scripted import RESET, Action, Request, Scripted, answer
from support import free_port
from tidewire import __version__
from tidewire.errors import (
    InvalidInput,
    TidewireError,
    TopicEnded,
    Unavailable,
    Unknown,
)

# -- publishing

RECEIPT = b'{"id":"L.1","duplicate":false,"durability":"memory"}'


def test_publish(client: Client) -> None:
    with Scripted(answer("200 OK", "Content-Type: application/json", body=RECEIPT)) as server:
        receipt = client.publish(
            server.url, "a b", {"n": 1}, event="tick", key="k", retry=500, headers={"X-Extra": "x"}
        )
    assert receipt == {"id": "L.1", "duplicate": False, "durability": "memory"}
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/events")
    assert request.body == b'{"topic":"a b","data":{"n":1},"event":"tick","key":"k","retry":500}'
    assert request.get("Content-Type") == b"application/json"
    assert request.get("X-Extra") == b"x"
    assert request.get("Tidewire-Client") == f"python/{__version__}".encode()


@pytest.mark.parametrize(
    ("given", "sent"),
    [("x", b'"x"'), (b"\xc3\xbc", '"ü"'.encode()), (None, b"null"), ([1, "é"], '[1,"é"]'.encode())],
)
def test_what_data_may_be(client: Client, given: Any, sent: bytes) -> None:
    with Scripted(answer("200 OK", body=RECEIPT)) as server:
        client.publish(server.url + "/hub", "t", given)
    assert server.requests[0].body == b'{"topic":"t","data":' + sent + b"}"
    assert server.requests[0].target == "/hub/events"


@pytest.mark.parametrize(
    ("given", "code"), [(b"\xff", "invalid_utf8"), ("\ud800", "invalid_data"), (object(), "invalid_data")]
)
def test_what_data_may_not_be(client: Client, given: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.publish("http://127.0.0.1:1", "t", given)
    assert caught.value.code == code


def test_what_the_hub_says_is_raised(client: Client) -> None:
    body = b'{"title":"TopicEnded","status":409,"code":"topic_ended","detail":"t has ended","stored":false}'
    with Scripted(answer("409 Conflict", body=body)) as server:
        with pytest.raises(TopicEnded, match="t has ended") as caught:
            client.publish(server.url, "t", "x")
    assert (caught.value.code, caught.value.status, caught.value.stored) == ("topic_ended", 409, False)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "stored"),
    [
        ("400 Bad", b'{"code":"invalid_topic","detail":"d"}', InvalidInput, "invalid_topic", False),
        ("503 No", b'{"code":"unknown","detail":"d","stored":"unknown"}', Unknown, "unknown", "unknown"),
        ("503 No", b'{"code":"unavailable","detail":"d","stored":false}', Unavailable, "unavailable", False),
        ("502 Bad Gateway", b"<html>", TidewireError, "internal", "unknown"),
        ("401 Who", b"", TidewireError, "internal", False),
        ("307 Elsewhere", b"", TidewireError, "redirected", False),
    ],
)
def test_every_refusal_has_its_kind(
    client: Client, status: str, body: bytes, kind: type, code: str, stored: Any
) -> None:
    with Scripted(answer(status, "Retry-After: 7", "Location: http://e.x/", body=body)) as server:
        with pytest.raises(kind) as caught:
            client.publish(server.url, "t", "x")
    error: Any = caught.value
    assert (error.code, error.stored, error.status, error.retry_after) == (code, stored, int(status[:3]), 7)


def test_no_hub_there(client: Client) -> None:
    with pytest.raises(Unavailable, match="connection refused") as caught:
        client.publish(f"http://127.0.0.1:{free_port()}", "t", "x")
    assert (caught.value.code, caught.value.stored) == ("unreachable", False)


@pytest.mark.parametrize("script", [[], [RESET], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]])
def test_an_answer_that_is_lost_leaves_it_unknown(client: Client, script: list[Action]) -> None:
    with Scripted(script) as server:
        with pytest.raises(Unknown) as caught:
            client.publish(server.url, "t", "x")
    assert (caught.value.code, caught.value.stored) == ("no_answer", "unknown")


def test_end(client: Client) -> None:
    with Scripted(answer("200 OK", body=RECEIPT), answer("200 OK", body=RECEIPT)) as server:
        assert client.end(server.url, "a b?")["id"] == "L.1"
        client.end(server.url, "t", reason="over & out")
    assert [(request.method, request.target) for request in server.requests] == [
        ("DELETE", "/events?topic=a+b%3F"),
        ("DELETE", "/events?topic=t&reason=over+%26+out"),
    ]


def ingest(request: Request) -> list[Action]:
    """Take every line, and give two receipts."""
    lines = request.body.count(b"\n") + 1
    receipts = [
        b'{"lines":[1,%d],"first":"L.1"}' % (lines - 1),
        b'{"lines":[%d,%d],"last":"L.2"}' % (lines, lines),
    ]
    return answer("200 OK", body=b"\n".join([*receipts, b""]))


def test_publish_many_cuts_and_counts(client: Client) -> None:
    events = [{"topic": "t", "data": str(n)} for n in range(2500)]
    with Scripted(ingest, ingest, ingest) as server:
        receipts = list(client.publish_many(server.url, events))
    assert [receipt["lines"] for receipt in receipts] == [
        [1, 999],
        [1000, 1000],
        [1001, 1999],
        [2000, 2000],
        [2001, 2499],
        [2500, 2500],
    ]
    assert all(request.get("Content-Type") == b"application/x-ndjson" for request in server.requests)
    lines = [line for request in server.requests for line in request.body.split(b"\n")]
    assert lines[1700] == b'{"topic":"t","data":"1700"}'
    assert len(lines) == 2500


def test_large_events_are_cut_by_size(client: Client) -> None:
    with Scripted(ingest, ingest, ingest) as server:
        list(client.publish_many(server.url, [{"topic": "t", "data": "x" * 200_000}] * 12))
    assert [request.body.count(b"\n") + 1 for request in server.requests] == [5, 5, 2]


def test_the_line_that_is_refused_is_named(client: Client) -> None:
    refusal = b'{"lines":[1,4]}\n{"line":5,"code":"invalid_topic","detail":"no topic","stored":false}\n'
    with Scripted(ingest, answer("200 OK", body=refusal)) as server:
        receipts = client.publish_many(server.url, (b'{"topic":"t"}' for _ in range(2000)))
        assert [next(receipts)["lines"] for _ in range(3)] == [[1, 999], [1000, 1000], [1001, 1004]]
        with pytest.raises(InvalidInput, match="line 1005: no topic") as caught:
            next(receipts)
    assert (caught.value.code, caught.value.members["line"]) == ("invalid_topic", 1005)


def test_receipts_that_are_missing_are_an_error(client: Client) -> None:
    with Scripted(answer("200 OK", body=b'{"lines":[1,2]}\n')) as server:
        receipts = client.publish_many(server.url, [b"{}"] * 3)
        assert next(receipts)["lines"] == [1, 2]
        with pytest.raises(Unknown, match="line 3"):
            next(receipts)
