"""
What the tests of the core use in place of an engine, a socket and time.

All of it goes through the same seams as the real ones: an `Engine`, a `Wire`, an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

from tidewire.delivery.cohort import Cohort
from tidewire.delivery.memory_watch import Share
from tidewire.delivery.node import Node
from tidewire.engines.memory import MemoryEngine
from tidewire.errors import KeyConflict, TopicEnded, Unavailable
from tidewire.event_stream import Comment, Event
from tidewire.log.engine import Durability, LookBack, Sink
from tidewire.log.entries import Draft, Entry, Head, Marks, Page, Receipt, Record, Since
from tidewire.log.presence import Alone
from tidewire.log.records import END
from tidewire.metrics import Metrics
from tidewire.position import Position, new_life, parse_position
from tidewire.settings import Settings
from tidewire.testing.clock import VirtualLoop, drift, quiet, until, virtual  # noqa: F401 - for the tests
from tidewire.testing.wire import RecordingWire, ask, listen, unchunked  # noqa: F401 - for the tests
from tidewire.topics import Selector

NOW = Since("now")
START = Since("start")
INVALID = Since("invalid")


# -- the node


@contextlib.asynccontextmanager
async def open_node(engine: Any = None, memory: Share = lambda: None, **settings: Any) -> AsyncIterator[Node]:
    """Open a node on `engine` (a new memory engine if None), and check at the end that no stream is left."""
    chosen = Settings(**settings)
    node = Node(engine or MemoryEngine("memory", chosen), chosen, Metrics(), memory)
    await node.open()
    try:
        yield node
    finally:
        await node.close()
    assert node.streams_open == 0
    assert not node.tally.counts().clients


async def publish(node: Node, topic: str, *data: str, key: str | None = None) -> list[Position]:
    """Publish one event after another and return their positions."""
    return [(await node.append([Draft(topic, text, key=key)]))[0].position for text in data]


async def end(node: Node, topic: str, reason: str = "ended") -> Receipt:
    return (await node.append([Draft(topic, reason, end=True)]))[0]


def numbers(first: int, last: int) -> list[str]:
    """Return the numbers from `first` to `last` as data of events."""
    return [str(number) for number in range(first, last + 1)]


def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()


def sample(node: Node, name: str, **labels: str) -> float:
    """Return the value of a node's metric `tidewire_<name>`."""
    return node.metrics.registry.get_sample_value(f"tidewire_{name}", labels) or 0.0


def heartbeats(wire: RecordingWire) -> int:
    """Return how many heartbeats a stream has had."""
    return sum(item == Comment("") for item in wire.read())


def cohorts_of(node: Node) -> Iterator[Cohort]:
    """Yield the cohorts of a node: their state between two steps is not visible from outside."""
    yield from node.rounds.cohorts


# -- the engine


