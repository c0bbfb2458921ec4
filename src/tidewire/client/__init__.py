"""
Clients for hubs and for any other SSE server.

This one is for programs with asyncio; `tidewire.client.sync` has the same names for all other programs.
The names are loaded at first use, so importing one client does not load the other.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio import (
        Change,
        Comment,
        End,
        Event,
        Gap,
        Opened,
        Page,
        Policy,
        Publisher,
        Receipt,
        Resumed,
        Stop,
        Stream,
        Timeouts,
        Wait,
        connect,
        end,
        history,
        publish,
        publish_many,
    )

__all__ = [
    "Change",
    "Comment",
    "End",
    "Event",
    "Gap",
    "Opened",
    "Page",
    "Policy",
    "Publisher",
    "Receipt",
    "Resumed",
    "Stop",
    "Stream",
    "Timeouts",
    "Wait",
    "connect",
    "end",
    "history",
    "publish",
    "publish_many",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(".aio", __name__), name)
    globals()[name] = value
    return value
