"""
The values of the log: drafts, entries and receipts; heads, marks and pages.

Engines create them; the window, the readers and the HTTP layer use them.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from .. import hub_events
from ..event_stream import Event, encode, with_trace
from ..position import Position
from ..topics import Selector

# Makes a named tuple in half the time that its own `__new__` takes: `make(Receipt, (position, False))`.
make = tuple.__new__

# Bytes that an entry costs besides its text: the object, and its place in three lists.
ENTRY_OVERHEAD = 256
# Marks kept: a busy neighbour causes no false gap until this many topics are trimmed away.
MAX_MARKS = 100_000


class Record(NamedTuple):
    """
    What the log keeps outside retention: see `records`.

    `until` is on the log's clock, in Unix seconds; `offset` is that of the entry that set it.
    """

    kind: str
    name: str
    value: str
    until: float
    offset: int


class NewRecord(NamedTuple):
    """A record that a draft asks for. `lifetime` is in seconds."""

    kind: str
    name: str
    value: str
    lifetime: float


class RunStart(NamedTuple):
    """The start of a run in the draft's topic, unless there was one with this key: see `runs.Run`."""

    key: str
    run: str
    node: str
    dialect: str


class RunItem(NamedTuple):
    """The draft is an item of an open run; `number` is how many items came before it."""

    key: str
    run: str
    number: int


class RunStop(NamedTuple):
    """The end of a run, unless it has one. `closing` are its last events: the type and the data of each."""

    key: str
    run: str
    state: str
    reason: str
    closing: tuple[tuple[str, str], ...] = ()


class Draft(NamedTuple):
    """
    What is to be stored: an event, the end of a topic (then `data` is the reason), a record, or a step
    of a run.

    The draft of a record has no topic of its own, and nothing but the record. That of a step, which stands in
    the same place, has the topic of the run; only an item has data and a type.
    """

    topic: str
    data: str = ""
    event: str = "message"
    retry: int | None = None
    key: str | None = None
    end: bool = False
    record: NewRecord | RunStart | RunItem | RunStop | None = None
    traceparent: str | None = None
    """The trace of the publish, which subscribers are told."""

    def digest(self) -> bytes:
        """Return what tells two drafts with the same key apart: SHA-256 of topic, type, retry and data."""
        parts = (self.topic, self.event, "" if self.retry is None else str(self.retry), self.data)
        # Lengths first, so that different drafts never produce the same bytes.
        texts = [part.encode() for part in parts]
        return hashlib.sha256(b"".join(b"%d:%b" % (len(text), text) for text in texts)).digest()


# The frames of an entry before it is encoded. A list for each entry would be a fifth of its cost.
NO_FRAMES: tuple[bytes | None, bytes | None] = (None, None)


class Entry:
    """
    One element of the log: an event of a topic, the topic's end, or a record. A `hub.run` is an event, too.

    `frames` are its two spellings, each encoded once: without and with its `topic:` line.
    """

    __slots__ = (
        "data",
        "end",
        "event",
        "frames",
        "position",
        "retry",
        "size",
        "time",
        "topic",
        "traceparent",
    )

    def __init__(
        self,
        position: Position,
        topic: str,
        data: str,
        event: str = "message",
        retry: int | None = None,
        end: bool = False,
        time: float = 0.0,
        traceparent: str | None = None,
    ) -> None:
        self.position = position
        self.topic = topic
        self.data = data
        self.event = event
        self.retry = retry
        self.end = end
        self.time = time
        self.traceparent = traceparent
        # A character may be four bytes, and the limits are in bytes.
        text = len(data) if data.isascii() else len(data.encode(errors="replace"))
        self.size = text + len(topic) + len(event) + ENTRY_OVERHEAD
        self.frames = NO_FRAMES

    def __repr__(self) -> str:
        return f"Entry({str(self.position)!r}, {self.topic!r}, {self.data!r}, {self.event!r})"

    @property
    def offset(self) -> int:
        return self.position.offset

    @property
    def is_control(self) -> bool:
        """Whether it is an event of the hub, which a plain stream leaves out."""
        return self.end or self.event == hub_events.RUN

    def as_event(self) -> Event:
        """Return the event that a subscriber sees; a topic's end is a `hub.end`."""
        if self.end:
            data = hub_events.end_data(self.topic, self.data)
            return Event(data, hub_events.END, str(self.position), topic=self.topic)
        event = Event(self.data, self.event, str(self.position), self.retry, self.topic)
        return event if self.traceparent is None else with_trace(event, self.traceparent)

    def frame(self, with_topic: bool) -> bytes:
        """Return the bytes of this entry, encoded once. Raises `InvalidInput` if a foreign field is bad."""
        frame = self.frames[with_topic]
        if frame is None:
            event = self.as_event()
            if not with_topic:
                event.topic = None
            frame = encode(event)
            self.frames = (self.frames[0], frame) if with_topic else (frame, self.frames[1])
        return frame


