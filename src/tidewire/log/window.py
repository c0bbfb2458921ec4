"""
The log as a node sees it: entries, trim marks, and the window of the newest ones.

Rule 1: offsets in the window have no holes, so finding an entry is arithmetic.
Rule 2: a position is judged without a guess. What cannot be proved complete is
        a gap with a reason, and what is complete is never called a gap.
Rule 3: the window only drops its oldest entries. What it dropped may still be
        in the engine; what retention trimmed is nowhere, and a mark says so.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from .. import frames
from ..event_stream import Event, encode
from ..position import Position
from ..topics import Selector

# What an entry costs beside its text: the object, its place in three lists.
ENTRY_OVERHEAD = 256
# Marks kept: a busy neighbour causes no false gap until so many topics are trimmed away.
MAX_MARKS = 100_000
# Selectors with patterns whose largest mark is remembered.
MAX_REMEMBERED = 1_024

# A full window drops this part of it in one step.
DROP_STEP = 64

Reason = Literal["trimmed", "foreign", "future", "invalid"]


class Draft(NamedTuple):
    """What a publisher asks for: an event, or the end of a topic (then `data` is the reason)."""

    topic: str
    data: str = ""
    event: str = "message"
    retry: int | None = None
    key: str | None = None
    end: bool = False

    def digest(self) -> bytes:
        """Return what tells two drafts with one key apart: SHA-256 of topic, type, retry and data."""
        parts = (self.topic, self.event, "" if self.retry is None else str(self.retry), self.data)
        # Lengths first: no two different drafts spell the same bytes.
        texts = [part.encode() for part in parts]
        return hashlib.sha256(b"".join(b"%d:%b" % (len(text), text) for text in texts)).digest()


# What an entry has before it is encoded. One tuple for all: a list each would be a fifth of their cost.
NO_FRAMES: tuple[bytes | None, bytes | None] = (None, None)


class Entry:
    """
    One element of the log: an event of a topic, or the topic's end.

    `frames` are its two spellings, each encoded once: without and with its `topic:` line.
    """

    __slots__ = ("data", "end", "event", "frames", "position", "retry", "size", "time", "topic")

    def __init__(
        self,
        position: Position,
        topic: str,
        data: str,
        event: str = "message",
        retry: int | None = None,
        end: bool = False,
        time: float = 0.0,
    ) -> None:
        self.position = position
        self.topic = topic
        self.data = data
        self.event = event
        self.retry = retry
        self.end = end
        self.time = time
        # A character may be four bytes, and the limits are meant in bytes.
        text = len(data) if data.isascii() else len(data.encode(errors="replace"))
        self.size = text + len(topic) + len(event) + ENTRY_OVERHEAD
        self.frames = NO_FRAMES

    def __repr__(self) -> str:
        return f"Entry({str(self.position)!r}, {self.topic!r}, {self.data!r}, {self.event!r})"

    @property
    def offset(self) -> int:
        return self.position.offset

    def as_event(self) -> Event:
        """Return the event that a subscriber sees; a topic's end is one of the hub's own."""
        if self.end:
            data = frames.end_data(self.topic, self.data)
            return Event(data, frames.END, str(self.position), topic=self.topic)
        return Event(self.data, self.event, str(self.position), self.retry, self.topic)

    def frame(self, with_topic: bool) -> bytes:
        """Return the bytes of this entry, encoded once. Raise `InvalidInput` (a foreign writer's field)."""
        frame = self.frames[with_topic]
        if frame is None:
            event = self.as_event()
            if not with_topic:
                event.topic = None
            frame = encode(event)
            self.frames = (self.frames[0], frame) if with_topic else (frame, self.frames[1])
        return frame


class Receipt(NamedTuple):
    """The engine's answer: where a draft is, and whether it was there before (the same key, a second end)."""

    position: Position
    duplicate: bool = False


class Since(NamedTuple):
    """
    Where a subscription begins, if not at a position.

    `now`, `start`, the `last` N events, seconds `ago`, `at` a time (Unix
    seconds), `after` an offset (what the engine found for one of these), or
    `invalid`: it brought a position that cannot be read.
    """

    kind: Literal["now", "start", "last", "ago", "at", "after", "invalid"]
    value: float = 0

    @property
    def asks_engine(self) -> bool:
        """Whether only the engine knows where this is."""
        return self.kind in ("last", "ago", "at")


class Mark(NamedTuple):
    offset: int
    ended: bool


class Marks:
    """
    Per topic, the offset of its newest entry that is no longer kept.

    The engine owns the marks and tells them in order; nodes read them. The
    `limit` newest are kept, and `dropped`, the largest one that is not, stands
    for all others.
    """

    __slots__ = ("_largest", "_limit", "_marks", "dropped")

    def __init__(self, limit: int = MAX_MARKS) -> None:
        self._limit = limit
        self._marks: OrderedDict[str, Mark] = OrderedDict()
        self._largest: OrderedDict[Selector, tuple[int, int]] = OrderedDict()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._marks)

    def items(self) -> Iterable[tuple[str, Mark]]:
        return self._marks.items()

    def set(self, topic: str, offset: int, ended: bool) -> None:
        """Record that the entry of `topic` at `offset` is trimmed; offsets come in growing order."""
        self._marks.pop(topic, None)
        self._marks[topic] = Mark(offset, ended)
        if len(self._marks) > self._limit:
            _, mark = self._marks.popitem(last=False)
            self.dropped = mark.offset

    def ended(self, topic: str) -> bool:
        mark = self._marks.get(topic)
        return mark is not None and mark.ended

    def of(self, topic: str) -> int:
        mark = self._marks.get(topic)
        return self.dropped if mark is None else mark.offset

    def largest(self, selector: Selector) -> int:
        """Return the largest mark of a topic that `selector` matches."""
        plain = max((self.of(topic) for topic in selector.topics), default=self.dropped)
        return max(plain, self._of_patterns(selector)) if selector.patterns else plain

    def _of_patterns(self, selector: Selector) -> int:
        # Marks lie in the order of their offsets, and a topic's mark only
        # grows: what was looked through before cannot hold a larger one. So
        # only marks newer than the last look are matched.
        newest = next(reversed(self._marks.values())).offset if self._marks else 0
        through, largest = self._largest.pop(selector, (0, 0))
        if newest > through:
            for topic, mark in reversed(self._marks.items()):
                if mark.offset <= through:
                    break
                if selector.matches(topic):
                    largest = mark.offset
                    break
        self._largest[selector] = (newest, largest)
        if len(self._largest) > MAX_REMEMBERED:
            self._largest.popitem(last=False)
        return max(largest, self.dropped)


