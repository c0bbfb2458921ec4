"""
The newest entries of the log, in this process's memory, and the judging of positions.

Rule 1: offsets in the window have no holes, so finding an entry is arithmetic.
Rule 2: a position is judged without guessing. What cannot be proved complete is
        a gap with a reason, and what is complete is never called a gap.
Rule 3: the window drops only its oldest entries. The engine may still have what
        the window dropped; what retention trimmed is gone, and a mark says so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from heapq import merge
from operator import attrgetter
from typing import Literal, NamedTuple

from ..position import Position
from ..topics import Selector
from .entries import NO_FRAMES, Entry, Head, Marks, Record, join
from .overtaken import STEP, Overtaken
from .records import END, RECORDS, Records, record_of

# Entries that one look back goes through: 2 ms.
LOOK_BACK = 10_000
# Checks kept of entries that are no longer in memory.
CHECKS = 1_000
# A full window drops this part of it in one step.
DROP_STEP = 64

Reason = Literal["trimmed", "foreign", "future", "invalid"]


class Verdict(NamedTuple):
    """Where a stream continues from and, if that leaves a gap, why."""

    offset: int
    reason: Reason | None = None
    terms: tuple[str, ...] = ()


class Window:
    """The newest entries, and the judging of positions."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.reset(Head(Position("------", 0), 1, (("------", 1),), Marks(), ()))

    def reset(self, head: Head) -> None:
        """Start again at `head`: the log was opened or replaced."""
        self.head = head.position.offset
        self.floor = head.floor
        self.lives = list(head.lives)
        self.marks = head.marks
        self._head_check = head.position.check
        self._checks: OrderedDict[int, str] = OrderedDict()  # of entries that the engine was asked for
        self.records = Records(head.records)
        self._entries = list(head.newest)
        self._by_topic: dict[str, list[Entry]] = {}
        for entry in self._entries:
            self._by_topic.setdefault(entry.topic, []).append(entry)
        self._bytes = sum(entry.size for entry in self._entries)
        self._drop(len(self._entries) - self._max_entries)

    # -- what the engine reports

    def append(self, batch: Sequence[Entry]) -> Sequence[Record]:
        """Add what is new, and return the records that it sets."""
        records: list[Record] = []
        by_topic = self._by_topic
        for entry in batch:
            life, offset, self._head_check = entry.position
            assert offset == self.head + 1, "the log has no holes"
            self.head = offset
            topic = entry.topic
            if topic in by_topic:
                by_topic[topic].append(entry)
            else:
                by_topic[topic] = [entry]
            self._bytes += entry.size
            if entry.end or topic == RECORDS:
                records += self._set_record(entry)
            if life != self.lives[-1][0]:
                self.lives.append((life, offset))
        self._entries += batch
        over = len(self._entries) - self._max_entries
        if over > 0 or self._bytes > self._max_bytes:
            # Drop some more at once: removing one from the front moves all the others, 10 us for 10,000.
            self._drop(over + self._max_entries // DROP_STEP if over > 0 else 0)
        return records

    def trimmed(self, floor: int, marks: Marks) -> None:
        """Retention moved: `floor` is the offset of the oldest entry kept now."""
        self.floor, self.marks = floor, marks
        self._drop(min(floor - self.start, len(self._entries)))

    def forgotten(self, records: Iterable[Record]) -> None:
        """The engine has forgotten `records`."""
        for record in records:
            self.records.forget(record.kind, record.name)

    def _set_record(self, entry: Entry) -> Sequence[Record]:
        record = record_of(entry)
        if record is None:
            return ()
        self.records.set(record)
        return (record,)

    def _drop(self, count: int) -> None:
        count = max(count, 0)
        size = self._bytes - sum(entry.size for entry in self._entries[:count])
        # The newest entry stays whatever its size: clients may resume from its receipt.
        while size > self._max_bytes and count < len(self._entries) - 1:
            size -= self._entries[count].size
            count += 1
        self._bytes = size
        dropped = self._entries[:count]
        del self._entries[:count]
        for topic, gone in Counter(entry.topic for entry in dropped).items():
            of_topic = self._by_topic[topic]
            if len(of_topic) == gone:
                del self._by_topic[topic]
            else:
                del of_topic[:gone]
        self.forget_frames(dropped)

    def forget_frames(self, entries: Iterable[Entry]) -> None:
        """Free the frames of those entries that are not in the window."""
        first, last = self.start, self.head
        for entry in entries:
            if not first <= entry.offset <= last:
                entry.frames = NO_FRAMES

    # -- state

    @property
    def start(self) -> int:
        """The offset of the oldest entry in memory (`head + 1` if there is none)."""
        return self.head - len(self._entries) + 1

    @property
    def any_ended(self) -> bool:
        """Whether any topic has ended: a quick question before `all_ended`."""
        return self.records.count(END) > 0

    def is_ended(self, topic: str) -> bool:
        return self.records.get(END, topic) is not None

    def all_ended(self, selector: Selector) -> bool:
        """Whether nothing more can come: every term is a plain topic that has ended."""
        return not selector.patterns and all(self.is_ended(topic) for topic in selector.topics)

    def all_ended_by(self, selector: Selector, offset: int) -> bool:
        """Whether nothing more can come, and nothing that came is newer than `offset`."""
        return self.all_ended(selector) and all(self.end_of(topic) <= offset for topic in selector.topics)

    def end_of(self, topic: str) -> int:
        """Return the offset of the end of a topic, 0 if it has not ended."""
        record = self.records.get(END, topic)
        return 0 if record is None else record.offset

    def life_of(self, offset: int) -> str:
        """Return the life that `offset` belongs to; 0 belongs to the first."""
        index = bisect_right(self.lives, offset, key=lambda life: life[1]) - 1
        return self.lives[max(index, 0)][0]

    def position(self, offset: int) -> Position:
        """Return the position of `offset`, with its check if that is known."""
        if self.start <= offset <= self.head:
            return self._entries[offset - self.start].position
        check = self._head_check if offset == self.head else ""
        return Position(self.life_of(offset), offset, check)

    # -- judging a position (the order of the conditions matters)

    def judge(
        self, position: Position | None, selector: Selector, search: Overtaken | None = None
    ) -> Verdict:
        """
        Return where a stream that resumes from `position` continues; None is an unreadable position.

        `search` is what was found out before about the marks beyond `position`.
        """
        if position is None:
            return Verdict(self.head, "invalid", selector.terms)
        if self.life_of(position.offset) != position.life:
            return Verdict(self._shared(position), "foreign", selector.terms)
        if position.offset > self.head:
            return Verdict(self.head, "future", selector.terms)
        if position.check and self.floor > position.offset != self.head:
            return Verdict(self.floor - 1, "trimmed", selector.terms)
        if position.check and not self._may_have_check(position):
            return Verdict(self.floor - 1, "foreign", selector.terms)
        return self.overtaken(position.offset, selector, search)

    def _may_have_check(self, position: Position) -> bool:
        """Whether the entry at this position can have its check, as far as the window knows."""
        # The head's check is known even if its entry is trimmed.
        if position.offset >= min(self.start, self.head) or not self._head_check:
            return self.position(position.offset).check == position.check
        return self._checks.get(position.offset, position.check) == position.check

    def must_compare(self, position: Position) -> bool:
        """Whether the check of this position can only be compared with an entry that the engine has."""
        if not (position.check and self._head_check and position.offset not in self._checks):
            return False
        return self.floor <= position.offset < min(self.start, self.head)

    def learn(self, position: Position) -> None:
        """Remember the check of an entry that is not in memory."""
        self._checks[position.offset] = position.check
        if len(self._checks) > CHECKS:
            self._checks.popitem(last=False)

    def must_search(self, offset: int, selector: Selector) -> bool:
        """Whether judging a stream at `offset` takes more than one step, for its patterns and the marks."""
        overtaken = offset < self.floor - 1 and self.marks.dropped <= offset < self.marks.newest
        return overtaken and bool(selector.patterns) and len(self.marks) > STEP

    def overtaken(self, offset: int, selector: Selector, search: Overtaken | None = None) -> Verdict:
        """Judge whether retention trimmed anything after `offset` that `selector` matches."""
        if offset >= self.floor - 1:
            return Verdict(offset)
        if search is None or (search.offset, search.selector) != (offset, selector):
            search = Overtaken(selector, offset)
        search.step(self.marks, most=len(self.marks))
        terms = search.terms
        return Verdict(self.floor - 1, "trimmed", terms) if terms else Verdict(self.floor - 1)

    def _shared(self, position: Position) -> int:
        """Return the last offset that the position's life shares with this log."""
        oldest = self.floor - 1
        for (life, first), (_, after) in zip(self.lives, self.lives[1:], strict=False):
            if life == position.life and first <= position.offset:
                return max(after - 1, oldest)
        return oldest

    # -- reading

    @property
    def by_topic(self) -> Mapping[str, Sequence[Entry]]:
        """The entries in memory, by topic."""
        return self._by_topic

    def entry(self, offset: int) -> Entry | None:
        """Return the entry at an offset, if it is in memory."""
        return self._entries[offset - self.start] if self.start <= offset <= self.head else None

    def holds(self, after: int) -> bool:
        """Whether everything after `after` is in memory."""
        return after >= self.start - 1

    def read(self, after: int, through: int, selector: Selector, max_bytes: int) -> tuple[list[Entry], int]:
        """
        Return the entries in (after, through] that `selector` matches, and the offset they reach.

        It stops before `max_bytes` of frames, but returns at least one entry if it finds any. For
        patterns it looks at a limited number of entries: the caller reads on from where it got to.
        """
        if not selector.patterns:
            return join(self.of_topics(selector.topics, after, through), through, selector, max_bytes)
        through = min(through, after + selector.scan)
        first = after + 1 - self.start
        found = (e for e in self._entries[first : through + 1 - self.start] if selector.matches(e.topic))
        return join(found, through, selector, max_bytes)

    def newest(self, topics: Iterable[str], count: int) -> tuple[list[int], int]:
        """
        Return the offsets of the `count` newest events of `topics` in memory, and how far back it looked.

        The latter is 1 if nothing older is kept.
        """
        after = max(self.start - 1, self.head - LOOK_BACK)
        found: list[int] = []
        for topic in topics:
            # One more than wanted: the last entry of a topic may be its end.
            newest = between(self._by_topic.get(topic, ()), after, self.head)[-count - 1 :]
            found += [entry.offset for entry in newest if not entry.end]
        return sorted(found), after + 1 if after >= self.floor else 1

    def of_topics(self, topics: Iterable[str], after: int, through: int) -> Iterable[Entry]:
        """Return the entries of `topics` with offsets in (after, through], in order."""
        found = [between(self._by_topic.get(topic, ()), after, through) for topic in topics]
        return found[0] if len(found) == 1 else merge(*found, key=offset_of)


offset_of = attrgetter("offset")


def between(entries: Sequence[Entry], after: int, through: int) -> Sequence[Entry]:
    """Return the entries, which are in order, with offsets in (after, through]."""
    # Nearly always none, or the last one.
    if not entries or entries[-1].offset <= after:
        return ()
    start, end = len(entries) - 1, len(entries)
    if start and entries[start - 1].offset > after:
        start = bisect_right(entries, after, key=offset_of)
    if entries[-1].offset > through:
        end = bisect_right(entries, through, start, key=offset_of)
    return entries[start:end]
