from __future__ import annotations

import random
from typing import Any

import pytest

from support.fakes import RecordingWire
from tidewire import hub_events
from tidewire.delivery.cohort import Cohort
from tidewire.delivery.framing import Framing
from tidewire.delivery.joins import JOIN_BYTES, Join, Joins
from tidewire.delivery.round import Round
from tidewire.delivery.subscriber import Subscriber
from tidewire.event_stream import Event
from tidewire.log.entries import Entry, Head, Marks
from tidewire.log.window import Window
from tidewire.position import Position
from tidewire.topics import Selector


class Owner:
    """The part of a node that a cohort needs, and nothing else."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        self.lost_ones: list[Subscriber] = []

    def attached(self, subscriber: Subscriber, framing: Framing) -> None:
        subscriber.cohort = self.cohort
        self.cohort.behind.add(subscriber)

    def paused(self, subscriber: Subscriber) -> None: ...

    def resumed(self, subscriber: Subscriber) -> None: ...

    def lost(self, subscriber: Subscriber) -> None:
        self.lost_ones.append(subscriber)
        self.cohort.remove(subscriber)

    def tick(self, subscriber: Subscriber, now: float) -> float | None:
        return None

    def server_stopping(self) -> None: ...


class Marked:
    """What rounds are for a cohort that has been marked for every entry."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.joins = Joins(window)

    def is_end(self, selector: Selector, offset: int) -> bool:
        return False

    @property
    def head(self) -> int:
        return self._window.head

    @property
    def horizon(self) -> int:
        return self._window.head

    def tick_cohort(self, cohort: Cohort, now: float) -> float | None:
        return now + 1


class Scene:
    """One cohort on a window, the wires of its members, and the steps of a round."""

    def __init__(self, *terms: str, framing: Framing = "raw") -> None:
        self.window = Window(1000, 10**9)
        self.window.reset(Head(Position("life01", 0), 1, (("life01", 1),), Marks(), {}))
        self.cohort = Cohort(Marked(self.window), Selector(terms or ["a"]), framing)
        self.owner = Owner(self.cohort)
        self.framing = framing
        self.current = Round(b"")

    def member(self) -> Wire:
        wire = Wire(self.framing)
        wire.subscriber = Subscriber(self.owner, self.cohort.selector, None, self.cohort.sent)
        wire.subscriber.attach(wire, self.framing)
        self.cohort.join(wire.subscriber)
        return wire

    def publish(self, *data: str, topic: str = "a") -> None:
        for text in data:
            item = Entry(Position("life01", self.window.head + 1), topic, text)
            self.window.append([item])
            if self.cohort.selector.matches(topic):
                self.cohort.mark(topic, item.offset, item.offset)

    def begin(self) -> bool:
        join = self.cohort.next_join(self.window.head)
        if join is None:
            return False
        self.begin_with(join)
        return True

    def begin_with(self, join: Join) -> None:
        self.current = Round(join.data)
        self.cohort.begin(join, self.current)

    @property
    def in_round(self) -> bool:
        return self.current.left > 0

    def step(self, count: int) -> int:
        return self.current.step(count)

    def round(self) -> None:
        if self.begin():
            while self.in_round:
                self.step(1)

    def rounds(self) -> None:
        while self.cohort.news:
            self.round()


class Wire(RecordingWire):
    """Without a loop there is no time to record."""

    def _record(self, data: bytes) -> None:
        self.raw += data
        self.writes.append(data)

    @property
    def member(self) -> Subscriber:
        assert self.subscriber
        return self.subscriber


def test_one_join_per_round_and_the_same_bytes_for_all() -> None:
    scene = Scene()
    one, two = scene.member(), scene.member()
    scene.publish("1", "2", "3")
    scene.rounds()
    assert one.data == two.data == ["1", "2", "3"]
    assert len(one.writes) == 1
    assert scene.cohort.sent == 3


@pytest.mark.parametrize("framing", ["raw", "chunked", "asgi"])
def test_framed_once(framing: Framing) -> None:
    scene = Scene(framing=framing)
    wire = scene.member()
    scene.publish("1", "2")
    scene.rounds()
    assert wire.data == ["1", "2"]
    assert wire.raw.startswith(b"2c\r\n") == (framing == "chunked")


def test_the_very_same_object_is_written_to_every_member() -> None:
    scene = Scene()
    written: list[bytes] = []
    for _ in range(3):
        wire = scene.member()
        scene.cohort.members[wire.member] = written.append
    scene.publish("1", "2")
    scene.rounds()
    assert len(written) == 3
    assert written[0] is written[1] is written[2]


