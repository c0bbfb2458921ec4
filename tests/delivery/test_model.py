"""
Anything that can happen to a hub, in any order, against a model of what its streams must send.

Three machines differ in their engine: the memory engine, whose restart is
another log; an engine that keeps its log, with a new life at each start; and the
engine of several nodes, which may be unreachable, lag, and go back. Each write of
each stream is judged at the moment it is made:

G3, G4  the next matching entry and no other; nothing left out when all is quiet
G5      nothing twice, not even after a resume
G6      a gap before the next event if something was left out or the log went
        back behind the client's last id, with the right reason; and no gap otherwise
G7      no id names two events

`MODEL_STEPS=200000 MODEL_SEED=7 pytest tests/delivery/test_model.py` runs longer,
and reproduces a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support.fakes import FakeEngine, FakeLog, RecordingWire, VirtualLoop, cohorts_of
from tidewire.delivery.node import Node
from tidewire.engines.memory import MemoryEngine
from tidewire.errors import KeyConflict, TopicEnded, Unavailable
from tidewire.event_stream import Event
from tidewire.log.engine import Sink
from tidewire.log.entries import Draft, Entry, Head, Marks, Since
from tidewire.metrics import Metrics
from tidewire.position import Position, parse_position
from tidewire.settings import Settings
from tidewire.topics import Selector

STEPS = int(os.environ.get("MODEL_STEPS", "5000"))
SEED = int(os.environ.get("MODEL_SEED") or random.SystemRandom().randrange(2**32))
PER_RUN = 60
STREAMS = 9

TOPICS = ["a", "b", "c/1", "c/2", "c/1/x", "d"]
SELECTORS = [["a"], ["b"], ["a", "b"], ["c/*"], ["c/**", "a"], ["**"], ["a", "d", "nobody"], ["nobody"]]


class Model:
    """The log as it was reported to this node, including what retention trimmed: it judges the streams."""

    def __init__(self, node: Node, head: Head, entries: list[Entry]) -> None:
        self.node = node
        self.lives = head.lives
        self.reported_floor = head.floor
        self.head = head.position.offset
        self.entries = entries  # of a shared log also those beyond this node's head

    @property
    def floor(self) -> int:
        # A page of the engine may show it before it is reported to the sink.
        return self.node.window.floor

    def add(self, batch: Sequence[Entry]) -> None:
        if len(self.entries) == self.head:
            self.entries += batch
        self.head += len(batch)

    def life(self, offset: int) -> str:
        if 0 < offset <= self.head:
            return self.entries[offset - 1].position.life
        return self.lives[-1 if offset else 0][0]

    def matching(self, selector: Selector, after: int, through: int) -> list[Entry]:
        return [entry for entry in self.entries[after:through] if selector.matches(entry.topic)]

    def all_ended(self, selector: Selector) -> bool:
        ended = {entry.topic for entry in self.entries[: self.head] if entry.end}
        return not selector.patterns and selector.topics <= ended

    def judge(self, claim: Position | Since, selector: Selector) -> tuple[str | None, int]:
        """Return why `claim` is a gap, or None, and where the stream continues."""
        oldest = self.floor - 1
        if isinstance(claim, Since):
            return "invalid", self.head
        if claim.life != self.life(claim.offset):
            own = [n for n in range(1, min(claim.offset, self.head) + 1) if self.life(n) == claim.life]
            return "foreign", max(own[-1] if own else oldest, oldest)
        if claim.offset > self.head:
            return "future", self.head
        if claim.check and oldest >= claim.offset != self.head:
            return "trimmed", oldest
        if claim.check and self.entries[claim.offset - 1].position.check != claim.check:
            return "foreign", oldest
        missed = self.matching(selector, claim.offset, oldest)
        return ("trimmed", oldest) if missed else (None, claim.offset)


class Stream(RecordingWire):
    """One stream. It judges each item at the moment it is written."""

    def __init__(self, machine: Hub, selector: Selector, claim: Position | Since) -> None:
        super().__init__(room=None)
        self.machine = machine
        self.selector = selector
        self.claim: Position | Since | None = claim
        self.at = claim.offset if isinstance(claim, Position) else 0
        self.held = claim if isinstance(claim, Position) else None  # the last id that its client has
        self.head = machine.model.head  # when it was opened

    def _record(self, data: bytes) -> None:
        super()._record(data)
        # A failure in here must not be raised: a write that raises is a lost connection.
        try:
            self.check_new()
        except Exception as fault:
            self.machine.faults.append(fault)

    def attach(self) -> None:
        assert self.subscriber
        self.subscriber.attach(self, "raw")

    def check_new(self) -> None:
        seen = len(self.items)
        for item in self.read()[seen:]:
            if isinstance(item, Event):
                self.check(item)

    def check(self, event: Event) -> None:
        assert event.id, "without an id a client cannot resume"
        position = parse_position(event.id)
        if event.event == "hub.gap":
            self.check_gap(event.json(), position)
        else:
            self.check_held()
            assert not isinstance(self.claim, Since) or self.claim.kind != "invalid"
            if event.event == "hub.position":
                self.check_position(position)
            else:
                self.check_entry(event, position)
        assert self.machine.model.life(position.offset) == position.life
        self.at, self.claim, self.held = position.offset, None, position

    def check_held(self) -> None:
        """Check that no gap is due: the log can continue the last id that the client has."""
        if self.held is not None:
            assert self.machine.model.judge(self.held, self.selector)[0] in (None, "trimmed")

    def check_gap(self, gap: dict[str, Any], position: Position) -> None:
        model = self.machine.model
        requested = Since("invalid") if gap.get("requested") is None else parse_position(gap["requested"])
        if requested != self.claim:
            # Mid-stream: the last id that was sent if the log lost it, otherwise where the stream was.
            assert isinstance(requested, Position)
            assert self.held is not None
            if gap["reason"] == "foreign":
                assert (requested.life, requested.offset) == (self.held.life, self.held.offset)
            assert not model.matching(self.selector, *sorted((self.at, requested.offset)))
        assert model.judge(requested, self.selector) == (gap["reason"], position.offset)
        if gap["reason"] == "trimmed" and isinstance(requested, Position) and not requested.check:
            missed = model.matching(self.selector, requested.offset, position.offset)
            terms = [t for t in self.selector.terms if any(Selector([t]).matches(e.topic) for e in missed)]
            assert gap["topics"] == terms
        assert parse_position(gap["head"]).offset == model.head
        oldest = parse_position(gap["oldest"]).offset if gap["oldest"] else None
        assert oldest == (model.floor if model.floor <= model.head else None)

    def check_position(self, position: Position) -> None:
        model = self.machine.model
        if isinstance(self.claim, Since):
            self.at = position.offset
            if self.claim.kind == "start":
                assert self.at == model.floor - 1
            elif self.claim.kind == "now":
                assert self.at == self.head
            else:
                # At most this many of the events there were when it was opened, and those that came since.
                before = model.matching(self.selector, self.at, self.head)
                assert len([entry for entry in before if not entry.end]) <= self.claim.value or not before
                assert min(self.head, model.floor - 1) <= self.at <= max(self.head, model.floor - 1)
        assert position.offset >= self.at
        assert not model.matching(self.selector, self.at, position.offset), "moved over an event"

    def check_entry(self, event: Event, position: Position) -> None:
        model = self.machine.model
        expected = model.matching(self.selector, self.at, model.head)
        topic = event.json()["topic"] if event.event == "hub.end" else event.topic or self.selector.terms[0]
        if event.event == "hub.end" and not expected:
            # Not the entry itself, but a notice of it for a stream that was opened later.
            assert model.all_ended(self.selector)
            assert topic in self.selector.topics
            return
        entry = expected[0]
        assert (position, topic) == (entry.position, entry.topic)
        assert event == Event(*shown(entry), topic=None if self.selector.single else entry.topic)

    def check_quiet(self) -> None:
        """Check that nothing is missing: nothing more can come."""
        model = self.machine.model
        self.check_held()
        assert not self.overrun
        assert not isinstance(self.claim, Since), "it was never sent where it starts"
        left = model.matching(self.selector, self.at, model.head)
        assert not left, f"{len(left)} events were left out"
        assert self.ended == model.all_ended(self.selector)


def shown(entry: Entry) -> tuple[str, str, str]:
    event = entry.as_event()
    return event.data, event.event, str(entry.position)


class Tap:
    """Between the engine and the node: each report reaches the model first, then the node."""

    def __init__(self, machine: Hub, node: Node) -> None:
        self.machine = machine
        self.node: Sink = node

    def entries(self, batch: Sequence[Entry]) -> None:
        for entry in batch:
            content = (entry.topic, entry.data, entry.end)
            assert self.machine.names.setdefault(str(entry.position), content) == content, (
                "an id names two events"
            )
            self.machine.ids.append(entry.position)
        self.machine.model.add(batch)
        self.node.entries(batch)

    def trimmed(self, floor: int, marks: Marks) -> None:
        self.machine.model.reported_floor = floor
        self.node.trimmed(floor, marks)

    def reset(self, head: Head) -> None:
        self.machine.change_log(head)
        self.node.reset(head)

    def available(self, up: bool) -> None:
        self.node.available(up)


class Tapped:
    """An engine that reports through a tap."""

    def __init__(self, machine: Hub, engine: Any) -> None:
        self.machine = machine
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def open(self, node: Any) -> Head:
        head: Head = await self.engine.open(Tap(self.machine, node))
        log = getattr(self.engine, "log", None)
        self.machine.model = Model(node, head, log.everything if log else [])
        return head


class Hub(RuleBasedStateMachine):
    """A node on a memory engine: each restart is another log."""

    settings_of_node: ClassVar[dict[str, Any]] = {
        "window_entries": 6,
        "retention_entries": 12,
        "key_age": 1e9,
        "max_age": 1e6,
        "send_timeout": 1e6,
    }

    @initialize()
    def start(self) -> None:
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self.on_exception)
        self.faults: list[Exception] = []
        self.names: dict[str, Any] = {}
        self.ids: list[Position] = []
        self.count = 0
        self.prepare()
        self.begin()

    def on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(context.get("exception") or AssertionError(context["message"]))

    def prepare(self) -> None:
        """Create what outlives a restart."""

    def make_engine(self, limits: Settings) -> Any:
        # Nothing survives a restart, not even keys.
        self.keys: dict[tuple[str, str], tuple[str, Position]] = {}
        return MemoryEngine("memory", limits)

    def begin(self) -> None:
        limits = Settings(**self.settings_of_node)
        self.engine = Tapped(self, self.make_engine(limits))
        self.node = self.do(lambda: Node(self.engine, limits, Metrics()))
        self.streams: list[Stream] = []
        self.run(self.node.open())
        # Some streams from the start, so that there are always cohorts with several members.
        for terms in [["**"]] * 4 + [["a"], ["a", "c/*"]]:
            self.open(Selector(terms), Since("now"), 0)

    def change_log(self, head: Head) -> None:
        raise AssertionError("only a shared log goes back")

    # -- driving the loop

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(asyncio.ensure_future(work, loop=self.loop))

    def do(self, call: Callable[[], Any]) -> Any:
        async def within() -> Any:
            return call()

        return self.run(within())

    def rest(self) -> None:
        """Run everything that can run now."""
        self.loop.drift = 0
        self.run(asyncio.sleep(2))

    def able(self) -> bool:
        return True

    # -- publishing

    @rule(topic=st.sampled_from(TOPICS), count=st.integers(1, 3))
    def publish(self, topic: str, count: int) -> None:
        for _ in range(count):
            self.append([self.draft(topic)])

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=2, max_size=20))
    def publish_batch(self, topics: list[str]) -> None:
        self.append([self.draft(topic) for topic in topics])

    @rule(topic=st.sampled_from(TOPICS), key=st.sampled_from("xyz"), data=st.sampled_from("12"))
    def publish_with_key(self, topic: str, key: str, data: str) -> None:
        held = self.keys.get((topic, key))
        try:
            receipt = self.run(self.node.append([Draft(topic, data, key=key)]))[0]
        except KeyConflict:
            assert held
            assert held[0] != data
        except TopicEnded:
            assert held is None
            assert topic in self.ended()
        except Unavailable:
            assert not self.able()
            self.after_unknown(topic, key)
        else:
            assert receipt.duplicate == (held is not None)
            assert held is None or held == (data, receipt.position)
            self.keys[topic, key] = (data, receipt.position)

    def after_unknown(self, topic: str, key: str) -> None:
        """Find out whether a publish that got no answer was stored."""

    def entries(self) -> list[Entry]:
        """Return what is in the log, even if this node has not had it yet."""
        return self.model.entries

    def ended(self) -> dict[str, Position]:
        return {entry.topic: entry.position for entry in self.entries() if entry.end}

    @precondition(lambda self: len(self.ended()) < 3)
    @rule(topic=st.sampled_from(TOPICS))
    def end(self, topic: str) -> None:
        self.append([Draft(topic, "over", end=True)])

    def draft(self, topic: str) -> Draft:
        self.count += 1
        return Draft(topic, str(self.count))

    def append(self, drafts: list[Draft]) -> None:
        ended = self.ended()
        try:
            receipts = self.run(self.node.append(drafts))
        except TopicEnded:
            assert any(draft.topic in ended for draft in drafts)
        except Unavailable:
            assert not self.able()
        else:
            for draft, (position, duplicate) in zip(drafts, receipts, strict=True):
                entry = self.entries()[position.offset - 1]
                assert (entry.position, entry.topic, entry.end) == (position, draft.topic, draft.end)
                assert duplicate == (draft.topic in ended)
                assert draft.end or entry.data == draft.data

    # -- streams

    @precondition(lambda self: len(self.streams) < STREAMS)
    @rule(
        terms=st.sampled_from(SELECTORS),
        since=st.sampled_from(["now", "start", "last:3", "invalid", "id", "id", "id", "newest", "newest"]),
        number=st.integers(0, 1000),
        change=st.sampled_from(["", "", "", "life", "offset", "check"]),
        turns=st.integers(0, 3),
    )
    def subscribe(self, terms: list[str], since: str, number: int, change: str, turns: int) -> None:
        claim: Since | Position = Since(since) if since in ("now", "start", "invalid") else Since("last", 3)
        if since in ("id", "newest"):
            claim = self.position(since, number, change)
        self.open(Selector(terms), claim, turns)

    def position(self, which: str, number: int, change: str) -> Position:
        """Return a position that a client may send: any id there ever was, or one close to it."""
        known = self.ids[-10:] if which == "newest" else self.ids
        position = known[number % len(known)] if known else Position(self.model.lives[0][0], 0)
        if change == "life":
            position = position._replace(life="other1")
        elif change == "offset":
            position = position._replace(offset=number % 40)
        elif change == "check" and position.offset >= self.node.window.start and self.able():
            # Judged at once: while the position waits, the window may drop the entry to compare it with.
            position = position._replace(check="zzzzzz")
        # Without its check if the model cannot know whether the node can compare it.
        return position if position in self.ids or change == "check" else position._replace(check="")

    def open(self, selector: Selector, claim: Since | Position, turns: int) -> None:
        stream = self.run(self.ask(selector, claim))
        if stream is not None:
            self.loop.step(turns)
            self.do(stream.attach)

    async def ask(self, selector: Selector, claim: Since | Position) -> Stream | None:
        stream = Stream(self, selector, claim)
        judged = self.model.judge(claim, selector)
        opening = await self.node.subscribe(selector, claim)
        if opening is None:
            assert self.model.all_ended(selector)
            if isinstance(claim, Position):
                assert judged[0] is None
                assert not self.model.matching(selector, claim.offset, self.model.head)
            return None
        stream.subscriber, first = opening
        stream.begin(first)
        for item in stream.items:
            if isinstance(item, Event):
                stream.check(item)
        self.streams.append(stream)
        return stream

    @precondition(lambda self: self.streams)
    @rule(number=st.integers(0, STREAMS))
    def disconnect(self, number: int) -> None:
        stream = self.streams.pop(number % len(self.streams))
        self.do(stream.leave)

    @precondition(lambda self: self.streams)
    @rule(number=st.integers(0, STREAMS), turns=st.integers(0, 3))
    def reconnect(self, number: int, turns: int) -> None:
        stream = self.streams.pop(number % len(self.streams))
        self.do(stream.leave)
        if stream.decoder.last_event_id:
            self.open(stream.selector, stream.last_id, turns)

    @precondition(lambda self: self.streams)
    @rule(number=st.integers(0, STREAMS), room=st.sampled_from([0, 0, 150, 400]))
    def stall(self, number: int, room: int) -> None:
        self.streams[number % len(self.streams)].room = room

    @precondition(lambda self: any(stream.room is not None for stream in self.streams))
    @rule(number=st.integers(0, STREAMS), room=st.sampled_from([None, 0, 150, 400]))
    def read(self, number: int, room: int | None) -> None:
        stalled = [stream for stream in self.streams if stream.room is not None]
        stream = stalled[number % len(stalled)]
        self.do(lambda: stream.take(room))

    @precondition(lambda self: self.streams)
    @rule(
        actions=st.lists(
            st.tuples(
                st.sampled_from(["publish", "publish", "leave", "pause", "take", "again"]),
                st.integers(0, STREAMS),
                st.sampled_from(TOPICS),
            ),
            min_size=2,
            max_size=6,
        )
    )
    def at_once(self, actions: list[tuple[str, int, str]]) -> None:
        """Let several things happen before the loop continues."""

        async def within() -> None:
            for action, number, topic in actions:
                if action == "publish":
                    with contextlib.suppress(TopicEnded, Unavailable):
                        await self.node.append([self.draft(topic)])
                elif self.streams:
                    await self.act(action, self.streams[number % len(self.streams)])

        self.run(within())

    async def act(self, action: str, stream: Stream) -> None:
        assert stream.subscriber
        if action == "pause":
            # As a transport does when its buffer fills up, or is already full when it is taken over.
            stream.room = 0
            stream.subscriber.pause_writing()
        elif action == "take":
            stream.take()
        else:
            self.streams.remove(stream)
            stream.leave()
            if action == "again" and stream.decoder.last_event_id:
                again = await self.ask(stream.selector, stream.last_id)
                if again is not None:
                    again.attach()

    # -- time

    @rule(turns=st.integers(1, 6), drift=st.sampled_from([0, 0.001, 0.005]))
    def turn(self, turns: int, drift: float) -> None:
        """Let the loop run a few turns; with `drift` its steps end early."""
        self.loop.drift = drift
        self.loop.step(turns)

    @rule()
    def wait(self) -> None:
        """Let a heartbeat pass."""
        self.loop.drift = 0
        self.run(asyncio.sleep(16))

    @precondition(lambda self: self.able())
    @rule()
    def settle(self) -> None:
        """Let all streams read everything. Nothing may be missing then."""
        for stream in self.streams:
            self.do(stream.take)
        self.rest()
        for stream in self.streams:
            stream.check_quiet()
        self.forget_ended()

    def forget_ended(self) -> None:
        self.streams = [stream for stream in self.streams if not stream.ended]

    @rule()
    def restart(self) -> None:
        self.loop.drift = 0
        self.run(self.node.close())
        assert all(stream.ended for stream in self.streams)
        assert self.node.streams_open == 0
        self.begin()

    # -- invariants

    @invariant()
    def nothing_is_wrong(self) -> None:
        if not hasattr(self, "node"):
            return
        if self.faults:
            raise self.faults[0]
        open_ones = [s for s in self.streams if s.subscriber and s.subscriber.open]
        assert self.node.streams_open == len(open_ones)
        for cohort in cohorts_of(self.node):
            assert not cohort.news or cohort.scheduled
            assert not cohort.members.keys() & cohort.behind
        for stream in open_ones:
            assert stream.overrun == 0
        assert self.model.reported_floor <= self.model.floor <= self.true_floor()
        assert self.model.head == self.node.window.head

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        try:
            self.recover()
            self.settle()
            self.nothing_is_wrong()
        finally:
            self.run(self.node.close())
            self.loop.close()

    def recover(self) -> None:
        """End every fault."""

    def true_floor(self) -> int:
        return self.model.reported_floor


class LastingHub(Hub):
    """A node on an engine that keeps its log: a restart is a new life of the log, without a gap."""

    shared = False

    def prepare(self) -> None:
        self.log = FakeLog(checks=self.shared, retention=12)
        self.keys = {}

    def make_engine(self, limits: Settings) -> FakeEngine:
        self.fake = FakeEngine(self.log, shared=self.shared)
        return self.fake

    def entries(self) -> list[Entry]:
        return self.log.everything

    def true_floor(self) -> int:
        return self.log.floor

    def after_unknown(self, topic: str, key: str) -> None:
        if held := self.log.keys.get((topic, key)):
            self.keys[topic, key] = (self.entries()[held[1].offset - 1].data, held[1])

    @rule(count=st.integers(1, 5))
    def trim(self, count: int) -> None:
        self.log.trim(count)


class SharedHub(LastingHub):
    """One node of several: its engine may be down, lag behind the writes of others, and go back."""

    shared = True
    up = True
    held = False

    def able(self) -> bool:
        return self.up and not self.held

    @rule(topic=st.sampled_from(TOPICS))
    def write_elsewhere(self, topic: str) -> None:
        if topic not in self.log.ends:
            self.count += 1
            self.log.write(topic, str(self.count))

    @rule()
    def outage(self) -> None:
        self.up = not self.up
        (self.fake.up if self.up else self.fake.down)()

    @rule()
    def lag(self) -> None:
        self.held = not self.held
        (self.fake.hold if self.held else self.fake.release)()

    @rule(count=st.integers(1, 6))
    def go_back(self, count: int) -> None:
        self.keys.clear()
        self.log.go_back(max(self.log.head - count, self.log.floor - 1))

    def change_log(self, head: Head) -> None:
        self.forget_ended()
        self.model = Model(self.node, head, self.log.everything)

    @rule()
    def restart(self) -> None:
        self.recover()
        super().restart()

    def recover(self) -> None:
        if not self.up:
            self.outage()
        if self.held:
            self.lag()


@pytest.mark.timeout(STEPS / 10 + 60)
@pytest.mark.parametrize("machine", [Hub, LastingHub, SharedHub])
def test_model(machine: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    # So that rounds of a few members are split, too.
    monkeypatch.setattr("tidewire.delivery.rounds.BATCH", 1)
    print(f"to reproduce this run: MODEL_SEED={SEED} MODEL_STEPS={STEPS}")
    # A run takes a few steps fewer than allowed.
    examples = STEPS * 11 // (3 * 10 * PER_RUN) + 1
    hypothesis.seed(SEED)(machine)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=PER_RUN,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            report_multiple_bugs=False,
        ),
    )
