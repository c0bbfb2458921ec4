"""
The hub's own events (`hub.*`), encoded as the bytes of a stream.

They tell a subscriber the state of its stream. Publishers cannot send them.

Rule 1: what is not an event gets no blank line: a comment or a `retry:` stands in front
        of the next block. It takes effect at the end of its own line, and a decoder that
        takes every block for a message gets no empty one.
Rule 2: the data of each event is a JSON object, since many programs parse all data.
"""

from __future__ import annotations

import json
import random
from typing import Any

from .event_stream import Event, comment, encode
from .position import Position

RESERVED = "hub."
END = "hub.end"
RUN = "hub.run"

# The first bytes of a stream. A comment comes first, so that a data line that begins
# with U+FEFF is never taken for a byte order mark. It is sent at once, since Firefox's
# fetch() waits for the first byte.
GREETING = comment("tidewire")
HEARTBEAT = comment()


def as_json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def control(event: str, data: str, position: Position | None = None) -> bytes:
    return encode(Event(data, RESERVED + event, None if position is None else str(position)))


def retry(seconds: float) -> bytes:
    return b"retry: %d\n" % round(seconds * 1000)


def spread_retry(seconds: float, spread: float) -> bytes:
    """Return a `retry:` of `seconds` and up to `spread` more, at random, so that clients spread out."""
    return retry(seconds + random.random() * spread)


def position(at: Position) -> bytes:
    """Return the event that gives the client its position: at the start, and while it is idle."""
    return control("position", "{}", at)


def gap(data: dict[str, Any], at: Position) -> bytes:
    """Return the event that reports a gap, with its reason; the stream continues from `at`."""
    return control("gap", as_json(data), at)


def end_data(topic: str, reason: str) -> str:
    return as_json({"topic": topic, "reason": reason})


def end(topic: str, reason: str, at: Position) -> bytes:
    return control("end", end_data(topic, reason), at)


def run_data(run: str, key: str, state: str) -> str:
    """Return the data of the event that says that a run started or stopped. It is an entry of the log."""
    return as_json({"run": run, "key": key, "state": state})


def auth(reason: str) -> bytes:
    """Return the event that says why a stream is closed: its grant is over, or it was ended for a reason."""
    return control("auth", as_json({"reason": reason}))


def opened(heartbeat: float, resume: str, at: Position) -> bytes:
    return control("open", as_json({"heartbeat": heartbeat, "resume": resume, "position": str(at)}))


def error(code: str) -> bytes:
    """Return the event for a generator that failed. An event named `error` would fire `onerror`."""
    return control("error", as_json({"code": code}))
