from __future__ import annotations

import pytest

from tidewire import frames
from tidewire.event_stream import Comment, Decoder, Event
from tidewire.position import Position

AT = Position("aK3x9Q", 41)


def decoded(data: bytes) -> list[Event | Comment]:
    return list(Decoder(comments=True).feed(data))


def test_frames_by_value() -> None:
    assert frames.GREETING == b": tidewire\n\n"
    assert frames.HEARTBEAT == b":\n\n"
    assert frames.retry(2) == b"retry: 2000\n\n"
    assert frames.retry(0.5004) == b"retry: 500\n\n"
    assert frames.position(AT) == b"event: hub.position\nid: aK3x9Q.41\ndata: \n\n"
    assert frames.end("a", "sold", AT) == (
        b'event: hub.end\nid: aK3x9Q.41\ndata: {"topic":"a","reason":"sold"}\n\n'
    )
    assert frames.opened(15.0, "fresh", AT) == (
        b'event: hub.open\ndata: {"heartbeat":15.0,"resume":"fresh","position":"aK3x9Q.41"}\n\n'
    )
    assert frames.error("internal") == b'event: hub.error\ndata: {"code":"internal"}\n\n'
    assert frames.gap({"reason": "trimmed", "oldest": None}, AT) == (
        b'event: hub.gap\nid: aK3x9Q.41\ndata: {"reason":"trimmed","oldest":null}\n\n'
    )


def test_a_position_is_an_event_with_empty_data() -> None:
    # Without a data line it would be no event, and Firefox would not keep its id.
    assert decoded(frames.position(AT)) == [Event("", "hub.position", "aK3x9Q.41")]


@pytest.mark.parametrize("topic", ["日本/é", 'quote"', "back\\slash", "\u2028"])
def test_a_control_event_carries_any_topic(topic: str) -> None:
    (event,) = decoded(frames.end(topic, "line\r\nbreak", AT))
    assert isinstance(event, Event)
    assert event.json() == {"topic": topic, "reason": "line\r\nbreak"}


def test_framing() -> None:
    data = frames.HEARTBEAT * 6
    assert frames.framed(data, "chunked") == b"12\r\n" + data + b"\r\n"
    assert frames.framed(data, "raw") is data
    assert frames.framed(data, "asgi") is data
    assert frames.LAST_CHUNK == b"0\r\n\r\n"


def test_times_to_come_back_are_spread() -> None:
    decoder = Decoder()
    seen = set()
    for _ in range(200):
        decoder.feed(frames.spread_retry(2, 10))
        assert decoder.retry is not None
        assert 2000 <= decoder.retry <= 12_000
        seen.add(decoder.retry)
    assert len(seen) > 150
    assert frames.spread_retry(2, 0) == frames.retry(2)