class Receipt(NamedTuple):
    """The engine's answer: where a draft is, and whether it was already there (same key, or a second end)."""

    position: Position
    duplicate: bool = False


class Since(NamedTuple):
    """
    Where a subscription starts, if not at a position.

    `now`, `start`, the `last` N events, seconds `ago`, `at` a time (Unix
    seconds), `after` an offset (what the engine found for one of these), or
    `invalid`: the client sent a position that cannot be read.
    """

    kind: Literal["now", "start", "last", "ago", "at", "after", "invalid"]
    value: float = 0

    @property
    def asks_engine(self) -> bool:
        """Whether only the engine knows where this is."""
        return self.kind in ("last", "ago", "at")


class Marks:
    """
    Per topic, the offset of its newest entry that is no longer kept.

    The engine owns the marks and sets them in order; nodes read them. The
    `limit` newest are kept; `dropped`, the largest mark no longer kept, stands
    for all others.
    """

    __slots__ = ("_limit", "_marks", "dropped", "newest")

    def __init__(self, limit: int = MAX_MARKS) -> None:
        self._limit = limit
        self._marks: OrderedDict[str, int] = OrderedDict()
        self.dropped = 0
        self.newest = 0
        """The largest mark."""

    def __len__(self) -> int:
        return len(self._marks)

    def items(self) -> Iterable[tuple[str, int]]:
        return self._marks.items()

    def newest_first(self) -> Iterable[tuple[str, int]]:
        """Return each topic and its mark, the largest mark first. Do not set marks while iterating."""
        return reversed(self._marks.items())

    def set(self, topic: str, offset: int) -> None:
        """Record that the entry of `topic` at `offset` is trimmed; offsets only grow."""
        self._marks[topic] = self.newest = offset
        self._marks.move_to_end(topic)
        if len(self._marks) > self._limit:
            _, self.dropped = self._marks.popitem(last=False)

    def update(self, marks: Iterable[tuple[str, int]], dropped: int = 0) -> None:
        """Set `marks`, in the order of their offsets; `dropped` is the largest one no longer among them."""
        for topic, offset in marks:
            self.set(topic, offset)
        self.dropped = max(self.dropped, dropped)

    def of(self, topic: str) -> int:
        return self._marks.get(topic, self.dropped)


class Head(NamedTuple):
    """The state of a log at one moment, as an engine reports it when the log is opened or reset."""

    position: Position
    floor: int
    lives: tuple[tuple[str, int], ...]
    marks: Marks
    records: Sequence[Record]
    """What is kept outside retention, each kind in the order of its offsets."""
    newest: Sequence[Entry] = ()
    """The entries up to the position, as many as the engine can provide: a window starts with them."""


class Page(NamedTuple):
    """Entries in order, the offset through which the log was read, and the trim state at that moment."""

    entries: Sequence[Entry]
    through: int
    floor: int
    marks: Marks

    def read(self, after: int, selector: Selector, max_bytes: int) -> tuple[list[Entry], int]:
        """Return the entries after `after` as `Window.read` does."""
        first = bisect_right(self.entries, after, key=lambda entry: entry.offset)
        return join(self.entries[first:], self.through, selector, max_bytes)


def join(
    entries: Iterable[Entry], through: int, selector: Selector, max_bytes: int
) -> tuple[list[Entry], int]:
    """Return the first entries with at most `max_bytes` of frames, or one, and the offset they reach."""
    found: list[Entry] = []
    size = 0
    with_topic = not selector.single
    for entry in entries:
        # Nearly always it is encoded already, and a call would cost more than the rest of the step.
        size += len(entry.frames[with_topic] or entry.frame(with_topic))
        if size > max_bytes and found:
            return found, found[-1].offset
        found.append(entry)
    return found, through


def frames_of(entries: Iterable[Entry], with_topic: bool) -> bytes:
    """Return the joined frames of `entries`."""
    return b"".join([entry.frames[with_topic] or entry.frame(with_topic) for entry in entries])
