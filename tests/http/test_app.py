"""The HTTP API (docs/reference/http.md), over both ways to the socket and behind each server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from support.waiting import wait_until
from support.ways import WAYS, Answer, Listener, Served, raw_request, served
from tidewire.event_stream import Event
from tidewire.position import parse_position

JSON = {"Accept": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module", params=WAYS)
def hub(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(
        request.param, retry=1, max_topics=10, max_event=1000, max_body=20_000, max_line=2000
    ) as running:
        yield running


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic for this test alone, since all tests of this file share the hub."""
    return f"t/{request.node.name.partition('[')[0]}"


def subscribe(hub: Served, path: str, headers: dict[str, str] | None = None) -> tuple[Listener, Event]:
    """Open a stream and return it with its first event, which has its position."""
    listener = hub.listen(path, headers)
    return listener, listener.take(1)[0]


def code(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, answer.json()["code"]


# -- the start of a stream


def test_response_head_by_value(hub: Served, topic: str) -> None:
    with hub.listen(f"/events/{topic}") as listener:
        servers_own = {"date", "server", "transfer-encoding"}
        assert listener.status == 200
        head = {name: value for name, value in listener.headers.items() if name not in servers_own}
        # granian replaces the hop-by-hop header with its own.
        head.setdefault("connection", "close")
        assert head == {
            "content-type": "text/event-stream",
            "cache-control": "no-store, no-transform",
            "x-accel-buffering": "no",
            "x-content-type-options": "nosniff",
            "tidewire-heartbeat": "15",
            "connection": "close",
            "vary": "origin",
        }


def test_first_bytes_are_retry_comment_and_position(hub: Served, topic: str) -> None:
    with hub.listen(f"/events/{topic}") as listener:
        first = listener.take(1)[0]
        assert (first.event, first.data) == ("hub.position", "{}")
        position = parse_position(first.id or "")
        expected = f"retry: 1000\n: tidewire\nevent: hub.position\nid: {position}\ndata: {{}}\n\n"
        assert listener.raw == expected.encode()


def test_publish_reaches_the_subscriber_with_the_id_of_its_receipt(hub: Served, topic: str) -> None:
    listener, _ = subscribe(hub, f"/events/{topic}")
    with listener:
        answer = hub.ask("POST", f"/events/{topic}?event=greeting&retry=5000", b"hello\nworld")
        assert answer.status == 200
        receipt = answer.json()
        assert receipt == {"id": receipt["id"], "duplicate": False, "durability": "memory"}
        event = listener.take(1)[0]
        assert event == Event("hello\nworld", "greeting", receipt["id"])
        assert listener.decoder.retry == 5000


def test_the_type_may_come_as_a_header(hub: Served, topic: str) -> None:
    listener, _ = subscribe(hub, f"/events/{topic}")
    with listener:
        hub.ask("POST", f"/events/{topic}", b"x", {"Event-Type": "greeting"})
        assert listener.take(1)[0].event == "greeting"


# -- resuming


def test_last_event_id_resumes_exactly(hub: Served, topic: str) -> None:
    ids = [hub.publish(topic, str(number)) for number in range(5)]
    hub.publish(f"{topic}/other", "not ours")
    with hub.listen(f"/events/{topic}", {"Last-Event-ID": ids[1]}) as listener:
        assert [(e.id, e.data) for e in listener.take(3)] == [(ids[n], str(n)) for n in (2, 3, 4)]
        live = hub.publish(topic, "live")
        assert listener.take(1)[0].id == live


def test_the_header_wins_over_the_query(hub: Served, topic: str) -> None:
    ids = [hub.publish(topic, str(number)) for number in range(3)]
    path = f"/events/{topic}?last_event_id={ids[0]}&since=start"
    with hub.listen(path, {"Last-Event-ID": ids[1]}) as listener:
        assert listener.take(1)[0].id == ids[2]
    with hub.listen(path) as listener:
        assert listener.take(1)[0].id == ids[1]


@pytest.mark.parametrize(
    ("brought", "reason"),
    [
        ("garbage", "invalid"),
        ("zzzzzz.1", "foreign"),
        ("{life}.999999999", "future"),
        # This engine writes no checks, so a position with a check is from another log.
        ("{life}.1.abcdef", "foreign"),
    ],
)
def test_a_position_that_cannot_be_used_gets_a_gap_first(
    hub: Served, topic: str, brought: str, reason: str
) -> None:
    head = parse_position(hub.publish(topic, "x"))
    brought = brought.format(life=head.life)
    with hub.listen(f"/events/{topic}", {"Last-Event-ID": brought}) as listener:
        gap = listener.take(1)[0]
        assert gap.event == "hub.gap"
        body = gap.json()
        assert (body["reason"], body["topics"]) == (reason, [topic])
        assert body.get("requested") == (None if reason == "invalid" else brought)
        assert parse_position(body["head"]).offset >= head.offset


def test_all_forms_of_since(hub: Served, topic: str) -> None:
    ids = [hub.publish(topic, str(number)) for number in range(4)]

    def first(since: str) -> str | None:
        with hub.listen(f"/events/{topic}?since={since}") as listener:
            event = listener.take(1)[0]
            return event.id if event.event == "message" else listener.take(1)[0].id

    assert first("start") == ids[0]
    assert first("last:2") == ids[2]
    assert first(ids[1]) == ids[2]
    assert first("10m") == ids[0]
    assert first("2020-01-01T00:00:00Z") == ids[0]
    listener, position = subscribe(hub, f"/events/{topic}?since=now")
    listener.close()
    assert position.event == "hub.position"
    assert code(hub.ask("GET", f"/events/{topic}?since=yesterday")) == (400, "invalid_since")


def test_hub_open_is_sent_only_if_asked_for(hub: Served, topic: str) -> None:
    head = hub.publish(topic, "x")
    with hub.listen(f"/events/{topic}?control=open", {"Last-Event-ID": head}) as listener:
        opened = listener.take(1)[0]
        assert opened.event == "hub.open"
        assert opened.json() == {"heartbeat": 15, "resume": "complete", "position": head}


# -- topics


def test_patterns_and_the_topic_field(hub: Served, topic: str) -> None:
    listener, _ = subscribe(hub, f"/events?topic={topic}/*&topic=other")
    with listener:
        hub.publish(f"{topic}/a", "1")
        hub.publish(f"{topic}/a/b", "too deep")
        hub.publish(f"{topic}/b", "2")
        assert [(e.topic, e.data) for e in listener.take(2)] == [(f"{topic}/a", "1"), (f"{topic}/b", "2")]
    listener, _ = subscribe(hub, f"/events/{topic}")
    with listener:
        hub.publish(topic, "x")
        assert listener.take(1)[0].topic is None


@pytest.mark.parametrize("name", ["a%20b", "a//b", "caf%C3%A9", "https://example.com/x", "%252F", "a%3Fb"])
def test_topics_in_the_path_are_decoded_once(hub: Served, name: str) -> None:
    listener, _ = subscribe(hub, "/events?topic=**&since=now")
    with listener:
        hub.ask("POST", f"/events/{name}", b"x")
        expected = {"a%20b": "a b", "caf%C3%A9": "café", "%252F": "%2F", "a%3Fb": "a?b"}.get(name, name)
        assert listener.take(1)[0].topic == expected


def test_a_topic_that_does_not_fit_a_path_is_passed_as_a_parameter(hub: Served) -> None:
    listener, _ = subscribe(hub, "/events?topic=..")
    with listener:
        assert hub.ask("POST", "/events?topic=..", b"up").status == 200
        assert listener.take(1)[0].data == "up"


# -- the end of a topic


def test_ending_a_topic_closes_its_streams_and_then_answers_204(hub: Served, topic: str) -> None:
    listener, _ = subscribe(hub, f"/events/{topic}")
    with listener:
        before = hub.publish(topic, "last words")
        answer = hub.ask("DELETE", f"/events/{topic}?reason=done")
        end = answer.json()["id"]
        events = listener.rest()
    assert [(e.id, e.event) for e in events] == [(before, "message"), (end, "hub.end")]
    assert events[1].json() == {"topic": topic, "reason": "done"}
    again = hub.ask("DELETE", f"/events/{topic}").json()
    assert (again["id"], again["duplicate"]) == (end, True)
    refused = hub.ask("POST", f"/events/{topic}", b"x")
    assert code(refused) == (409, "topic_ended")
    assert refused.json()["stored"] is False
    assert hub.ask("GET", f"/events/{topic}").status == 204
    assert hub.ask("GET", f"/events/{topic}", headers={"Last-Event-ID": end}).status == 204
    with hub.listen(f"/events/{topic}", {"Last-Event-ID": before}) as late:
        assert [e.event for e in late.rest()] == ["hub.end"]
    with hub.listen(f"/events/{topic}", {"Last-Event-ID": "garbage"}) as lost:
        assert [e.event for e in lost.rest()] == ["hub.gap", "hub.end"]
    assert hub.ask("GET", f"/events/{topic}", headers=JSON).json()["ended"] is True


def test_a_stream_continues_while_one_of_its_topics_is_open(hub: Served, topic: str) -> None:
    listener, _ = subscribe(hub, f"/events?topic={topic}/a&topic={topic}/b")
    with listener:
        hub.ask("DELETE", f"/events/{topic}/a")
        hub.publish(f"{topic}/b", "still here")
        assert [e.event for e in listener.take(2)] == ["hub.end", "message"]


# -- the page of history


def test_history_page(hub: Served, topic: str) -> None:
    ids = [hub.publish(topic, str(number)) for number in range(5)]
    page = hub.ask("GET", f"/events/{topic}?limit=2", headers=JSON).json()
    first = {"id": ids[0], "topic": topic, "event": "message", "data": "0"}
    assert page["events"][0] == first
    assert (len(page["events"]), page["next"], page["more"]) == (2, ids[1], True)
    assert (page["ended"], page["gap"]) == (False, None)
    rest = hub.ask("GET", f"/events/{topic}?since={page['next']}", headers=JSON).json()
    assert [event["id"] for event in rest["events"]] == ids[2:]
    assert rest["more"] is False
    gap = hub.ask("GET", f"/events/{topic}?since=zzzzzz.7", headers=JSON).json()["gap"]
    assert gap["reason"] == "foreign"


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "1.5"])
def test_history_limit(hub: Served, limit: str) -> None:
    assert code(hub.ask("GET", f"/events/a?limit={limit}", headers=JSON)) == (400, "invalid_limit")


