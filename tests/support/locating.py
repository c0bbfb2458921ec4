"""Where a subscription starts, as an engine finds it."""

from __future__ import annotations

from typing import Any

from tidewire.log.entries import Since
from tidewire.log.last_events import LastEvents
from tidewire.topics import Selector


async def locate(engine: Any, since: Since, selector: Selector) -> int:
    """Return the offset after which `since` starts; it may be below the floor."""
    if since.kind != "last":
        offset: int = await engine.locate(since)
        return offset
    search = LastEvents(int(since.value), await engine.locate(Since("now")))
    while not search.done:
        search.look(*await engine.look_back(search.last, selector))
    return search.last
