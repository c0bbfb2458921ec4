"""Log files for tests: written by a real hub, read and changed by SQLite itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from support.waiting import PATIENCE
from tidewire import Hub


class Row(NamedTuple):
    topic: str
    event: str
    data: str
    retry: int | None
    end: bool
    time: float


def write_log(
    path: Path, events: Iterable[dict[str, Any]], ends: Iterable[str] = (), **settings: Any
) -> None:
    """Write a log by a hub: it publishes `events`, ends the topics `ends`, and closes the log."""

    async def run() -> None:
        # A busy disk may take longer than the 5 s that are the default.
        hub = Hub(f"sqlite:///{path}", per_process=True, **{"engine_timeout": PATIENCE, **settings})
        async with hub.lifespan():
            waiting = list(events)
            for start in range(0, len(waiting), 1000):
                await hub.publish_many(waiting[start : start + 1000])
            for topic in ends:
                await hub.end(topic, "done")

    asyncio.run(run())


def change(path: Path, *statements: str) -> None:
    """Change a log in ways that no hub would."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def rows(path: Path) -> list[Row]:
    """Return the entries of a log in order."""
    with closing(sqlite3.connect(path)) as db:
        found = db.execute(
            "SELECT topic, coalesce(event, 'message'), data, retry, is_end, time FROM entries ORDER BY offset"
        ).fetchall()
    return [Row(topic, event, data, retry, bool(end), time) for topic, event, data, retry, end, time in found]
