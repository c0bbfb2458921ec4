"""
Server-Sent Events that lose nothing in silence.

The names below are loaded when they are first used, so that a client or the
command line does not pay for the server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import TidewireError
    from .event_stream import Decoder, Event, encode
    from .http.responses import EventStreamResponse
    from .hub import Hub
    from .log.entries import Receipt
    from .position import Position

__version__ = "0.1.0"

__all__ = [
    "Decoder",
    "Event",
    "EventStreamResponse",
    "Hub",
    "Position",
    "Receipt",
    "TidewireError",
    "encode",
]

HOMES = {
    "Decoder": "event_stream",
    "Event": "event_stream",
    "EventStreamResponse": "http.responses",
    "Hub": "hub",
    "Position": "position",
    "Receipt": "log.entries",
    "TidewireError": "errors",
    "encode": "event_stream",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
