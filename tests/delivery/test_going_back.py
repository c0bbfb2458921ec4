"""A log that goes back, as after a failover: who gets a gap, and who does not."""

from __future__ import annotations

import asyncio

from support.fakes import (
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
from tidewire.log.entries import Since
from tidewire.position import Position


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
