"""One node, from its engine to its streams, on a loop with virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from support.fakes import (
    INVALID,
    NOW,
    START,
    FakeEngine,
    FakeLog,
    ask,
    heartbeats,
    listen,
    numbers,
    open_node,
    positions,
    publish,
    quiet,
    virtual,
)
from tidewire.errors import Unavailable
from tidewire.log.entries import Since
from tidewire.position import Position

# -- an engine that is down, lags or fails


@virtual
async def test_an_outage() -> None:
    # Promise G15.
    log = FakeLog()
    engine, other = FakeEngine(log), FakeEngine(log)
    async with open_node(engine) as node, open_node(other) as node2:
        live = await listen(node, "a")
        made = await publish(node, "a", "1")
        engine.down()
        assert not node.ready
        with pytest.raises(Unavailable) as refused:
            await publish(node, "a", "x")
        assert (refused.value.stored, refused.value.retry_after) == (False, 1)
        await publish(node2, "a", "2")
        # Accepted at once, with heartbeats; nothing is judged.
        behind = {
            since: await listen(node, "a", since=since)
            for since in (made[0], INVALID, NOW, START, Since("last", 1), Position("other1", 1))
        }
        future = await listen(node, "a", since=node2.window.position(2))
        await asyncio.sleep(40)
        for wire in (live, future, *behind.values()):
            assert heartbeats(wire) >= 2
            assert wire.data in ([], ["1"])
        assert future.everything == []
        await publish(node2, "a", "3")
        engine.up()
        # The streams are placed only after this event is published, but they were opened before it.
        await publish(node, "a", "4")
        await quiet()
        assert live.data == numbers(1, 4)
        assert future.data == ["3", "4"]
        assert future.gaps == []
        assert {since: wire.data for since, wire in behind.items()} == {
            made[0]: numbers(2, 4),
            INVALID: numbers(2, 4),
            NOW: numbers(2, 4),  # from when it was opened, by what this node knew then
            START: numbers(1, 4),
            Since("last", 1): numbers(2, 4),
            Position("other1", 1): numbers(1, 4),
        }
        assert behind[Position("other1", 1)].gaps[0]["reason"] == "foreign"
        assert behind[made[0]].gaps == behind[NOW].gaps == []


@virtual
async def test_a_node_catches_up_before_it_calls_a_position_future() -> None:
    # Promise G13.
    log = FakeLog()
    engine, other = FakeEngine(log), FakeEngine(log)
    async with open_node(engine) as node, open_node(other) as node2:
        engine.hold()
        made = await publish(node2, "a", *numbers(1, 5))
        asyncio.get_running_loop().call_later(0.2, engine.release)
        soon = await listen(node, "a", since=made[2])
        await quiet()
        assert (soon.data, soon.gaps) == (["4", "5"], [])
        engine.hold()
        made += await publish(node2, "a", "6", "7")
        later = await listen(node, "a", since=made[5])  # accepted, as behind
        assert later.everything == []
        await asyncio.sleep(20)
        assert (later.everything, heartbeats(later)) == ([], 1)
        engine.release()
        await quiet()
        assert (later.data, later.gaps) == (["7"], [])
        wrong = await listen(node, "a", since=made[6]._replace(offset=8))
        assert wrong.gaps[0]["reason"] == "future"


# -- a log that goes back


@virtual
async def test_a_log_that_goes_back_is_a_gap_for_streams_that_were_further() -> None:
    # Fault F14
    engine = FakeEngine()
    async with open_node(engine) as node:
        wires = {"live": await listen(node, "a"), "far": await listen(node, "b")}
        made = await publish(node, "a", *numbers(1, 10))
        await quiet()
        assert wires["live"].subscriber
        slow = await listen(node, "a", since=made[3], room=0)
        await quiet()
        engine.log.go_back(6)
        after = await publish(node, "a", "7b", "8b")
        slow.take()
        await quiet()
        assert wires["live"].data == [*numbers(1, 10), "7b", "8b"]
        (gap,) = wires["live"].gaps
        assert (gap["reason"], gap["requested"]) == ("foreign", str(made[9]))
        assert positions(wires["live"].of_type("hub.gap")) == [node.window.position(6)]
        assert wires["far"].gaps == [], "none of the lost events was for it"
        assert {p.life for p in after} & {p.life for p in made} == set()
        # Streams that resume from positions of either life.
        for position, data, gaps in [
            (made[5], ["7b", "8b"], 0),
            (made[7], ["7b", "8b"], 1),
            (after[0], ["8b"], 0),
        ]:
            wire = await listen(node, "a", since=position)
            await quiet()
            assert (wire.data, len(wire.gaps)) == (data, gaps)


@virtual
async def test_a_reader_before_the_point_where_the_log_went_back_misses_nothing() -> None:
    engine = FakeEngine()
    async with open_node(engine) as node:
        wire = await listen(node, "a", room=0)
        await publish(node, "a", "1")
        await quiet()
        await publish(node, "a", *numbers(2, 9))
        engine.log.go_back(3)
        await publish(node, "a", "4b")
        wire.take()
        await quiet()
        assert (wire.data, wire.gaps) == (["1", "2", "3", "4b"], [])


@virtual
async def test_a_log_that_goes_back_between_the_head_and_the_socket() -> None:
    engine = FakeEngine()
    async with open_node(engine) as node:
        await publish(node, "a", *numbers(1, 9))
        wire = await ask(node, "a", attach=False)
        assert wire
        assert wire.subscriber
        engine.log.go_back(4)
        await publish(node, "a", *(f"{n}b" for n in range(5, 12)))
        wire.subscriber.attach(wire, "raw")
        await quiet()
        assert wire.gaps[0]["reason"] == "foreign"
        assert wire.data == [f"{n}b" for n in range(5, 12)]


@virtual
async def test_a_log_that_goes_back_while_a_page_is_read() -> None:
    engine = FakeEngine()
    async with open_node(engine, window_entries=2) as node:
        made = await publish(node, "a", *numbers(1, 20))
        engine.slow()
        old, last = await listen(node, "a", since=made[0]), await listen(node, "a", since=Since("last", 5))
        await quiet()
        engine.log.go_back(10)
        engine.fast()
        await publish(node, "a", "11b")
        await quiet()
        assert (old.data, old.gaps) == ([*numbers(2, 10), "11b"], [])
        assert last.data[-2:] == ["10", "11b"]
        assert last.gaps == []


@virtual
async def test_during_an_outage_no_stream_is_moved_to_another_log() -> None:
    engine = FakeEngine()
    async with open_node(engine, heartbeat=15) as node:
        wire = await listen(node, "a")
        made = await publish(node, "a", *numbers(1, 9))
        await quiet()
        engine.down()
        node.log.reset(engine.log.state()._replace(lives=(("other1", 1),), position=Position("other1", 3)))
        await asyncio.sleep(60)
        assert heartbeats(wire) >= 3
        assert wire.last_id == made[-1], "an id of a log that has not judged it"


@virtual
async def test_checks_reveal_a_tail_that_was_lost_unnoticed() -> None:
    log = FakeLog()
    async with open_node(FakeEngine(log)) as node:
        made = await publish(node, "a", *numbers(1, 5))
    log.go_back(3, in_silence=True)
    async with open_node(FakeEngine(log)) as node:
        again = await publish(node, "a", "4b", "5b", "6b")
        assert [p.offset for p in again] == [4, 5, 6]
        wires = [
            await listen(node, "a", since=position) for position in (made[2], made[3], made[4], again[0])
        ]
        await quiet()
        assert [[gap["reason"] for gap in wire.gaps] for wire in wires] == [[], ["foreign"], ["foreign"], []]
        assert len({str(p) for p in made + again}) == 8, "no id names two events"


# -- several nodes


@virtual
async def test_a_stream_that_starts_ahead_of_this_node_waits() -> None:
    async with open_node() as node:
        wire = await listen(node, "a", since=Since("after", 3))
        await publish(node, "a", *numbers(1, 2))
        await publish(node, "b", "3")
        await publish(node, "a", *numbers(4, 5))
        await quiet()
        assert wire.data == ["4", "5"]


@virtual
async def test_two_nodes_share_one_log() -> None:
    log = FakeLog()
    async with open_node(FakeEngine(log)) as one, open_node(FakeEngine(log)) as two:
        wires = [await listen(one, "**"), await listen(two, "**")]
        for number in range(30):
            await publish(random.choice([one, two]), "a", str(number))
        await quiet()
        assert wires[0].everything[1:] == wires[1].everything[1:]
        assert wires[0].data == [str(number) for number in range(30)]
        for position in positions(wires[0].events)[::7]:
            again = await listen(two, "**", since=position)
            await quiet()
            assert again.data == [str(number) for number in range(position.offset, 30)]
