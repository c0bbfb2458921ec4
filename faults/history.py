"""The whole log of a hub, read back page by page as any client can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from faults.served import Served

PAGE = 1000


def history(hub: Served) -> Iterator[tuple[str, str, str]]:
    """Yield id, topic and data of every event that the log still has."""
    for event in events(hub):
        yield event["id"], event["topic"], event["data"]


def events(hub: Served) -> Iterator[dict[str, Any]]:
    """Yield every event that the log still has, as the page of history shows it."""
    since = "start"
    while True:
        page = json.loads(read_page(hub, since))
        yield from page["events"]
        if not page["more"]:
            return
        since = page["next"]


def read_page(hub: Served, since: str) -> bytes:
    query = urlencode({"topic": "**", "since": since, "limit": PAGE})
    status, body = hub.get(f"/events?{query}", timeout=30, headers={"Accept": "application/json"})
    if status != 200:
        raise RuntimeError(f"cannot read the history: {status} {body[:200]!r}")
    return body
