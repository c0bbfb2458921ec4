"""Bodies of publishes: data, a JSON object, a batch, and lines of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from fuzz.running import refused
from tidewire.errors import TidewireError
from tidewire.event_stream import Decoder
from tidewire.http.body import Lines
from tidewire.log.drafts import check_data, draft_of, drafts_of
from tidewire.log.entries import Draft, Entry
from tidewire.log.json_text import read_json
from tidewire.position import Position

MAX_EVENT = 256 * 1024

SEEDS = [
    b'{"topic": "a", "data": "x"}',
    b'{"topic": "a", "data": {"n": 18446744073709551616, "f": 1.50}, "event": "e", "retry": 500, "key": "k"}',
    b'[{"topic": "a", "data": "x\\r\\ny\\u0000"}, {"topic": "b", "data": null}]',
    b'{"topic": "a", "data": "x"}\n\n{"topic": "a", "data": [1e400, -0, 1e-400]}\n{"topic": "b"}',
    b'{"topic": "a", "data": ' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"topic": "a\\ud800", "data": "\\ud800"}',
    b"\xef\xbb\xbfplain text \xff",
]


def check(data: bytes) -> None:
    drafts: list[Draft] = []

    def add(make: Callable[[], Draft]) -> None:
        refused(lambda: drafts.append(make()))

    add(lambda: Draft("a", check_data(data, MAX_EVENT)))
    for item in items(data):
        add(lambda item=item: draft_of(item, max_event=MAX_EVENT))
    for draft in drafts:
        check_stream(draft)
    check_lines(data)


def items(data: bytes) -> list[Any]:
    """Return the events that a body of JSON has."""
    found: list[Any] = []

    def read() -> None:
        fields = read_json(data)
        found.extend(fields if isinstance(fields, list) else [fields])

    refused(read)
    return found


def check_stream(draft: Draft) -> None:
    """A subscriber gets one event, as it was published."""
    entry = Entry(Position("q7Zp2K", 1), draft.topic, draft.data, draft.event, draft.retry)
    for with_topic in (False, True):
        (event,) = Decoder().feed(entry.frame(with_topic))
        assert event.data == draft.data.replace("\r\n", "\n").replace("\r", "\n")
        assert (event.event, event.id) == (draft.event, "q7Zp2K.1")
        assert event.topic == (draft.topic if with_topic else None)


def check_lines(data: bytes) -> None:
    """Many lines at once are read as one by one, however they are cut."""
    lines = Lines(MAX_EVENT)
    found = [*lines.feed(data[:7]), *lines.feed(data[7:]), *lines.end()]
    assert b"\n".join(found).rstrip(b"\n") == data.rstrip(b"\n")
    found = [line for line in found if line.strip()]
    try:
        together = drafts_of(found, max_event=MAX_EVENT)
    except (TidewireError, orjson.JSONDecodeError):
        return
    assert together == [draft_of(read_json(line), max_event=MAX_EVENT) for line in found]
