"""Publishing, ending, history."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from support.clients import Client, in_thread
from support.ports import free_port
from support.processes import Process
from support.running_hub import RunningHub
from support.scripted import RESET, Action, Request, Scripted, answer, stream
from support.waiting import wait_until
from tidewire import __version__
from tidewire.client import aio, sync
from tidewire.errors import InvalidInput, TidewireError, TopicEnded, Unauthorized, Unavailable, Unknown

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
def test_allowed_data(client: Client, given: Any, sent: bytes) -> None:
    with Scripted(answer("200 OK", body=RECEIPT)) as server:
        client.publish(server.url + "/hub", "t", given, retry_for=0)
    assert server.requests[0].body == b'{"topic":"t","data":' + sent + b"}"
    assert server.requests[0].target == "/hub/events"


@pytest.mark.parametrize(
    ("given", "code"), [(b"\xff", "invalid_utf8"), ("\ud800", "invalid_data"), (object(), "invalid_data")]
)
def test_refused_data(client: Client, given: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.publish("http://127.0.0.1:1", "t", given)
    assert caught.value.code == code


def test_the_error_of_the_hub_is_raised(client: Client) -> None:
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
        ("401 Who", b"", Unauthorized, "unauthorized", False),
        ("307 Elsewhere", b"", TidewireError, "redirected", False),
    ],
)
def test_each_refusal_has_its_error_class(
    client: Client, status: str, body: bytes, kind: type, code: str, stored: Any
) -> None:
    with Scripted(answer(status, "Retry-After: 7", "Location: http://e.x/", body=body)) as server:
        with pytest.raises(kind) as caught:
            client.publish(server.url, "t", "x", retry_for=0)
    error: Any = caught.value
    assert (error.code, error.stored, error.status, error.retry_after) == (code, stored, int(status[:3]), 7)


def test_after_a_401_the_function_for_headers_is_asked_for_a_new_token_once(client: Client) -> None:
    """Attack H06."""
    tokens = iter("abcd")

    def source() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    refused = answer("401 Who")
    with Scripted(refused, answer("200 OK", body=RECEIPT), refused, refused) as server:
        assert client.publish(server.url, "t", "x", headers=source)["id"] == "L.1"
        with pytest.raises(Unauthorized):
            client.publish(server.url, "t", "x", headers=source)
    sent = [request.get("Authorization") for request in server.requests]
    assert sent == [b"Bearer a", b"Bearer b", b"Bearer c", b"Bearer d"]
    with Scripted(refused) as server, pytest.raises(Unauthorized):
        client.publish(server.url, "t", "x", headers=dict, retry_for=0)
    assert len(server.requests) == 1


def test_no_hub_there(client: Client) -> None:
    with pytest.raises(Unavailable, match="connection refused") as caught:
        client.publish(f"http://127.0.0.1:{free_port()}", "t", "x", retry_for=0)
    assert (caught.value.code, caught.value.stored) == ("unreachable", False)


@pytest.mark.parametrize("script", [[], [RESET], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]])
def test_a_lost_answer_raises_unknown(client: Client, script: list[Action]) -> None:
    with Scripted(script) as server:
        with pytest.raises(Unknown) as caught:
            client.publish(server.url, "t", "x", retry_for=0)
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
    """Accept all lines and answer with two receipts."""
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


def test_the_error_names_the_refused_line(client: Client) -> None:
    refusal = b'{"lines":[1,4]}\n{"line":5,"code":"invalid_topic","detail":"no topic","stored":false}\n'
    with Scripted(ingest, answer("200 OK", body=refusal)) as server:
        receipts = client.publish_many(server.url, (b'{"topic":"t"}' for _ in range(2000)))
        assert [next(receipts)["lines"] for _ in range(3)] == [[1, 999], [1000, 1000], [1001, 1004]]
        with pytest.raises(InvalidInput, match="line 1005: no topic") as caught:
            next(receipts)
    assert (caught.value.code, caught.value.members["line"]) == ("invalid_topic", 1005)


def test_missing_receipts_are_an_error(client: Client) -> None:
    with Scripted(answer("200 OK", body=b'{"lines":[1,2]}\n')) as server:
        receipts = client.publish_many(server.url, [b"{}"] * 3, retry_for=0)
        assert next(receipts)["lines"] == [1, 2]
        with pytest.raises(Unknown, match="line 3"):
            next(receipts)


# -- retries


def body_of(request: Request) -> dict[str, Any]:
    return orjson.loads(request.body)  # type: ignore[no-any-return]


def test_a_publish_is_retried_with_the_same_key_until_it_is_acked(client: Client) -> None:
    full = answer("503 Full", body=b'{"code":"unavailable","detail":"d","stored":false}')
    with Scripted(full, [RESET], answer("200 OK", body=RECEIPT)) as server:
        assert client.publish(server.url, "t", "x")["id"] == "L.1"
    bodies = [body_of(request) for request in server.requests]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert len(bodies[0]["key"]) >= 16


def test_each_publish_gets_a_new_key_unless_one_is_given(client: Client) -> None:
    with Scripted(*[answer("200 OK", body=RECEIPT)] * 4) as server:
        for options in ({}, {}, {"key": "k"}, {"retry_for": 0}):
            client.publish(server.url, "t", "x", **options)
    keys = [body_of(request).get("key") for request in server.requests]
    assert len({*keys}) == 4
    assert keys[2:] == ["k", None]


def test_a_permanent_refusal_is_not_retried(client: Client) -> None:
    with Scripted(answer("409 Conflict", body=b'{"code":"topic_ended","detail":"d"}')) as server:
        with pytest.raises(TopicEnded):
            client.publish(server.url, "t", "x")
    assert len(server.requests) == 1


def test_retry_for_limits_the_retries(client: Client) -> None:
    with pytest.raises(Unavailable, match="connection refused"):
        client.publish(f"http://127.0.0.1:{free_port()}", "t", "x", retry_for=0.3)
    with Scripted(answer("503 Full", "Retry-After: 60")) as server, pytest.raises(Unavailable):
        client.publish(server.url, "t", "x")  # a minute is more than there is
    assert len(server.requests) == 1


@pytest.mark.parametrize("retry_for", [-1, 541, float("nan")])
def test_retry_for_must_end_before_the_hub_forgets_a_key(client: Client, retry_for: float) -> None:
    with pytest.raises(InvalidInput, match="540"):
        client.publish("http://127.0.0.1:1", "t", "x", retry_for=retry_for)


def test_a_request_of_many_lines_is_retried_unchanged(client: Client) -> None:
    """Its receipts are yielded once, even if the first answer had some of them."""
    cut_off = answer("200 OK", body=b'{"lines":[1,2],"first":"L.1"}\n')
    draining = b'{"lines":[1,1]}\n{"line":2,"code":"draining","detail":"d","stored":false}\n'
    whole = answer("200 OK", body=b'{"lines":[1,3],"duplicates":2}\n')
    with Scripted(cut_off, answer("200 OK", body=draining), whole) as server:
        assert [receipt["lines"] for receipt in client.publish_many(server.url, [b"{}"] * 3)] == [[1, 3]]
    assert len({(request.get("Idempotency-Key"), request.body) for request in server.requests}) == 1


def test_a_batch_and_an_end_are_retried(client: Client) -> None:
    receipts = b"[%b,%b]" % (RECEIPT, RECEIPT)
    with Scripted(answer("503 No"), answer("200 OK", body=receipts)) as server:
        events = [{"topic": "t", "data": 1}, b'{"topic": "t", "data": 2}']
        assert len(list(client.publish_many(server.url, events, atomic=True))) == 2
    first, second = server.requests
    assert first.body == second.body == b'[{"topic":"t","data":1},{"topic": "t", "data": 2}]'
    assert first.get("Idempotency-Key") == second.get("Idempotency-Key") is not None
    with Scripted(answer("503 No"), answer("200 OK", body=RECEIPT)) as server:
        assert client.end(server.url, "t")["id"] == "L.1"


def test_a_publisher_keeps_its_connection(client: Client) -> None:
    with RunningHub() as hub, client.publisher(hub.url) as publisher:
        ids = [publisher.publish("t", n)["id"] for n in range(3)]
        assert [event.id for event in publisher.history("t")] == ids
        assert publisher.end("t")["duplicate"] is False
        assert hub.connections() == 1


def test_headers_of_a_publish_may_come_from_a_function(client: Client) -> None:
    tokens = iter("ab")
    with Scripted(answer("503 No"), answer("200 OK", body=RECEIPT)) as server:
        client.publish(server.url, "t", "x", headers=lambda: {"Authorization": next(tokens)})
    assert [request.get("Authorization") for request in server.requests] == [b"a", b"b"]


def test_an_answer_that_is_not_a_history_page_is_an_error(client: Client) -> None:
    with Scripted(answer("200 OK", body=b"<html>")) as server, pytest.raises(Unavailable) as caught:
        client.history(server.url, "t", retry_for=0)
    assert caught.value.code == "not_a_hub"


# -- without an event loop


def test_one_publisher_serves_all_threads() -> None:
    with RunningHub() as hub, sync.Publisher(hub.url) as publisher:
        work = [in_thread(lambda n=n: [publisher.publish(f"t/{n}", m) for m in range(20)]) for n in range(8)]  # type: ignore[misc]
        ids = {receipt["id"] for result in work for receipt in result()}
        assert len(ids) == 160
        assert [event.json() for event in publisher.history("t/5")] == list(range(20))


def test_a_publisher_survives_a_fork(tmp_path: Path) -> None:
    """As in a task queue that makes it before it forks its workers: each process has its own connection."""
    program = """