# -- publishing


def post(hub: Served, body: Any, headers: dict[str, str] | None = None) -> Answer:
    return hub.ask(
        "POST", "/events", json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
    )


def test_publish_json_and_batch(hub: Served, topic: str) -> None:
    listener, _ = subscribe(hub, f"/events/{topic}")
    with listener:
        one = post(hub, {"topic": topic, "data": {"n": 1}, "event": "e"}).json()
        many = post(hub, [{"topic": topic, "data": "a"}, {"topic": topic, "data": [1, "é"]}]).json()
        assert isinstance(many, list)
        ids = [one["id"], *(receipt["id"] for receipt in many)]
        expected = [(ids[0], "e", '{"n":1}'), (ids[1], "message", "a"), (ids[2], "message", '[1,"é"]')]
        assert [(e.id, e.event, e.data) for e in listener.take(3)] == expected


def test_a_batch_is_stored_whole_or_not_at_all(hub: Served, topic: str) -> None:
    head = hub.publish(topic, "before")
    answer = post(hub, [{"topic": topic, "data": "a"}, {"topic": "a*b", "data": "b"}])
    assert code(answer) == (400, "invalid_topic")
    assert (answer.json()["index"], answer.json()["stored"]) == (1, False)
    assert hub.ask("GET", f"/events/{topic}?since={head}", headers=JSON).json()["events"] == []
    assert code(post(hub, [{"topic": topic}] * 1001))[0] in (400, 413)


