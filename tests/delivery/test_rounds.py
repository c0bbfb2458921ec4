"""Rounds, and the way from live to behind and back."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from support.fakes import (
    NOW,
    RecordingWire,
    ask,
    drift,
    listen,
    numbers,
    open_node,
    publish,
    quiet,
    sample,
    until,
    virtual,
)
from tidewire.delivery.cohort import Cohort
from tidewire.delivery.joins import Join, Joins
from tidewire.delivery.rounds import BATCH
from tidewire.log.entries import Draft
from tidewire.position import Position

# -- rounds


@virtual
async def test_many_publishes_share_few_writes() -> None:
    async with open_node() as node:
        wires = [await listen(node, "a") for _ in range(100)]
        before = [len(wire.writes) for wire in wires]
        await asyncio.gather(*(publish(node, "a", str(number)) for number in range(64)))
        await quiet()
        for wire, count in zip(wires, before, strict=True):
            assert wire.data == [str(number) for number in range(64)]
            assert len(wire.writes) == count + 1
        assert sample(node, "deliveries_total") == 100


@virtual
async def test_a_steady_flow_of_publishes_does_not_hold_up_the_round() -> None:
    async with open_node() as node:
        wire = await listen(node, "a")
        drift(0.0005)
        for number in range(200):
            await publish(node, "a", str(number))
            await asyncio.sleep(0)
        assert len(wire.data) > 100
        drift(0)
        await quiet()
        assert wire.data == [str(number) for number in range(200)]


@virtual
async def test_a_round_yields_to_the_loop_and_members_that_leave_get_no_more() -> None:
    async with open_node() as node:
        wires = [await listen(node, "a") for _ in range(10 * BATCH)]
        await quiet()
        drift(0.003)  # a step lasts for two readings of the clock
        await publish(node, "a", "1")
        await until(lambda: any(wire.data for wire in wires))
        rest = [wire for wire in wires if not wire.data]
        assert BATCH <= len(rest) < 10 * BATCH
        gone, stuck = rest[0], rest[1]
        gone.leave()
        stuck.subscriber and stuck.subscriber.pause_writing()
        late = await listen(node, "a")
        drift(0)
        await publish(node, "a", "2")
        await quiet()
        assert (gone.data, stuck.data, late.data) == ([], [], ["2"])
        stuck.take()
        await quiet()
        assert all(wire.data == ["1", "2"] for wire in wires if wire is not gone)


@virtual
async def test_a_closed_transport_costs_the_others_nothing() -> None:
    async with open_node() as node:
        wires = [await listen(node, "a") for _ in range(50)]
        for wire in wires[::7]:
            wire.broken = True
        await publish(node, "a", "1")
        await quiet()
        await publish(node, "a", "2")
        await quiet()
        assert all(wire.data == ([] if wire in wires[::7] else ["1", "2"]) for wire in wires)
        assert node.streams_open == node.subscribers("a") == 42
        assert sample(node, "ended_streams_total", reason="lost") == 8


@virtual
async def test_more_than_the_window_at_once_loses_nothing() -> None:
    async with open_node(window_entries=10) as node:
        wires = [await listen(node, "a") for _ in range(3)]
        for start in range(0, 200, 50):
            await node.append([Draft("a", str(number)) for number in range(start, start + 50)])
        await quiet()
        for wire in wires:
            assert (wire.data, wire.gaps) == ([str(number) for number in range(200)], [])


@virtual
async def test_more_than_the_window_in_the_middle_of_a_round() -> None:
    async with open_node(window_entries=10) as node:
        wires = [await listen(node, "a") for _ in range(5 * BATCH)]
        await quiet()
        drift(0.003)
        await publish(node, "a", "0")
        await until(lambda: any(wire.data for wire in wires))
        assert not all(wire.data for wire in wires)
        await node.append([Draft("a", str(number)) for number in range(1, 50)])
        drift(0)
        await quiet()
        for wire in wires:
            assert (wire.data, wire.gaps) == ([str(number) for number in range(50)], [])


# -- from live to behind and back


@pytest.mark.parametrize("seed", range(8))
@virtual
async def test_going_from_live_to_behind_and_back_without_hole_or_repeat(seed: int) -> None:
    rng = random.Random(seed)
    async with open_node(window_entries=30) as node:
        wires = [await listen(node, *rng.choice([("a",), ("a", "b"), ("**",)])) for _ in range(12)]
        published = []
        drift(0.001)
        for number in range(300):
            topic = rng.choice("abc")
            published.append((topic, str(number)))
            await publish(node, topic, str(number))
            wire = rng.choice(wires)
            if rng.random() < 0.3:
                wire.stall()
            elif rng.random() < 0.5:
                wire.take()
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
        drift(0)
        for wire in wires:
            wire.take()
        await quiet()
        for wire in wires:
            assert wire.subscriber
            assert wire.data == [text for topic, text in published if wire.subscriber.selector.matches(topic)]
            assert (wire.gaps, wire.overrun) == ([], 0)
            assert wire.subscriber.live


@virtual
async def test_events_during_a_pause_are_not_left_out() -> None:
    # The last member leaves while something is pending, so what comes next is not pending.
    async with open_node() as node:
        wire = await listen(node, "a")
        assert wire.subscriber
        await publish(node, "a", "1")
        wire.subscriber.pause_writing()
        await publish(node, "a", "2", "3")
        wire.subscriber.resume_writing()
        other = await listen(node, "a", since=node.window.position(0))
        await publish(node, "a", "4")
        await quiet()
        assert wire.data == other.data == numbers(1, 4)


@virtual
async def test_streams_opened_while_publishing() -> None:
    # Fault F21: 1,000 streams during 2,000 events, each from the id it was sent or a recent one.
    rng = random.Random(21)
    async with open_node(window_entries=50) as node:
        made: list[Position] = []
        wires: list[tuple[RecordingWire, int]] = []
        total = 2000
        drift(0.0002)

        async def produce() -> None:
            while len(made) < total:
                count = rng.randrange(1, 8)
                first = len(made)
                drafts = [Draft("a" if n % 3 else "b", str(n)) for n in range(first, first + count)]
                made.extend(receipt.position for receipt in await node.append(drafts))
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)

        async def subscribe() -> None:
            while len(wires) < 1000:
                since: Any = NOW
                if made and rng.random() < 0.7:
                    since = made[-1 - min(rng.randrange(120), len(made) - 1)]
                wire = await ask(node, *rng.choice([("a",), ("a", "b"), ("**",)]), since=since, attach=False)
                assert wire
                assert wire.subscriber
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)
                began = since.offset if since is not NOW else wire.last_id.offset
                wire.subscriber.attach(wire, "raw")
                wires.append((wire, began))
                if rng.random() < 0.2:
                    wire.stall()
                if rng.random() < 0.3:
                    rng.choice(wires)[0].take()
                await asyncio.sleep(0)

        await asyncio.gather(produce(), subscribe())
        drift(0)
        for wire, _ in wires:
            wire.take()
        await quiet()
        everything = [("a" if n % 3 else "b", str(n)) for n in range(len(made))]
        for wire, began in wires:
            assert wire.subscriber
            matches = wire.subscriber.selector.matches
            assert wire.data == [text for topic, text in everything[began:] if matches(topic)]
            assert (wire.gaps, wire.overrun) == ([], 0)


# -- many selectors


@virtual
async def test_a_batch_marks_each_cohort_once_and_is_joined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stream has a selector of its own, as with one topic for all and one per user."""
    marked = joined = 0
    mark, join = Cohort.mark, Joins._join

    def counted_mark(*args: Any) -> None:
        nonlocal marked
        marked += 1
        mark(*args)

    def counted_join(*args: Any) -> Join:
        nonlocal joined
        joined += 1
        return join(*args)

    async with open_node() as node:
        wires = [await listen(node, "all", f"own/{n}") for n in range(200)]
        await quiet()
        before = [len(wire.writes) for wire in wires]
        monkeypatch.setattr(Cohort, "mark", counted_mark)
        monkeypatch.setattr(Joins, "_join", counted_join)
        await node.append([Draft("all", text) for text in numbers(1, 1000)])
        await quiet()
        assert (marked, joined) == (200, 1)
        assert all(wire.data == numbers(1, 1000) for wire in wires)
        assert [len(wire.writes) - count for wire, count in zip(wires, before, strict=True)] == [1] * 200
        assert all(wire.writes[-1] is wires[0].writes[-1] for wire in wires)
        # One that also has news of its own gets a join of its own.
        await node.append([Draft("all", "a"), Draft("own/7", "b"), Draft("all", "c")])
        await quiet()
        assert wires[7].data[1000:] == ["a", "b", "c"]
        assert wires[8].data[1000:] == ["a", "c"]
        assert joined == 3


@virtual
async def test_marking_many_cohorts_yields_to_the_loop() -> None:
    async with open_node() as node:
        wires = [await listen(node, "all", f"own/{n}") for n in range(10 * BATCH)]
        await quiet()
        drift(0.003)
        await publish(node, "all", "1")
        turns = 0
        while not any(wire.data for wire in wires):
            turns += 1
            await asyncio.sleep(0)
        # Nothing is written before every cohort is marked: what is newer would overtake it.
        assert turns >= 5
        drift(0)
        await quiet()
        assert all(wire.data == ["1"] for wire in wires)
