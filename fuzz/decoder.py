"""The decoder of text/event-stream. The first byte of an input says where it is cut."""

from __future__ import annotations

from fuzz.running import refused
from tidewire.errors import TooLarge
from tidewire.event_stream import Comment, Decoder, Event, encode

LIMIT = 4096
MAX_PARTS = 256

SEEDS = [
    b"\x04traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\ndata: a\n\n",
    b"\x03data: a\n\nid: 1\nevent: x\ndata: b\ndata\n\n",
    b"\x01\xef\xbb\xbfdata:a\r\n\r\n:comment\r\rretry: 500\r\n\r\ntopic: t/u\ndata: c\r\r",
    b"\x02id: a\x00b\nretry: x\ndata: \xff\n\n",
    b"\x07data: " + b"x" * 5000 + b"\n\n",
    b"\x05data: a\n\n: " + b"x" * 5000,
]


def check(data: bytes) -> None:
    stream = data[1:]
    # The time of an input counts, so it is not cut into thousands of parts.
    size = max(data[0] if data else 1, len(stream) // MAX_PARTS, 1)
    whole = decoded(stream, len(stream) or 1)
    cut = decoded(stream, size)
    assert cut == whole, (cut, whole)
    for event in whole[0]:
        if not isinstance(event, Comment):
            check_again(event)


def decoded(stream: bytes, size: int) -> tuple[list[Event], str, int | None, bool]:
    """Return the events of a stream that comes in parts of `size`, and where the decoder stands then."""
    decoder, events, failed = Decoder(LIMIT, comments=True), list[Event](), False
    try:
        # Events before an excess are returned first, so the error may come with the next call.
        for first in range(0, len(stream) + size, size):
            events += decoder.feed(stream[first : first + size])
    except TooLarge:
        failed = True
    return events, decoder.last_event_id, decoder.retry, failed


def check_again(event: Event) -> None:
    """What was decoded is encoded and decoded again, unless it has a NUL, which only others write."""
    frames: list[bytes] = []
    if not refused(lambda: frames.append(encode(event))):
        (again,) = Decoder(4 * LIMIT).feed(frames[0])
        assert again == event
