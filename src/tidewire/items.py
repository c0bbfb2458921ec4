"""What the iterator of a subscription yields: events, and among them a hub's own; and pages of history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from .errors import Unavailable
from .event_stream import Event


class Gap(Event):
    """
    Events may be missing here: the hub cannot prove that none were lost. Reload your state.

    An `Event` of type `hub.gap`. The stream continues from its `id`.
    """

    __slots__ = ()

    @property
    def reason(self) -> str:
        """`trimmed`, `foreign`, `future` or `invalid`."""
        return str(members(self).get("reason", ""))

    @property
    def requested(self) -> str | None:
        """The position you asked for, or that of the stream before the gap; None if it is not readable."""
        return text_or_none(members(self).get("requested"))

    @property
    def oldest(self) -> str | None:
        """The position of the oldest event kept; None if the log is empty."""
        return text_or_none(members(self).get("oldest"))

    @property
    def head(self) -> str | None:
        """The newest position of the log."""
        return text_or_none(members(self).get("head"))

    @property
    def topics(self) -> list[str]:
        """The topics and patterns of the subscription that may have missed events."""
        topics = members(self).get("topics")
        return [str(topic) for topic in topics] if isinstance(topics, list) else []


class End(Event):
    """
    A topic has ended: it will have no more events. An `Event` of type `hub.end`.

    `topic` is always its name, even if the event has no `topic:` field on the wire.
    """

    __slots__ = ()

    @property
    def reason(self) -> str:
        """The reason given when the topic was ended; `ended` if there was none."""
        return str(members(self).get("reason", ""))


# A hub's own events that only move the position of a stream.
NOT_YIELDED = frozenset({"hub.position", "hub.open"})

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
    """Return the members of the JSON object in an event's data; an empty dict if it is anything else."""
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
    A page of a hub's history. Iterating over it yields its `events`.

    Pass `next` as `since` to get the next page, or as `last_event_id` to continue with a stream; nothing is
    missed in between. `head` is the newest position of the log. `more` is whether there are more pages,
    `ended` whether every topic has ended. `gap` is not None if events may be missing before the first one.
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


def page_in(page: dict[str, Any]) -> Page:
    """Return the page in the members of a hub's answer."""
    events = [
        typed(Event(item["data"], item["event"], item["id"], None, item["topic"])) for item in page["events"]
    ]
    gap = page["gap"]
    missing = None if gap is None else Gap(orjson.dumps(gap).decode(), "hub.gap", page["next"])
    return Page(events, page["next"], page["head"], page["more"], page["ended"], missing)


def page_of(body: bytes) -> Page:
    """Return the page in a hub's answer. Raises `Unavailable` if it is anything else."""
    try:
        return page_in(orjson.loads(body))
    except (ValueError, TypeError, KeyError) as error:
        raise Unavailable("the answer is not a page of a hub's history", code="not_a_hub") from error
