"""What an iterator yields: events, and among them what a hub says about the stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from ...errors import Unavailable
from ...event_stream import Event


class Gap(Event):
    """
    Events are missing here: the hub cannot prove that nothing was lost. Load your state anew.

    An `Event` of type `hub.gap`. The stream goes on from its `id`.
    """

    __slots__ = ()

    @property
    def reason(self) -> str:
        """`trimmed`, `foreign`, `future` or `invalid`."""
        return str(members(self).get("reason", ""))

    @property
    def requested(self) -> str | None:
        """The position that was brought, or where the stream stood; None if the hub could not read it."""
        return text_or_none(members(self).get("requested"))

    @property
    def oldest(self) -> str | None:
        """The position of the oldest event kept; None in an empty log."""
        return text_or_none(members(self).get("oldest"))

    @property
    def head(self) -> str | None:
        """The newest position of the log."""
        return text_or_none(members(self).get("head"))

    @property
    def topics(self) -> list[str]:
        """The topics and patterns of the subscription that are concerned."""
        topics = members(self).get("topics")
        return [str(topic) for topic in topics] if isinstance(topics, list) else []


class End(Event):
    """
    A topic has ended: nothing will come of it any more. An `Event` of type `hub.end`.

    `topic` is its name, also where the wire does not repeat it.
    """

    __slots__ = ()

    @property
    def reason(self) -> str:
        """What whoever ended it said, `ended` if nothing."""
        return str(members(self).get("reason", ""))


TYPED: dict[str, type[Event]] = {"hub.gap": Gap, "hub.end": End}


def typed(event: Event) -> Event:
    """Return an event as a `Gap` or `End` if it is one."""
    kind = TYPED.get(event.event)
    if kind is None:
        return event
    topic = event.topic
    if kind is End and topic is None:
        topic = text_or_none(members(event).get("topic"))
    return kind(event.data, event.event, event.id, event.retry, topic)


def members(event: Event) -> dict[str, Any]:
    """Return the members of the JSON object in an event's data; none if it is anything else."""
    try:
        data = event.json()
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@dataclass(slots=True)
class Page:
    """
    A page of a hub's history, which iterates over its `events`.

    `next` is where the next page begins (as its `since`) and a stream would go on (as its `last_event_id`),
    so nothing is missed in between. `head` is the newest position of the log. `more` is whether there are
    more pages, `ended` whether every topic has ended. `gap` is not None where events are missing before the
    first.
    """

    events: list[Event]
    next: str
    head: str
    more: bool
    ended: bool
    gap: Gap | None

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)


def page_of(body: bytes) -> Page:
    """Return a page as a hub sends it; raise `Unavailable` for anything else."""
    try:
        page = orjson.loads(body)
        events = [
            typed(Event(item["data"], item["event"], item["id"], None, item["topic"]))
            for item in page["events"]
        ]
        gap = page["gap"]
        missing = None if gap is None else Gap(orjson.dumps(gap).decode(), "hub.gap", page["next"])
        return Page(events, page["next"], page["head"], page["more"], page["ended"], missing)
    except (ValueError, TypeError, KeyError) as error:
        raise Unavailable("the answer is no page of a hub's history", code="not_a_hub") from error