def test_the_topic_is_sent_if_the_selector_can_match_several() -> None:
    scene = Scene("a/*", "b")
    wire = scene.member()
    scene.publish("1", topic="a/1")
    scene.publish("2", topic="b")
    scene.rounds()
    assert wire.events == [
        Event("1", "message", "life01.1", topic="a/1"),
        Event("2", "message", "life01.2", topic="b"),
    ]


def test_a_join_holds_64_kib_or_one_event() -> None:
    scene = Scene()
    wire = scene.member()
    sizes = [100, JOIN_BYTES * 3, 100, 30_000, 30_000, 30_000, 100]
    scene.publish(*("x" * size for size in sizes))
    scene.rounds()
    assert [[len(e.data) for e in decoded(data)] for data in wire.writes] == [
        [100],
        [JOIN_BYTES * 3],
        [100, 30_000, 30_000],
        [30_000, 100],
    ]


def test_a_join_counts_bytes_not_characters() -> None:
    scene = Scene()
    wire = scene.member()
    scene.publish(*["é" * 20_000] * 6)
    scene.rounds()
    assert all(len(data) <= JOIN_BYTES for data in wire.writes)
    assert len(wire.data) == 6


def decoded(data: bytes) -> list[Event]:
    wire = Wire()
    wire.begin(data)
    return wire.events


def test_a_member_that_leaves_mid_round_keeps_the_offset_from_before_the_round() -> None:
    scene = Scene()
    wires = [scene.member() for _ in range(5)]
    scene.publish("1")
    scene.rounds()
    scene.publish("2", "3")
    assert scene.begin()
    assert scene.step(2) == 2
    for wire in wires:
        wire.member.pause_writing()
    got = {wire.member.offset: wire.data for wire in wires}
    assert got == {1: ["1"], 3: ["1", "2", "3"]}
    assert sum(wire.member.offset == 3 for wire in wires) == 2
    assert [wire.member.announced for wire in wires] == [wire.member.offset for wire in wires]
    assert not scene.in_round
    assert not scene.cohort.members


def test_a_subscriber_that_joins_mid_round_gets_nothing_twice() -> None:
    scene = Scene()
    early = [scene.member() for _ in range(3)]
    scene.publish("1")
    assert scene.begin()
    scene.step(1)
    # It has read through `sent`, which includes the current round.
    assert scene.cohort.sent == 1
    late = scene.member()
    while scene.in_round:
        scene.step(1)
    scene.publish("2")
    scene.rounds()
    assert [wire.data for wire in early] == [["1", "2"]] * 3
    assert late.data == ["2"]


def test_entries_that_come_mid_round_are_joined_into_the_next() -> None:
    scene = Scene()
    wires = [scene.member() for _ in range(3)]
    scene.publish("1")
    scene.begin()
    scene.step(1)
    scene.publish("2", "3")
    assert scene.cohort.sent == 1
    while scene.in_round:
        scene.step(1)
    scene.rounds()
    for wire in wires:
        assert wire.data == ["1", "2", "3"]
        assert len(wire.writes) == 2


def test_a_write_that_raises_costs_the_others_nothing() -> None:
    scene = Scene()
    wires = [scene.member() for _ in range(5)]
    wires[2].broken = True
    scene.publish("1")
    scene.rounds()
    scene.publish("2")
    scene.rounds()
    assert [wire.data for wire in wires] == [["1", "2"], ["1", "2"], [], ["1", "2"], ["1", "2"]]
    assert scene.owner.lost_ones == [wires[2].member]
    assert not wires[2].member.open
    assert len(scene.cohort) == 4


def test_a_member_that_pauses_in_its_own_write_has_those_bytes() -> None:
    scene = Scene()
    one, two = scene.member(), scene.member()
    one.stall()
    scene.publish("1")
    scene.rounds()
    assert (one.member.live, one.member.offset, one.data) == (False, 1, ["1"])
    scene.publish("2")
    scene.rounds()
    assert (one.data, two.data) == (["1"], ["1", "2"])
    assert one.overrun == 0


def test_a_write_in_which_another_member_leaves() -> None:
    scene = Scene()
    wires = [scene.member() for _ in range(4)]

    def all_leave(data: bytes) -> None:
        for wire in wires[1:]:
            wire.member.lost()

    scene.cohort.members[wires[0].member] = all_leave
    scene.publish("1")
    scene.rounds()
    assert [wire.data for wire in wires[1:]] == [[], [], []]
    assert len(scene.cohort) == 1


def test_after_the_last_member_leaves_nothing_is_pending() -> None:
    scene = Scene()
    wire = scene.member()
    scene.publish("1")
    wire.member.pause_writing()
    scene.publish("2")
    assert (wire.member.offset, scene.cohort.sent) == (0, 0)
    assert not scene.begin()
    assert (scene.cohort.news, scene.cohort.sent) == ({}, 2)


