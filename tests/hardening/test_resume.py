"""The attacks B of docs/reference/attacks.md: positions that the hub never sent."""

from __future__ import annotations

import random
from urllib.parse import quote

import pytest

from support.ways import Served
from tidewire.position import parse_position


def test_b01_a_last_event_id_that_is_too_long(hub: Served) -> None:
    assert hub.ask("GET", "/events/b01", headers={"Last-Event-ID": "x" * 9 * 1024}).status == 431
    with hub.listen("/events/b01", {"Last-Event-ID": "x" * 900}) as listener:
        gap = listener.take(1)[0]
        assert (listener.status, gap.event, gap.json()["reason"]) == (200, "hub.gap", "invalid")


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("garbage", "invalid"),
        ("{life}.-1", "invalid"),
        ("{life}.01", "invalid"),
        ("{life}.9999999999999999999", "invalid"),
        ("othery.1", "foreign"),
        ("{life}.1.zzzzzz", "foreign"),
        ("{life}.123456789", "future"),
        ("AbCdEf.0", "foreign"),
    ],
)
def test_b02_positions_of_other_logs(hub: Served, position: str, reason: str) -> None:
    life = parse_position(hub.publish("b02", "x")).life
    with hub.listen("/events/b02", {"Last-Event-ID": position.format(life=life)}) as listener:
        gap = listener.take(1)[0]
        assert (gap.event, gap.json()["reason"]) == ("hub.gap", reason)
        after = hub.publish("b02", "the stream goes on")
        events = listener.take(1)
        while events[-1].id != after:
            events = listener.take(1)


ENGINE_WORDS = ["$", ">", "+", "-", "*", "0-0", "' OR 1=1--", "\\x00", "%s", "{}", "\U0001f30a", "*" * 40]


@pytest.mark.parametrize("text", ENGINE_WORDS)
def test_b03_text_that_means_something_to_an_engine(hub: Served, text: str) -> None:
    for path, headers in (
        ("/events/b03", {"Last-Event-ID": text.encode().decode("latin-1")}),
        (f"/events/b03?last_event_id={quote(text)}", {}),
    ):
        with hub.listen(path, headers) as listener:
            assert listener.take(1)[0].json()["reason"] == "invalid"


def test_b05_the_header_wins(hub: Served) -> None:
    first = hub.publish("b05", "1")
    second = hub.publish("b05", "2")
    with hub.listen(f"/events/b05?last_event_id={first}", {"Last-Event-ID": second}) as listener:
        third = hub.publish("b05", "3")
        assert listener.take(1)[0].id == third


def test_b07_many_clients_resume_far_back_during_publishes(hub: Served) -> None:
    line = b'{"topic":"b07","data":"x"}\n'
    first = hub.publish("b07", "first")
    for _ in range(6):
        hub.ask("POST", "/events", line * 5000, {"Content-Type": "application/x-ndjson"})
    listeners = [hub.listen("/events/b07", {"Last-Event-ID": first}) for _ in range(50)]
    try:
        # Published while all of them read: it is stored, and each of them receives it.
        last = hub.publish("b07", "last")
        for listener in random.sample(listeners, 5):
            events = listener.take(30_001)
            assert [parse_position(event.id or "").offset for event in events[:-1]] == list(
                range(parse_position(first).offset + 1, parse_position(first).offset + 30_001)
            )
            assert events[-1].id == last
    finally:
        for listener in listeners:
            listener.close()
