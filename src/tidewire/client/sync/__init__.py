"""
The sync client, for programs without asyncio.

    from tidewire.client.sync import connect, publish

    with connect("http://localhost:8000", topics=["orders/*"]) as stream:
        for event in stream:
            print(event.id, event.topic, event.data)

`tidewire.client` has the same names for programs with asyncio.
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