def test_keys_make_a_publish_repeatable(hub: Served, topic: str) -> None:
    first = hub.ask("POST", f"/events/{topic}", b"x", {"Idempotency-Key": "k"}).json()
    again = hub.ask("POST", f"/events/{topic}", b"x", {"Idempotency-Key": "k"}).json()
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    assert code(hub.ask("POST", f"/events/{topic}", b"y", {"Idempotency-Key": "k"})) == (422, "key_conflict")
    batch = [{"topic": topic, "data": "a"}, {"topic": topic, "data": "b"}]
    ids = [receipt["id"] for receipt in post(hub, batch, {"Idempotency-Key": "b"}).json()]
    assert [receipt["id"] for receipt in post(hub, batch, {"Idempotency-Key": "b"}).json()] == ids
    batch[1]["data"] = "c"
    conflict = post(hub, batch, {"Idempotency-Key": "b"})
    assert code(conflict) == (422, "key_conflict")
    assert conflict.json()["index"] == 1


def ndjson(hub: Served, lines: list[Any], path: str = "/events", **headers: str) -> list[Any]:
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    answer = hub.ask("POST", path, text.encode(), {**NDJSON, **headers})
    assert answer.status == 200
    return [json.loads(line) for line in answer.body.splitlines()]


def test_a_byte_order_mark_before_json_is_ignored(hub: Served, topic: str) -> None:
    """Editors and shells of Windows begin a file with it. Within the text it is an error."""
    mark = "\ufeff"
    line = json.dumps({"topic": topic, "data": "a"}) + "\n"
    answer = hub.ask("POST", "/events", (mark + line).encode(), {"Content-Type": "application/json"})
    assert answer.status == 200, answer.body
    (receipt,) = ndjson(hub, [mark, line, line])
    assert receipt["lines"] == [1, 2]
    stored, refused = ndjson(hub, [line, mark + line])
    assert stored["lines"] == [1, 1]
    assert (refused["line"], refused["stored"]) == (2, False)
    events = hub.ask("GET", f"/events/{topic}", headers=JSON).json()["events"]
    assert [event["data"] for event in events] == ["a"] * 4


