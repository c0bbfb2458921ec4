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
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from ..position import Position
from ..topics import Selector
from .entries import NO_FRAMES, Entry, Head, Marks, join

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
        self.reset(Head(Position("------", 0), 1, (("------", 1),), Marks(), {}))

    def reset(self, head: Head) -> None:
        """Start again at `head`: the log was opened or replaced."""
        self.head = head.position.offset
        self.floor = head.floor
        self.lives = list(head.lives)
        self.marks = head.marks
        self._head_check = head.position.check
        self._ended: dict[str, int] = dict(sorted(head.ended.items(), key=lambda item: item[1]))
        self._entries = list(head.newest)
        self._by_topic: dict[str, list[Entry]] = {}
        for entry in self._entries:
            self._by_topic.setdefault(entry.topic, []).append(entry)
        self._bytes = sum(entry.size for entry in self._entries)
        self._drop(len(self._entries) - self._max_entries)

    # -- what the engine reports

    def append(self, batch: Sequence[Entry]) -> None:
        by_topic = self._by_topic
        for entry in batch:
            life, offset, self._head_check = entry.position
            assert offset == self.head + 1, "the log has no holes"
            self.head = offset
            of_topic = by_topic.get(entry.topic)
            if of_topic is None:
                of_topic = by_topic[entry.topic] = []
            of_topic.append(entry)
            self._bytes += entry.size
            if entry.end:
                self._ended[entry.topic] = offset
            if life != self.lives[-1][0]:
                self.lives.append((life, offset))
        self._entries += batch
        over = len(self._entries) - self._max_entries
        if over > 0 or self._bytes > self._max_bytes:
            # Drop some more at once: removing one from the front moves all the others, 10 us for 10,000.
            self._drop(over + self._max_entries // DROP_STEP if over > 0 else 0)

    def trimmed(self, floor: int, marks: Marks) -> None:
        """Retention moved: `floor` is the offset of the oldest entry kept now."""
        self.floor, self.marks = floor, marks
        self._drop(min(floor - self.start, len(self._entries)))
        for topic, offset in list(self._ended.items()):
            if offset >= floor:
                break
            del self._ended[topic]

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

    def is_ended(self, topic: str) -> bool:
        return topic in self._ended or self.marks.ended(topic)

    def all_ended(self, selector: Selector) -> bool:
        """Whether nothing more can come: every term is a plain topic that has ended."""
        return not selector.patterns and all(self.is_ended(topic) for topic in selector.topics)

    def end_of(self, topic: str) -> int:
        """Return the offset of the end of an ended topic."""
        return self._ended.get(topic) or self.marks.of(topic)

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

    def judge(self, position: Position | None, selector: Selector) -> Verdict:
        """Return where a stream that resumes from `position` continues; None is an unreadable position."""
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
        return self.overtaken(position.offset, selector)

    def _may_have_check(self, position: Position) -> bool:
        """Whether the entry at this position can have its check, as far as the window knows."""
        # The head's check is known even if its entry is trimmed.
        if position.offset >= min(self.start, self.head) or not self._head_check:
            return self.position(position.offset).check == position.check
        return True

    def overtaken(self, offset: int, selector: Selector) -> Verdict:
        """Judge whether retention trimmed anything after `offset` that `selector` matches."""
        if offset >= self.floor - 1:
            return Verdict(offset)
        if self.marks.largest(selector) <= offset:
            return Verdict(self.floor - 1)
        return Verdict(self.floor - 1, "trimmed", self._overtaken_terms(offset, selector))

    def _overtaken_terms(self, offset: int, selector: Selector) -> tuple[str, ...]:
        return tuple(term for term in selector.terms if self.marks.largest(Selector([term])) > offset)

    def _shared(self, position: Position) -> int:
        """Return the last offset that the position's life shares with this log."""
        oldest = self.floor - 1
        for (life, first), (_, after) in zip(self.lives, self.lives[1:], strict=False):
            if life == position.life and first <= position.offset:
                return max(after - 1, oldest)
        return oldest

    # -- reading

    def holds(self, after: int) -> bool:
        """Whether everything after `after` is in memory."""
        return after >= self.start - 1

    def read(self, after: int, through: int, selector: Selector, max_bytes: int) -> tuple[list[Entry], int]:
        """
        Return the entries in (after, through] that `selector` matches, and the offset they reach.

        It stops before `max_bytes` of frames, but returns at least one entry.
        """
        return join(self._matching(after, through, selector), through, selector, max_bytes)

    def _matching(self, after: int, through: int, selector: Selector) -> Iterator[Entry]:
        entries = self._entries
        base = self.start
        if selector.single:
            entries = self._by_topic.get(selector.terms[0], [])
            first = bisect_right(entries, after, key=lambda entry: entry.offset)
        else:
            first = after + 1 - base
        for index in range(first, len(entries)):
            entry = entries[index]
            if entry.offset > through:
                return
            if selector.single or selector.matches(entry.topic):
                yield entry
