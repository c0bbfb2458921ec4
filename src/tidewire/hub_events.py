"""
The hub's own events (`hub.*`), as the bytes of a stream.

They tell a subscriber where it stands; a publisher cannot send one.
"""

from __future__ import annotations

import json
import random
from typing import Any

from .event_stream import Event, comment, encode
from .position import Position

RESERVED = "hub."
END = "hub.end"

# The first bytes of a stream. A comment comes first so that a data line that
# begins with U+FEFF is never taken for a byte order mark, and Firefox, which
# holds fetch() back until the first byte, goes on at once.
GREETING = comment("tidewire")
HEARTBEAT = comment()


def as_json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def control(event: str, data: str, position: Position | None = None) -> bytes:
    return encode(Event(data, RESERVED + event, None if position is None else str(position)))


def retry(seconds: float) -> bytes:
    return b"retry: %d\n\n" % round(seconds * 1000)


def spread_retry(seconds: float, spread: float) -> bytes:
    """Return a `retry:` at random within `spread` seconds, so that not all come back at once."""
    return retry(seconds + random.random() * spread)


def position(at: Position) -> bytes:
    """Say where a stream starts, or move an idle one along: an empty event whose id the client keeps."""
    return control("position", "", at)


def gap(data: dict[str, Any], at: Position) -> bytes:
    """Say that continuity cannot be proved, and why; the stream goes on from `at`."""
    return control("gap", as_json(data), at)


def end_data(topic: str, reason: str) -> str:
    return as_json({"topic": topic, "reason": reason})


def end(topic: str, reason: str, at: Position) -> bytes:
    return control("end", end_data(topic, reason), at)


def opened(heartbeat: float, resume: str, at: Position) -> bytes:
    return control("open", as_json({"heartbeat": heartbeat, "resume": resume, "position": str(at)}))


def error(code: str) -> bytes:
    """Say that the maker of a stream failed. An event named `error` would fire `onerror`."""
    return control("error", as_json({"code": code}))
