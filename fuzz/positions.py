"""Positions, and where else a client says that a stream starts: `Last-Event-ID` and the query."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from fuzz.running import refused
from tidewire.errors import InvalidPosition
from tidewire.http.requests import Request, read_claim, read_since, read_subscription, topic_of
from tidewire.position import parse_position

SEEDS = [
    *(b"q7Zp2K.1042", b"q7Zp2K.1042.f7", b"q7Zp2K.0", b"q7Zp2K.9223372036854775807", b"$", b"0-0"),
    *(b"now", b"start", b"last:10", b"10m", b"2026-11-26T10:00:00+01:00", b"2026-11-26T10:00:00 01:00"),
    *(b"topic=a&since=now", b"last_event_id=x&lastEventId=y", b"control=open&limit=5"),
]


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        position = parse_position(text)
    except InvalidPosition:
        pass
    else:
        assert str(position) == text
    refused(lambda: read_since(text))
    # A header is never refused for what it holds, only for its length.
    request = read(b"", data)
    if len(data) <= 4096:
        read_claim(request, "now")
    for query in (data, b"topic=a&since=" + quote_from_bytes(data).encode(), b"topic=a&" + data):
        refused(lambda query=query: subscribe(query))


def subscribe(query: bytes) -> None:
    request = read(query)
    read_subscription(request, topic_of(request), 100)


def read(query: bytes, last_event_id: bytes | None = None) -> Request:
    headers = [] if last_event_id is None else [(b"last-event-id", last_event_id)]
    return Request({"method": "GET", "path": "/events", "query_string": query, "headers": headers})
