from __future__ import annotations

import pytest

from tidewire import hub_events
from tidewire.delivery.framing import LAST_CHUNK, framed
from tidewire.event_stream import Comment, Decoder, Event, encode
from tidewire.position import Position

AT = Position("aK3x9Q", 41)


def decoded(data: bytes) -> list[Event | Comment]:
    return list(Decoder(comments=True).feed(data))


def test_events_by_value() -> None:
    assert hub_events.GREETING == b": tidewire\n"
    assert hub_events.HEARTBEAT == b":\n"
    assert hub_events.retry(2) == b"retry: 2000\n"
    assert hub_events.retry(0.5004) == b"retry: 500\n"
    assert hub_events.position(AT) == b"event: hub.position\nid: aK3x9Q.41\ndata: {}\n\n"
    assert hub_events.end("a", "sold", AT) == (
        b'event: hub.end\nid: aK3x9Q.41\ndata: {"topic":"a","reason":"sold"}\n\n'
    )
    assert hub_events.opened(15.0, "fresh", AT) == (
        b'event: hub.open\ndata: {"heartbeat":15.0,"resume":"fresh","position":"aK3x9Q.41"}\n\n'
    )
    assert hub_events.error("internal") == b'event: hub.error\ndata: {"code":"internal"}\n\n'
    assert hub_events.gap({"reason": "trimmed", "oldest": None}, AT) == (
        b'event: hub.gap\nid: aK3x9Q.41\ndata: {"reason":"trimmed","oldest":null}\n\n'
    )


def test_a_position_is_an_event_with_empty_data() -> None:
    # Without a data line it would not be an event, and Firefox would not keep its id.
    assert decoded(hub_events.position(AT)) == [Event("{}", "hub.position", "aK3x9Q.41")]


@pytest.mark.parametrize("topic", ["日本/é", 'quote"', "back\\slash", "\u2028"])
def test_a_control_event_carries_any_topic(topic: str) -> None:
    (event,) = decoded(hub_events.end(topic, "line\r\nbreak", AT))
    assert isinstance(event, Event)
    assert event.json() == {"topic": topic, "reason": "line\r\nbreak"}


def test_framing() -> None:
    data = hub_events.HEARTBEAT * 9
    assert framed(data, "chunked") == b"12\r\n" + data + b"\r\n"
    assert framed(data, "raw") is data
    assert framed(data, "asgi") is data
    assert LAST_CHUNK == b"0\r\n\r\n"


def test_spread_retries_are_random() -> None:
    decoder = Decoder()
    seen = set()
    for _ in range(200):
        decoder.feed(hub_events.spread_retry(2, 10))
        assert decoder.retry is not None
        assert 2000 <= decoder.retry <= 12_000
        seen.add(decoder.retry)
    assert len(seen) > 150
    assert hub_events.spread_retry(2, 0) == hub_events.retry(2)


@pytest.mark.parametrize("blank", [b"", b"\n"], ids=["as written now", "with blank lines"])
def test_our_decoder_reads_both_spellings_of_what_is_no_event(blank: bytes) -> None:
    between = hub_events.HEARTBEAT + blank
    stream = hub_events.retry(2) + blank + hub_events.GREETING + blank + hub_events.position(AT)
    stream += between * 3 + encode(Event("x", id="aK3x9Q.42")) + between + hub_events.retry(5) + blank
    for size in (1, 7, len(stream)):
        decoder = Decoder()
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        events = [event for chunk in chunks for event in decoder.feed(chunk)]
        assert events == [Event("{}", "hub.position", "aK3x9Q.41"), Event("x", id="aK3x9Q.42")]
        assert decoder.retry == 5000
