"""
The newest entries of the log in this process's memory, and what it takes to judge a position.

Rule 1: offsets in the window have no holes, so finding an entry is arithmetic.
Rule 2: a position is judged without a guess. What cannot be proved complete is
        a gap with a reason, and what is complete is never called a gap.
Rule 3: the window only drops its oldest entries. What it dropped may still be
        in the engine; what retention trimmed is nowhere, and a mark says so.
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
    """Where a stream goes on from and, if that leaves a gap, why."""

    offset: int
    reason: Reason | None = None
    terms: tuple[str, ...] = ()


class Window:
    """The newest entries, and what it takes to judge a position."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.reset(Head(Position("------", 0), 1, (("------", 1),), Marks(), {}))

    def reset(self, head: Head) -> None:
        """Begin again at `head`: the log was opened, or it is another one now."""
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

    # -- what the engine tells

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
            # Some more at once: to take one from the front moves all that come after it, 10 us for 10,000.
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
        # The newest entry stays whatever its size: its receipt says it can be resumed from.
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
        """Let go of the bytes of those entries that are not in memory for being new."""
        first, last = self.start, self.head
        for entry in entries:
            if not first <= entry.offset <= last:
                entry.frames = NO_FRAMES

    # -- what it knows

    @property
    def start(self) -> int:
        """The offset of the oldest entry in memory (the head's next if there is none)."""
        return self.head - len(self._entries) + 1

    def is_ended(self, topic: str) -> bool:
        return topic in self._ended or self.marks.ended(topic)

    def all_ended(self, selector: Selector) -> bool:
        """Whether nothing can come any more: every term is a plain topic that has ended."""
        return not selector.patterns and all(self.is_ended(topic) for topic in selector.topics)

    def end_of(self, topic: str) -> int:
        """Return the offset of the end of an ended topic."""
        return self._ended.get(topic) or self.marks.of(topic)

    def life_of(self, offset: int) -> str:
        """Return the life that `offset` belongs to; 0 belongs to the first."""
        index = bisect_right(self.lives, offset, key=lambda life: life[1]) - 1
        return self.lives[max(index, 0)][0]

    def position(self, offset: int) -> Position:
        """Spell `offset` as a position, with its check where that is known."""
        if self.start <= offset <= self.head:
            return self._entries[offset - self.start].position
        check = self._head_check if offset == self.head else ""
        return Position(self.life_of(offset), offset, check)

    # -- judging a position (the order of the questions matters)

    def judge(self, position: Position | None, selector: Selector) -> Verdict:
        """Say where a stream that brought `position` goes on; None is one that could not be read."""
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
        """Whether the entry at this position can have its check, as far as that is known in memory."""
        # The head's is known even when its entry is trimmed.
        if position.offset >= min(self.start, self.head) or not self._head_check:
            return self.position(position.offset).check == position.check
        return True

    def overtaken(self, offset: int, selector: Selector) -> Verdict:
        """Say whether retention trimmed anything that `selector` wants after `offset`."""
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
        Return the entries in (after, through] that `selector` matches and through which offset they reach.

        Stops before `max_bytes` of frames, but never without one entry.
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