class Head(NamedTuple):
    """The state of a log at one moment, as an engine tells it when it is opened or reset."""

    position: Position
    floor: int
    lives: tuple[tuple[str, int], ...]
    marks: Marks
    ended: Mapping[str, int]
    """Topics whose end is still kept, with its offset."""
    newest: Sequence[Entry] = ()
    """The entries through the position, as many as the engine has at hand: a window begins with them."""


class Page(NamedTuple):
    """Entries in order, through which offset the log was looked at, and the trim state of that moment."""

    entries: Sequence[Entry]
    through: int
    floor: int
    marks: Marks

    def read(self, after: int, selector: Selector, max_bytes: int) -> tuple[list[Entry], int]:
        """Return the entries after `after` as `Window.read` does."""
        first = bisect_right(self.entries, after, key=lambda entry: entry.offset)
        return join(self.entries[first:], self.through, selector, max_bytes)


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


def join(
    entries: Iterable[Entry], through: int, selector: Selector, max_bytes: int
) -> tuple[list[Entry], int]:
    """Return the first entries with at most `max_bytes` of frames, or one, and through where they reach."""
    found: list[Entry] = []
    size = 0
    with_topic = not selector.single
    for entry in entries:
        size += len(entry.frame(with_topic))
        if found and size > max_bytes:
            return found, found[-1].offset
        found.append(entry)
    return found, through