import os, sys, time
from tidewire.client.sync import Publisher
hub = Publisher(sys.argv[1])
hub.publish("t", "parent")
if (child := os.fork()) == 0:
    hub.publish("t", "child")
    print("published", flush=True)
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.02)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
hub.publish("t", "parent")
hub.close()
"""
    go_on = tmp_path / "go-on"
    with RunningHub() as hub:
        with Process([sys.executable, "-c", program, hub.url, go_on]) as process:
            process.wait_line("published")
            assert hub.connections() == 2
            go_on.touch()
            assert process.wait() == 0
        assert [event.data for event in sync.history(hub.url, "t")] == ["parent", "child", "parent"]
        wait_until(lambda: hub.connections() == 0)


def test_a_closed_publisher_refuses_to_publish() -> None:
    publisher = sync.Publisher("http://127.0.0.1:1")
    publisher.close()
    publisher.close()
    with pytest.raises(RuntimeError, match="closed"):
        publisher.publish("t", "x")


def test_closing_a_publisher_ends_its_retries() -> None:
    publisher = sync.Publisher(f"http://127.0.0.1:{free_port()}")

    def attempt() -> type[Exception] | None:
        try:
            publisher.publish("t", "x")
        except (RuntimeError, Unavailable) as error:
            return type(error)
        return None

    result = in_thread(attempt)
    publisher.close()
    assert result() in (RuntimeError, Unavailable)


async def test_events_to_publish_may_come_from_an_async_generator() -> None:
    async def events() -> AsyncIterator[dict[str, Any]]:
        for n in range(3):
            yield {"topic": "t", "data": n}

    with RunningHub() as hub:
        receipts = [receipt async for receipt in aio.publish_many(hub.url, events())]
        assert receipts[-1]["lines"][1] == 3
        atomic = [receipt async for receipt in aio.publish_many(hub.url, events(), atomic=True)]
        assert len(atomic) == 3


async def test_headers_may_be_a_coroutine_function() -> None:
    async def token() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"X-Token": "t"}

    with Scripted(answer("200 OK", body=RECEIPT), stream(b"data: a\n\n")) as server:
        await aio.publish(server.url, "t", "x", headers=token)
        async with aio.connect(server.url, headers=token, reconnect=False) as events:
            assert [event.data async for event in events] == ["a"]
    assert [request.get("X-Token") for request in server.requests] == [b"t", b"t"]