def test_ingest_sends_receipts_as_ranges(hub: Served, topic: str) -> None:
    listener, _ = subscribe(hub, f"/events/{topic}")
    with listener:
        receipts = ndjson(hub, [{"topic": topic, "data": str(n)} for n in range(500)])
        events = listener.take(500)
    assert [event.data for event in events] == [str(n) for n in range(500)]
    assert receipts[0]["lines"][0] == 1
    assert receipts[-1]["lines"][1] == 500
    for before, after in pairwise(receipts):
        assert before["lines"][1] + 1 == after["lines"][0]
    assert receipts[0]["first"] == events[0].id
    assert receipts[-1]["last"] == events[-1].id
    assert receipts[0]["durability"] == "memory"


def test_ingest_with_a_receipt_for_each_line(hub: Served, topic: str) -> None:
    lines = [{"topic": topic, "data": "a"}, {"topic": topic, "data": "b"}]
    receipts = ndjson(hub, lines, "/events?receipts=each", **{"Idempotency-Key": "i"})
    assert [(r["line"], r["duplicate"]) for r in receipts] == [(1, False), (2, False)]
    again = ndjson(hub, lines, "/events?receipts=each", **{"Idempotency-Key": "i"})
    assert [(r["id"], r["duplicate"]) for r in again] == [(r["id"], True) for r in receipts]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("not json\n", "invalid_json"),
        ({"data": "no topic"}, "missing_topic"),
        ({"topic": "a", "id": "1"}, "id_not_allowed"),
        ({"topic": "x" * 600}, "invalid_topic"),
        ({"topic": "a", "data": "x" * 1001}, "event_too_large"),
        ({"topic": "a", "data": "x" * 3000}, "line_too_large"),
    ],
)
def test_a_bad_line_ends_the_ingest_and_is_named(hub: Served, topic: str, bad: Any, expected: str) -> None:
    lines = [{"topic": topic, "data": "1"}, {"topic": topic, "data": "2"}, bad, {"topic": topic, "data": "4"}]
    receipts = ndjson(hub, lines)
    assert receipts[0]["lines"] == [1, 2]
    last = receipts[-1]
    assert (last["line"], last["code"], last["stored"]) == (3, expected, False)
    events = hub.ask("GET", f"/events/{topic}", headers=JSON).json()["events"]
    assert [event["data"] for event in events[-2:]] == ["1", "2"]


