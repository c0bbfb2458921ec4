"""
Server-Sent Events that never lose an event silently.

The names below are imported at first use, so that clients and the command line do
not have to load the server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auth.grants import Grant
    from .auth.tokens import Tokens
    from .delivery.open_streams import OpenStream
    from .errors import TidewireError
    from .event_stream import Decoder, Event, encode
    from .http.hub_stream import HubStream
    from .http.responses import EventStreamResponse
    from .hub import Hub
    from .items import End, Gap, Page
    from .log.entries import Receipt
    from .log.runs import Run
    from .position import Position
    from .topic_names import REST, pattern, topic

__version__ = "0.1.0"

__all__ = [
    "REST",
    "Decoder",
    "End",
    "Event",
    "EventStreamResponse",
    "Gap",
    "Grant",
    "Hub",
    "HubStream",
    "OpenStream",
    "Page",
    "Position",
    "Receipt",
    "Run",
    "TidewireError",
    "Tokens",
    "encode",
    "pattern",
    "topic",
]

MODULES = {
    "REST": "topic_names",
    "Decoder": "event_stream",
    "End": "items",
    "Event": "event_stream",
    "EventStreamResponse": "http.responses",
    "Gap": "items",
    "Grant": "auth.grants",
    "Hub": "hub",
    "HubStream": "http.hub_stream",
    "OpenStream": "delivery.open_streams",
    "Page": "items",
    "Position": "position",
    "Receipt": "log.entries",
    "Run": "log.runs",
    "TidewireError": "errors",
    "Tokens": "auth.tokens",
    "encode": "event_stream",
    "pattern": "topic_names",
    "topic": "topic_names",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{MODULES[name]}", __name__), name)
    globals()[name] = value
    return value
