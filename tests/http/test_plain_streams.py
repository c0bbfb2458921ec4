"""Plain streams: the publisher's events and nothing else, and no end that is not one, on every server."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator

import pytest

from support.waiting import PATIENCE, wait_until
from support.ways import CUT_AT_STOP, WAYS, Served, served

POSITION = "tidewire-position"


@pytest.fixture(scope="module", params=WAYS)
def hub(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(
        request.param, "plain_streams:app", max_age=1, max_age_portable=1, retention_entries=20
    ) as running:
        yield running


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return f"t/{request.node.originalname}"


# Through the hub's own app by `?control=none`, in a program by `control=False`, and that behind middleware.
FRONTS = {"app": "/hub/events/{}?control=none", "program": "/stream/{}", "middleware": "/wrapped/stream/{}"}


@pytest.fixture(params=FRONTS)
def path(request: pytest.FixtureRequest, topic: str) -> str:
    return FRONTS[request.param].format(f"{topic}/{request.param}")


def topic_in(path: str) -> str:
    return "t/" + path.partition("/t/")[2].partition("?")[0]


def publish(hub: Served, path: str, data: str) -> str:
    answer = hub.ask("POST", f"/hub/events/{topic_in(path)}", data.encode())
    assert answer.status == 200, answer
    return str(answer.json()["id"])


def end(hub: Served, path: str) -> None:
    assert hub.ask("DELETE", f"/hub/events/{topic_in(path)}").status == 200


def wait_open(hub: Served, path: str, count: int = 1) -> None:
    wait_until(lambda: hub.ask("GET", f"/count/{topic_in(path)}").json() == count)


def test_the_whole_body_is_the_publishers_events(hub: Served, path: str) -> None:
    with hub.listen(path) as listener:
        wait_open(hub, path)
        first = publish(hub, path, "one\u2028\ntwo")
        second = publish(hub, path, "three")
        listener.take(2)
        end(hub, path)
        assert listener.rest() == []
    head = (
        f"retry: 2000\n: tidewire\nid: {first}\ndata: one\u2028\ndata: two\n\nid: {second}\ndata: three\n\n"
    )
    assert listener.raw == head.encode()
    assert listener.headers["content-type"] == "text/event-stream"
    before = listener.headers[POSITION]
    with hub.listen(path, {"Last-Event-ID": before}) as again:
        assert [event.data for event in again.rest()] == ["one\u2028\ntwo", "three"]
    assert again.raw == head.encode()
    assert again.headers[POSITION] == before
    assert hub.ask("GET", path, headers={"Last-Event-ID": again.decoder.last_event_id}).status == 204


@pytest.mark.parametrize(("brought", "reason"), [("AAAAAA.1", "foreign"), ("?", "invalid")])
def test_a_position_that_cannot_be_continued_is_410(
    hub: Served, path: str, brought: str, reason: str
) -> None:
    newest = publish(hub, path, "x")
    answer = hub.ask("GET", path, headers={"Last-Event-ID": brought})
    assert answer.status == 410
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["reason"], problem["head"]) == ("gap", reason, newest)
    assert problem["topics"] == [topic_in(path)]


def test_a_plain_stream_has_no_maximum_age(hub: Served, path: str) -> None:
    normal = f"/hub/events/{topic_in(path)}"
    with hub.listen(path) as listener, hub.listen(normal) as aged:
        assert [event.event for event in aged.rest()] == ["hub.position"]
        with hub.listen(normal) as aged:
            assert [event.event for event in aged.rest()] == ["hub.position"]
        publish(hub, path, "still open")
        assert [event.data for event in listener.take(1)] == ["still open"]


def test_a_post_can_be_answered_by_one(hub: Served, topic: str) -> None:
    connection = socket.create_connection(("127.0.0.1", hub.port), PATIENCE)
    with connection, connection.makefile("rb") as stream:
        body = json.dumps({"question": "why"})
        head = f"POST /stream/{topic} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body.encode())
        while b"tidewire" not in (line := stream.readline()) or b":" not in line[:1]:
            assert line
        wait_until(lambda: hub.ask("GET", f"/count/{topic}").json() == 1)
        publish(hub, f"/{topic}", "because")
        end(hub, f"/{topic}")
        lines = []
        while (line := stream.readline()) != b"0\r\n":  # granian keeps the connection open for half a minute
            assert line
            lines.append(line)
        assert stream.readline() == b"\r\n"
    assert b"data: because\n\n" in b"".join(lines)


def test_a_native_client_is_refused_by_status_too() -> None:
    with served("takeover", "plain_streams:app", max_streams=1) as hub, hub.listen("/stream/t/x"):
        for path in ("/stream/t/x", "/hub/events/t/x?control=none"):
            answer = hub.ask("GET", path)
            assert (answer.status, answer.json()["code"]) == (503, "full")
            assert int(answer.headers["retry-after"]) >= 1
        assert hub.ask("GET", "/hub/events/t/x").status == 200


# -- what cuts


def test_a_gap_in_mid_stream_cuts(hub: Served, path: str) -> None:
    """The reader is so slow that retention overtakes it."""
    with hub.listen(path) as listener:
        wait_open(hub, path)
        publish(hub, path, "first")
        assert [event.data for event in listener.take(1)] == ["first"]
        for _ in range(200):
            publish(hub, path, "x" * 200_000)
        events = listener.rest_until_cut()
    assert all(event.event == "message" for event in events)
    assert b"hub." not in listener.raw
    assert hub.ask("GET", path, headers={"Last-Event-ID": listener.decoder.last_event_id}).status == 410


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("way", CUT_AT_STOP)
def test_a_drain_cuts(way: str, front: str) -> None:
    path = FRONTS[front].format("t/x")
    with served(way, "plain_streams:app") as hub, hub.listen(path) as listener:
        wait_open(hub, path)
        publish(hub, path, "first")
        assert [event.data for event in listener.take(1)] == ["first"]
        hub.process.send_signal(signal.SIGTERM)
        assert listener.rest_until_cut() == []
        assert listener.decoder.retry is not None


@pytest.mark.parametrize("front", ["app", "program"])
def test_a_drain_resets_http_1_0(front: str) -> None:
    """Without chunks a closed connection is a proper end."""
    path = FRONTS[front].format("t/x")
    with served("takeover", "plain_streams:app") as hub:
        with socket.create_connection(("127.0.0.1", hub.port), PATIENCE) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            wait_open(hub, path)
            hub.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionResetError):
                while client.recv(65536):
                    pass


def test_the_end_of_a_topic_is_a_proper_end_for_http_1_0() -> None:
    with served("takeover", "plain_streams:app") as hub:
        with socket.create_connection(("127.0.0.1", hub.port), PATIENCE) as client:
            client.sendall(b"GET /stream/t/x HTTP/1.0\r\n\r\n")
            wait_open(hub, "/t/x")
            publish(hub, "/t/x", "last")
            end(hub, "/t/x")
            body = b""
            while part := client.recv(65536):
                body += part
    assert body.endswith(b"data: last\n\n")