def test_lines_before_one_that_the_log_refuses_are_stored(hub: Served, topic: str) -> None:
    hub.ask("DELETE", f"/events/{topic}/over")
    lines = [{"topic": topic, "data": "1"}, {"topic": f"{topic}/over", "data": "2"}]
    receipts = ndjson(hub, lines)
    assert receipts[0]["lines"] == [1, 1]
    assert (receipts[-1]["line"], receipts[-1]["code"]) == (2, "topic_ended")


def test_ingest_sends_receipts_while_the_body_is_being_sent(hub: Served, topic: str) -> None:
    line = json.dumps({"topic": topic, "data": "x"}).encode() + b"\n"
    head = f"POST /events HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\nTransfer-Encoding: chunked\r\n"
    with socket.create_connection(("127.0.0.1", hub.port), 10) as client:
        client.sendall(f"{head}Content-Type: application/x-ndjson\r\n\r\n".encode())
        client.sendall(b"%x\r\n%b\r\n" % (len(line), line))
        received = b""
        while b'"lines":[1,1]' not in received:
            part = client.recv(65536)
            assert part
            received += part
        client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(line), line))
        while b'"lines":[2,2]' not in received:
            part = client.recv(65536)
            assert part
            received += part


# -- the rest of the API


def test_methods(hub: Served, topic: str) -> None:
    refused = hub.ask("PUT", f"/events/{topic}", b"x")
    assert code(refused) == (405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD, POST, DELETE, OPTIONS"
    assert code(hub.ask("POST", "/health/live")) == (405, "method_not_allowed")
    assert code(hub.ask("GET", "/nothing")) == (404, "not_found")
    assert code(hub.ask("GET", "/events")) == (400, "missing_topic")
    assert code(hub.ask("POST", "/events", b"<x/>", {"Content-Type": "application/xml"}))[0] == 415


def test_head_of_a_stream(hub: Served, topic: str) -> None:
    answer = hub.ask("HEAD", f"/events/{topic}")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream"


def test_health_metrics_and_the_browser_client(hub: Served, topic: str) -> None:
    assert hub.ask("GET", "/health/live").json() == {"status": "live"}
    assert hub.ask("GET", "/health/ready").json() == {"status": "ready"}
    hub.publish(topic, "x")
    metrics = hub.ask("GET", "/metrics").body.decode()
    assert "tidewire_published_events_total" in metrics
    assert topic not in metrics
    script = hub.ask("GET", "/tidewire.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert b"EventStream" in script.body


def test_http_1_0(hub: Served, topic: str) -> None:
    hub.ask("DELETE", f"/events/{topic}")
    answer = raw_request(
        hub.port, f"GET /events/{topic}?since=start HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode()
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    # uvicorn alone sends chunks to HTTP/1.0 clients, which cannot read them; our protocol does not.
    assert b"transfer-encoding" not in head.lower() or hub.way == "uvicorn"
    assert b"event: hub.end" in body


def test_a_stream_is_removed_when_its_client_disconnects(hub: Served, topic: str) -> None:
    def streams() -> float:
        text = hub.ask("GET", "/metrics").body.decode()
        line = next(line for line in text.splitlines() if line.startswith("tidewire_open_streams "))
        return float(line.split()[1])

    wait_until(lambda: streams() == 0)
    listeners = [hub.listen(f"/events/{topic}") for _ in range(5)]
    wait_until(lambda: streams() == 5)
    for listener in listeners:
        listener.close()
    wait_until(lambda: streams() == 0)
