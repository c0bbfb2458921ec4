"""
Topics as the inspector shows them: those with entries in memory, and those that streams name.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Sequence
from heapq import nlargest, nsmallest
from operator import attrgetter
from typing import Any, NamedTuple

from ..delivery.node import Node
from ..log.entries import Entry
from ..log.records import END
from ..topics import RESERVED
from .asking import TopicsWanted, TopicWanted
from .pacing import paced

# Seconds over which the rate of a topic is measured.
RATE_OVER = 60.0

time_of = attrgetter("time")


class Topic(NamedTuple):
    topic: str
    events: int
    rate: float
    streams: int
    newest: float | None
    ended: bool


async def list_topics(node: Node, wanted: TopicsWanted) -> dict[str, Any]:
    """Return the topics that match, sorted, and how many there are."""
    names = dict.fromkeys(node.window.by_topic)
    async for cohort in paced(list(node.rounds.cohorts)):
        names.update(dict.fromkeys(cohort.selector.topics))
    now, known, found = time.time(), 0, []
    async for name in paced(names):
        if not name.startswith(RESERVED):
            known += 1
            if wanted.text in name.lower():
                found.append(describe_topic(node, name, now))
    await asyncio.sleep(0)
    shown = first_of(found, wanted)
    return {"topics": [topic._asdict() for topic in shown], "matching": len(found), "known": known}


def first_of(found: list[Topic], wanted: TopicsWanted) -> list[Topic]:
    if wanted.sort == "topic":
        return nsmallest(wanted.limit, found, key=lambda item: item.topic)
    order = attrgetter(wanted.sort)
    return nlargest(wanted.limit, found, key=lambda item: (order(item) or 0, item.newest or 0, item.topic))


def describe_topic(node: Node, topic: str, now: float) -> Topic:
    entries = node.window.by_topic.get(topic, ())
    recent = len(entries) - bisect_left(entries, now - RATE_OVER, key=time_of)
    return Topic(
        topic,
        len(entries),
        round(recent / RATE_OVER, 3),
        sum(len(cohort) for cohort in node.rounds.cohorts.matching(topic)),
        entries[-1].time if entries else None,
        node.window.is_ended(topic),
    )


def show_topic(node: Node, wanted: TopicWanted) -> dict[str, Any]:
    """Return a topic with its newest events in memory, the newest first."""
    entries = node.window.by_topic.get(wanted.topic, ())
    record = node.window.records.get(END, wanted.topic)
    return {
        **describe_topic(node, wanted.topic, time.time())._asdict(),
        "reason": None if record is None else record.value,
        "last": describe_events(entries[: -wanted.limit - 1 : -1], node.settings.inspect_data),
    }


def describe_events(entries: Sequence[Entry], most: int) -> list[dict[str, Any]]:
    return [describe_event(entry, most) for entry in entries]


def describe_event(entry: Entry, most: int) -> dict[str, Any]:
    """Return an event as its subscribers see it, with at most `most` bytes of its data; none at all for 0."""
    event = entry.as_event()
    data = event.data.encode()
    return {
        "id": event.id,
        "topic": entry.topic,
        "event": event.event,
        "time": entry.time,
        "bytes": len(data),
        "data": data[:most].decode(errors="ignore") if most else None,
        "cut": len(data) > most > 0,
        "retry": event.retry,
    }
