"""
The async client, for programs with asyncio.

    from tidewire.client import connect, publish

    async with connect("http://localhost:8000", topics=["orders/*"]) as stream:
        async for event in stream:
            print(event.id, event.topic, event.data)

`tidewire.client.sync` has the same names for programs without asyncio.
"""

from __future__ import annotations

from ...event_stream import Comment, Event
from ...items import End, Gap, Page
from ..core.publishing import Receipt
from ..core.reconnect import Change, Opened, Policy, Resumed, Stop, Wait
from ..core.requests import Timeouts
from .functions import connect, end, history, publish, publish_many
from .publisher import Publisher
from .stream import Stream

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