class FakeLog:
    """
    The log behind one or more `FakeEngine`s, open to the tests.

    Tests write to it as foreign writers do, trim it and make it go back. Each
    change is reported to every engine that follows.
    """

    def __init__(self, *, checks: bool = True, retention: int = 1_000_000) -> None:
        self.checks = checks
        self.retention = retention
        self.lives = [(new_life(), 1)]
        self.everything: list[Entry] = []  # trimmed entries too
        self.entries: list[Entry] = []  # kept entries
        self.floor = 1
        self.marks: dict[str, int] = {}
        self.ends: dict[str, Position] = {}
        self.keys: dict[tuple[str, str], tuple[bytes, Position]] = {}
        self.age = 0  # grows when it goes back
        self.time = 0.0
        self.engines: list[FakeEngine] = []
        self._last = Position(self.lives[0][0], 0)

    @property
    def head(self) -> int:
        return self.floor + len(self.entries) - 1

    def write(
        self, topic: str, data: str = "", event: str = "message", retry: Any = None, end: bool = False
    ) -> Position:
        """Add one entry, without any check."""
        position = self._add(Draft(topic, data, event, retry, end=end))
        self.tell()
        return position

    def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        known = [self._known(draft, index) for index, draft in enumerate(drafts)]
        receipts = []
        for draft, position in zip(drafts, known, strict=True):
            receipts.append(Receipt(position, True) if position else Receipt(self._add(draft)))
            if draft.key is not None:
                self.keys[draft.topic, draft.key] = (draft.digest(), receipts[-1].position)
        return receipts

    def _known(self, draft: Draft, index: int) -> Position | None:
        if draft.key is not None and (held := self.keys.get((draft.topic, draft.key))):
            if held[0] != draft.digest():
                raise KeyConflict("this key was used for another event", index=index)
            return held[1]
        ended = self.ends.get(draft.topic)
        if ended and not draft.end:
            raise TopicEnded("the topic has ended", index=index)
        return ended

    def _add(self, draft: Draft) -> Position:
        offset = self.head + 1
        # Never the same twice in a row: after the log went back, entries have other checks for sure.
        check = f"{(offset * 7 + self.age * 31) % 1_000_000:06}" if self.checks else ""
        self._last = Position(self.lives[-1][0], offset, check)
        entry = Entry(self._last, draft.topic, draft.data, draft.event, draft.retry, draft.end, self.time)
        self.everything.append(entry)
        self.entries.append(entry)
        if entry.end:
            self.ends[entry.topic] = entry.position
        return self._last

    def trim(self, count: int = 1) -> None:
        """Drop the `count` oldest entries."""
        for entry in self.entries[:count]:
            self.marks[entry.topic] = entry.offset
            self.floor = entry.offset + 1
        del self.entries[:count]
        self.tell()

    def go_back(self, to: int, *, in_silence: bool = False) -> None:
        """Lose what is newer than offset `to`, as after a failover. `in_silence`: no node notices."""
        assert self.floor - 1 <= to <= self.head
        del self.entries[to - self.floor + 1 :]
        self.everything = self.everything[:to]  # a new list: holders of the old one keep what was lost
        self.ends = {topic: position for topic, position in self.ends.items() if position.offset <= to}
        self.age += 1
        self._last = self.everything[-1].position if to else Position(self.lives[0][0], 0)
        if not in_silence:
            self.lives = [life for life in self.lives if life[1] <= to + 1]
            self.begin_life()
            self.keys.clear()
        self.tell()

    def begin_life(self) -> None:
        # A life that wrote nothing is replaced, except the first: offset 0 belongs to it.
        if len(self.lives) > 1 and self.lives[-1][1] == self.head + 1:
            del self.lives[-1]
        self.lives.append((new_life(), self.head + 1))

    def tell(self) -> None:
        for engine in self.engines:
            engine.follow()
        if len(self.entries) > self.retention:
            self.trim(len(self.entries) - self.retention)

    def state(self) -> Head:
        ends = [Record(END, topic, "", 0.0, position.offset) for topic, position in self.ends.items()]
        return Head(self._last, self.floor, tuple(self.lives), self.marks_now(), ends)

    def marks_now(self) -> Marks:
        marks = Marks()
        for topic, mark in sorted(self.marks.items(), key=lambda item: item[1]):
            marks.set(topic, mark)
        return marks

    def copies(self, after: int, through: int) -> list[Entry]:
        """Return entries as an engine reads them: always new objects, because nodes keep frames in them."""
        first, last = max(after - self.floor + 1, 0), through - self.floor + 1
        return [
            Entry(e.position, e.topic, e.data, e.event, e.retry, e.end, e.time)
            for e in self.entries[first : max(last, 0)]
        ]


