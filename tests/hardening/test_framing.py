"""
The attacks A of docs/reference/attacks.md.

What is published arrives as it was, and adds no line to anybody's stream.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from support.ways import Answer, Served
from tidewire import Hub
from tidewire.errors import InvalidInput, Reserved, TidewireError
from tidewire.event_stream import Event, comment, encode


def refused(answer: Answer, status: int, code: str) -> None:
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status, problem["code"], problem["stored"]) == (status, code, False)


def sent(hub: Served, topic: str, data: bytes, query: str = "") -> Event:
    """Publish one event and return it as a subscriber receives it."""
    with hub.listen(f"/events/{topic}") as listener:
        listener.take(1)
        assert hub.ask("POST", f"/events/{topic}{query}", data).status == 200
        hub.publish(topic, "the next one")
        event, after = listener.take(2)
        assert after.data == "the next one"
        return event


@pytest.mark.parametrize("type_", ["x\nevent: admin", "x\revent: admin", "x\0", "\r", "\n"])
def test_a01_a02_injection_by_the_type(hub: Served, type_: str) -> None:
    refused(hub.ask("POST", f"/events/a01?event={quote(type_)}", b"x"), 400, "invalid_type")
    body = json.dumps({"topic": "a01", "data": "x", "event": type_})
    refused(hub.ask("POST", "/events", body), 400, "invalid_type")
    assert hub.ask("GET", "/events/a01", headers={"Accept": "application/json"}).json()["events"] == []


@pytest.mark.parametrize("key", ["a\tb", "a\x1bb", "x" * 129, "", "\u202e"])
def test_a03_keys(hub: Served, key: str) -> None:
    body = json.dumps({"topic": "a03", "data": "x", "key": key})
    refused(hub.ask("POST", "/events", body), 400, "invalid_key")


def test_a03_an_id_chosen_by_the_publisher(hub: Served) -> None:
    refused(hub.ask("POST", "/events", json.dumps({"topic": "a03", "id": "1"})), 400, "id_not_allowed")
    refused(hub.ask("POST", "/events/a03?id=1", b"x"), 400, "id_not_allowed")


@pytest.mark.parametrize("data", ["a\rb", "a\r\nb", "a\nb"])
def test_a04_line_ends_become_lf(hub: Served, data: str) -> None:
    assert sent(hub, "a04", data.encode()).data == "a\nb"


def test_a05_a_whole_event_as_data(hub: Served) -> None:
    data = "x\n\nevent: admin\ndata: {}\n\n"
    event = sent(hub, "a05", data.encode())
    assert (event.event, event.data) == ("message", data)


@pytest.mark.parametrize(
    "data",
    [
        *(" x", "\tx", ":x", "data: x"),  # A06
        "",  # A07
        *("a\n", "\n", "\n\n"),  # A08
        *(f"a{char}b" for char in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"),  # A09
        *("a\0b", "\ufeffx"),  # A10
    ],
)
def test_a06_to_a10_data_arrives_byte_for_byte(hub: Served, data: str) -> None:
    assert sent(hub, "a06", data.encode()).data == data


def test_a10_a_stream_does_not_start_with_data(hub: Served) -> None:
    with hub.listen("/events/a10") as listener:
        listener.take(1)
        assert listener.raw.startswith(b"retry: ")


@pytest.mark.parametrize("body", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", "x".encode("utf-16")])
def test_a11_bodies_that_are_not_utf8(hub: Served, body: bytes) -> None:
    refused(hub.ask("POST", "/events/a11", body), 400, "invalid_utf8")
    wrapped = b'{"topic":"a11","data":"' + body + b'"}'
    assert hub.ask("POST", "/events", wrapped).status == 400


@pytest.mark.parametrize("retry", [0, -1, 1, 1e12, True, 1.5, "5\nid: x", "1000", 499, 600_001])
def test_a13_retry(hub: Served, retry: Any) -> None:
    refused(hub.ask("POST", "/events", json.dumps({"topic": "a13", "retry": retry})), 400, "invalid_retry")
    if retry != "1000":
        text = quote(str(retry))
        refused(hub.ask("POST", f"/events/a13?retry={text}", b"x"), 400, "invalid_retry")


@pytest.mark.parametrize("type_", ["hub.gap", "hub.", "hub.anything"])
def test_a14_reserved_types(hub: Served, type_: str) -> None:
    refused(hub.ask("POST", f"/events/a14?event={type_}", b"x"), 403, "reserved_type")


@pytest.mark.parametrize("topic", ["$sys/x", "$", "/.well-known/x"])
def test_a15_reserved_topics(hub: Served, topic: str) -> None:
    refused(hub.ask("POST", f"/events?topic={quote(topic)}", b"x"), 403, "reserved_topic")
    refused(hub.ask("DELETE", f"/events?topic={quote(topic)}"), 403, "reserved_topic")
    refused(hub.ask("POST", "/events", json.dumps({"topic": topic})), 403, "reserved_topic")


@pytest.mark.parametrize("topic", ["a%0d%0ab", "a%00", "a%1b", "a%e2%80%ae", "a%ed%a0%80b", "%ff"])
def test_a16_topics_with_control_characters(hub: Served, topic: str) -> None:
    for method, body in (("POST", b"x"), ("DELETE", None), ("GET", None)):
        for path in (f"/events/{topic}", f"/events?topic={topic}"):
            answer = hub.ask(method, path, body)
            assert answer.status == 400, (method, path)
            assert answer.json()["code"] in ("invalid_topic", "invalid_utf8", "invalid_query")


def test_a16_a_lone_surrogate_in_json(hub: Served) -> None:
    for body in (rb'{"topic":"a\ud800"}', rb'{"topic":"a","data":"\ud800"}'):
        assert hub.ask("POST", "/events", body).status == 400


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"event": "a\rb"}, "invalid_type"),
        ({"event": 7}, "invalid_type"),
        ({"retry": True}, "invalid_retry"),
        ({"retry": 1}, "invalid_retry"),
        ({"key": "\n"}, "invalid_key"),
        ({"data": b"\xff"}, "invalid_utf8"),
        ({"data": "\ud800"}, "invalid_utf8"),
        ({"data": object()}, "invalid_data"),
    ],
)
async def test_a17_the_library_has_the_same_validator(arguments: dict[str, Any], code: str) -> None:
    hub = Hub()
    async with hub.lifespan():
        with pytest.raises(ValueError, match=".") as caught:
            await hub.publish("a17", **arguments)
        assert isinstance(caught.value, TidewireError)
        assert caught.value.code == code
        with pytest.raises(Reserved):
            await hub.publish("a17", event="hub.gap")


@pytest.mark.parametrize(
    "event",
    [Event("x", "a\nb"), Event("x", "a\rb"), Event("x", "a\0"), Event("x", id="1\n2"), Event("x", id="\0")],
)
def test_a17_a18_the_encoder_has_the_same_validator(event: Event) -> None:
    with pytest.raises(InvalidInput):
        encode(event)


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b"])
def test_a19_comments(text: str) -> None:
    with pytest.raises(InvalidInput):
        comment(text)