def test_a_member_that_joins_while_news_is_pending_is_sent_all_of_it() -> None:
    scene = Scene()
    one = scene.member()
    scene.publish("1")
    one.member.pause_writing()
    scene.publish("2")
    two = scene.member()
    scene.rounds()
    assert (one.data, two.data) == ([], ["1", "2"])


def test_idle_members_are_sent_their_position() -> None:
    scene = Scene()
    one = scene.member()
    scene.publish(*"123", topic="other")
    scene.begin_with(Join(hub_events.position(scene.window.position(3)), 3, 3, 0))
    two = scene.member()
    assert one.writes == []
    one.member.pause_writing()
    assert (one.member.offset, one.member.announced) == (3, 0), "it was not sent the position"
    assert not scene.in_round
    assert two.member.live


def test_the_member_that_heard_least_counts_for_all() -> None:
    scene = Scene()
    one = scene.member()
    scene.publish(*"12345", topic="other")
    scene.begin_with(Join(hub_events.position(scene.window.position(5)), 5, 5, 0))
    scene.step(1)
    scene.cohort.silent_since = 50.0
    two = Wire()
    two.subscriber = Subscriber(scene.owner, scene.cohort.selector, None, scene.cohort.sent)
    two.subscriber.attach(two, "raw")
    two.subscriber.announced, two.subscriber.silent_since = 2, 40.0
    scene.cohort.join(two.subscriber)
    assert (scene.cohort.oldest, scene.cohort.silent_since) == (2, 40.0)
    one.member.pause_writing()
    two.member.pause_writing()
    assert (one.member.announced, two.member.announced) == (5, 2), "each keeps its own last id"
    assert one.member.silent_since == two.member.silent_since == 40.0


def test_all_members_fall_behind_at_their_true_offsets() -> None:
    scene = Scene()
    wires = [scene.member() for _ in range(4)]
    scene.publish("1")
    scene.rounds()
    scene.publish("2")
    scene.begin()
    scene.step(1)
    scene.publish("3")
    assert set(scene.cohort.fall_behind()) == {wire.member for wire in wires}
    assert sorted(wire.member.offset for wire in wires) == [1, 1, 1, 2]
    assert [int(wire.data[-1]) for wire in wires] == [wire.member.offset for wire in wires]
    assert len(scene.cohort) == 4
    assert not scene.begin()
    assert (scene.cohort.news, scene.cohort.sent) == ({}, 3)


def test_removing() -> None:
    scene = Scene()
    live, behind = scene.member(), scene.member()
    behind.member.pause_writing()
    assert len(scene.cohort) == 2
    scene.cohort.remove(live.member)
    scene.cohort.remove(behind.member)
    scene.cohort.remove(behind.member)
    assert len(scene.cohort) == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_offsets_match_what_was_written(seed: int) -> None:
    """`sent` and each offset are correct after every step, and nothing is left out or written twice."""
    rng = random.Random(seed)
    scene = Scene("a")
    cohort = scene.cohort
    wires: list[Wire] = []
    count = 0

    def check(wire: Wire) -> None:
        offset, member = wire.member.offset, wire.member
        if member.live:
            offset = cohort._before[0] if cohort._round.awaits(member) else cohort.sent
        first = first_offsets[wire]
        assert wire.data == [str(n) for n in range(first + 1, offset + 1) if n not in others]

    first_offsets: dict[Wire, int] = {}
    others: set[int] = set()

    def act(action: str) -> Any:
        nonlocal count
        if action == "publish":
            for _ in range(rng.randrange(1, 4)):
                count += 1
                scene.publish(str(count))
        elif action == "other":
            count += 1
            others.add(count)
            scene.publish(str(count), topic="other")
        elif action == "join":
            wire = scene.member()
            first_offsets[wire] = cohort.sent
            wires.append(wire)
        elif action == "pause" and wires:
            rng.choice(wires).member.pause_writing()
        elif action == "resume" and wires:
            wire = rng.choice(wires)
            if wire.member.paused:
                wire.member.resume_writing()
                data, through = scene.window.read(wire.member.offset, cohort.sent, cohort.selector, 10**9)
                wire.write(b"".join(item.frame(False) for item in data))
                wire.member.offset = through
                cohort.join(wire.member)
        elif action == "begin" and not scene.in_round:
            scene.begin()
        elif action == "step" and scene.in_round:
            scene.step(rng.randrange(1, 3))

    for _ in range(300):
        act(rng.choice(["publish", "other", "join", "pause", "resume", "begin", "step", "step"]))
        assert not cohort.news or cohort.sent < scene.window.head
        for wire in wires:
            check(wire)
