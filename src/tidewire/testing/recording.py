"""
What was recorded, indexed for the checker.

Rule 1: the log is what was read back at the end, plus every id that was acked or delivered
        meanwhile. Entries are ordered by life, then by offset.
Rule 2: an entry is dead if a later life started at or before its offset: the log went back. No
        subscriber is owed a dead entry, but one that was at its position is owed a gap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from ..log.runs import CANCELLED, DONE, FAILED, LOST
from ..position import parse_position
from ..topics import Selector
from .recorder import (
    Closed,
    Delivered,
    Gap,
    Invoked,
    Ok,
    Opened,
    Planned,
    Positioned,
    Processed,
    Record,
    Refused,
    end_of,
    fingerprint,
)

# Where an entry is: the rank of its life, and its offset.
Place = tuple[int, int]


class Event(NamedTuple):
    id: str
    topic: str
    data: str


class Part(NamedTuple):
    """What an entry is of its run: the item with this number, or if there is a `state`, its end."""

    run: str
    number: int
    state: str = ""


class Recording:
    """What was recorded, indexed."""

    def __init__(
        self,
        records: Sequence[Record],
        history: Iterable[tuple[str, str, str]] | None,
        trimmed_through: int,
        loss_allowed: bool,
    ) -> None:
        self.records = records
        self.read_back = history is not None
        self._loss_allowed = loss_allowed
        self.trimmed_through = trimmed_through
        self.history = [Event(id, topic, fingerprint(data)) for id, topic, data in history or ()]
        self.kept = {event.id for event in self.history}
        self.invoked: dict[str, Invoked] = {}
        self.acks: dict[str, list[Ok]] = {}
        self.refused: set[str] = set()
        self.outcomes: Counter[str] = Counter()
        self.streams: dict[str, list[Record]] = {}
        self.processed: dict[str, list[Processed]] = {}
        self.plans: dict[str, Planned] = {}
        # By the topic and the data of an entry.
        self.parts: dict[tuple[str, str], Part] = {}
        for record in records:
            self._index(record)
        self._places: dict[str, Place] = {}
        self._ranks = {life: rank for rank, life in enumerate(self._lives())}
        self._publish_of = {ack.id: name for name, acks in self.acks.items() for ack in acks}
        self.events = self._known()
        self._starts = self._first_offsets()
        self._last = max(map(self.place, self.events), default=(0, 0))
        self._alive = sorted(
            (self.place(id), event) for id, event in self.events.items() if not self.dead(id)
        )
        self._selectors: dict[tuple[str, ...], Selector] = {}
        self._matching: dict[tuple[str, ...], tuple[list[Place], list[Event]]] = {}

    def _index(self, record: Record) -> None:
        match record:
            case Invoked():
                self.invoked.setdefault(record.publish, record)
                self.outcomes[record.publish] += 1
            case Ok():
                self.acks.setdefault(record.publish, []).append(record)
            case Refused():
                self.refused.add(record.publish)
                self.outcomes[record.publish] -= 1
            case Planned():
                self._plan(record)
            case Opened() | Positioned() | Delivered() | Gap() | Closed():
                self.streams.setdefault(record.stream, []).append(record)
            case Processed():
                self.processed.setdefault(record.subscriber, []).append(record)

    def _plan(self, plan: Planned) -> None:
        self.plans[plan.run] = plan
        for number, item in enumerate(plan.items):
            self.parts[plan.topic, item] = Part(plan.run, number)
        for state in (DONE, FAILED, CANCELLED, LOST):
            self.parts[plan.topic, end_of(plan.run, state)] = Part(plan.run, len(plan.items), state)

    def _lives(self) -> list[str]:
        """Return every life, in the order in which it was first recorded; the log's order has precedence."""
        kept = list(dict.fromkeys(life_of(event.id) for event in self.history))
        recorded = [
            life_of(record.id)
            for record in self.records
            if isinstance(record, (Ok, Delivered, Gap, Positioned))
        ]
        lives = list(dict.fromkeys([*recorded, *kept]))
        ordered = iter(kept)
        return [next(ordered) if life in kept else life for life in lives]

    def _known(self) -> dict[str, Event]:
        events = {event.id: event for event in self.history}
        for name, acks in self.acks.items():
            for ack in acks:
                invoked = self.invoked[name]
                events.setdefault(ack.id, Event(ack.id, invoked.topic, invoked.data))
        for stream in self.streams.values():
            topics = stream[0].topics if isinstance(stream[0], Opened) else ()
            for record in stream:
                if isinstance(record, Delivered) and (topic := record.topic or only(topics)):
                    events.setdefault(record.id, Event(record.id, topic, record.data))
        return events

    def _first_offsets(self) -> list[int]:
        """Return the first known offset of each life, by rank."""
        starts = [0] * len(self._ranks)
        for id in self.events:
            rank, offset = self.place(id)
            starts[rank] = min(starts[rank] or offset, offset)
        return starts

    def attempts(self) -> Counter[tuple[str, str]]:
        """Return how many publishes and items of runs may be in the log, by topic and data."""
        # A publish whose attempts were all refused is not in the log.
        published = Counter(
            (invoked.topic, invoked.data)
            for name, invoked in self.invoked.items()
            if name not in self.refused or self.outcomes[name] > 0
        )
        published.update(place for place, part in self.parts.items() if not part.state)
        return published

    def place(self, id: str) -> Place:
        place = self._places.get(id)
        if place is None:
            position = parse_position(id)
            place = self._places[id] = self._ranks.get(position.life, -1), position.offset
        return place

    def dead(self, id: str, by: int | None = None) -> bool:
        """Whether a later life (up to the one of rank `by`) started at or before this position."""
        rank, offset = self.place(id)
        later = self._starts[rank + 1 : None if by is None else by + 1]
        return id not in self.kept and any(0 < start <= offset for start in later)

    def had(self, id: str) -> bool:
        """Whether the log has this position, or must have had it."""
        if id in self.kept:
            return True
        return not (self._loss_allowed or self.dead(id)) and (0, 0) <= self.place(id) <= self._last

    def streams_of(self, run: str | None) -> dict[str, list[list[Record]]]:
        """Return the streams of each subscriber that show this run; None: those that show no run."""
        return self._streams_by_run.get(run, {})

    @cached_property
    def _streams_by_run(self) -> dict[str | None, dict[str, list[list[Record]]]]:
        found: dict[str | None, dict[str, list[list[Record]]]] = {}
        for stream in self.streams.values():
            first = stream[0]
            assert isinstance(first, Opened), f"stream {first} is recorded before it was opened"
            found.setdefault(first.run, {}).setdefault(first.subscriber, []).append(stream)
        return found

    def entries_of(self, run: str) -> list[tuple[Event, Part]]:
        """Return the entries of a run, in the order of the log."""
        return self._entries_by_run.get(run, [])

    @cached_property
    def _entries_by_run(self) -> dict[str, list[tuple[Event, Part]]]:
        found: dict[str, list[tuple[Event, Part]]] = {}
        for _, event in self._alive:
            if part := self.parts.get((event.topic, event.data)):
                found.setdefault(part.run, []).append((event, part))
        return found

    def selector(self, topics: tuple[str, ...]) -> Selector:
        if topics not in self._selectors:
            self._selectors[topics] = Selector(topics)
        return self._selectors[topics]

    def between(self, topics: tuple[str, ...], after: Place, before: Place | None) -> Iterator[Event]:
        """Yield the entries that a stream with these topics is owed between two places."""
        if topics not in self._matching:
            selector = self.selector(topics)
            matching = [(place, event) for place, event in self._alive if selector.matches(event.topic)]
            self._matching[topics] = [place for place, _ in matching], [event for _, event in matching]
        places, events = self._matching[topics]
        last = len(places) if before is None else bisect_left(places, before)
        yield from events[bisect_right(places, after) : last]

    def times(self, id: str) -> tuple[int, int] | None:
        """Return when the event was first sent and first acknowledged, if it was."""
        name = self._publish_of.get(id)
        return None if name is None else (self.invoked[name].order, self.acks[name][0].order)


def life_of(id: str) -> str:
    return id.partition(".")[0]


def only(topics: Sequence[str]) -> str | None:
    return topics[0] if len(topics) == 1 and "*" not in topics[0] else None