class FakeEngine:
    """
    One node's engine on a `FakeLog`.

    `down()` / `up()`: an outage. `hold()` / `release()`: it lags behind the log.
    `slow()` / `fast()`: no call is answered in between. `late`: receipts come
    before the entries they name. Not `shared`: it is the log's only writer, and
    a new life starts when it is opened.
    """

    durability: Durability = "process"
    failure = ""

    def __init__(self, log: FakeLog | None = None, *, shared: bool = True) -> None:
        self.log = log or FakeLog(checks=shared)
        self.shared = self.has_peers = shared
        self.trusted = not shared
        self.presence = Alone()
        self.late = False
        self.closed = False
        self.calls: list[tuple[Any, ...]] = []
        self.page_entries = 10_000  # examined for one page
        self.delay = 0.0  # seconds that each answer takes
        self.before_read: Callable[[int], object] = lambda after: None
        self._sink: Sink | None = None
        self._reachable = True
        self._following = True
        self._answers = asyncio.Event()
        self._answers.set()

    async def open(self, sink: Sink) -> Head:
        self._sink = sink
        if not self.shared:
            self.log.begin_life()
        self._reported = self.log.head
        self._floor = self.log.floor
        self._age = self.log.age
        self.log.engines.append(self)
        return self.log.state()

    async def close(self) -> None:
        self.closed = True
        if self in self.log.engines:
            self.log.engines.remove(self)

    # -- what tests do to it

    def down(self) -> None:
        self._reachable = False
        self._answers.set()
        assert self._sink
        self._sink.available(False)

    def up(self) -> None:
        """End the outage: report what was missed first, and only then that the engine is up."""
        self._reachable = True
        self.follow()
        assert self._sink
        self._sink.available(True)

    def hold(self) -> None:
        self._following = False

    def release(self) -> None:
        self._following = True
        self.follow()

    def slow(self) -> None:
        self._answers.clear()

    def fast(self) -> None:
        self._answers.set()

    # -- what the node calls

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        self.calls.append(("append", *drafts))
        await self._answer()
        receipts = self.log.append(drafts)
        if self.late:
            asyncio.get_running_loop().call_later(0.01, self.log.tell)
        else:
            self.log.tell()
        return receipts

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        self.calls.append(("read", after, limit, selector))
        await self._answer()
        self.before_read(after)
        found: list[Entry] = []
        through = after
        for entry in self.log.copies(after, self._reported)[: self.page_entries]:
            through = entry.offset
            if selector is None or selector.matches(entry.topic):
                found.append(entry)
                if len(found) == limit:
                    break
        return Page(found, through, self.log.floor, self.log.marks_now())

    async def locate(self, since: Since) -> int:
        self.calls.append(("locate", since))
        await self._answer()
        if since.kind in ("ago", "at"):
            at = since.value if since.kind == "at" else self.log.time - since.value
            return next((e.offset for e in self.log.entries if e.time >= at), self.log.head + 1) - 1
        return self.log.floor - 1 if since.kind == "start" else self.log.head

    async def look_back(self, last: int, selector: Selector) -> LookBack:
        self.calls.append(("look_back", last, selector))
        await self._answer()
        first = max(last - self.page_entries + 1, self.log.floor)
        kept = self.log.copies(first - 1, last)
        found = [e.offset for e in kept if selector.matches(e.topic) and not e.end]
        return LookBack(found, first if first > self.log.floor else 1)

    async def _answer(self) -> None:
        await self._answers.wait()
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self._reachable:
            raise Unavailable("the engine cannot be reached", code="engine_unavailable", retry_after=1)
        if self._age != self.log.age:
            # No answer may come from a log that was not reported to the sink.
            self._report()

    def follow(self) -> None:
        """Report to the sink what it has not had."""
        if self._sink is not None and self._following and self._reachable:
            self._report()

    def _report(self) -> None:
        log, sink = self.log, self._sink
        assert sink
        if self._age != log.age or self._reported < log.floor - 1:
            # The log went back, or the next entry is trimmed: there is nothing to continue from.
            sink.reset(log.state())
        else:
            if self._reported < log.head:
                sink.entries(log.copies(self._reported, log.head))
            if self._floor != log.floor:
                sink.trimmed(log.floor, log.marks_now())
        self._reported, self._floor, self._age = log.head, log.floor, log.age


def positions(events: Iterable[Event]) -> list[Position]:
    return [parse_position(event.id or "") for event in events]
