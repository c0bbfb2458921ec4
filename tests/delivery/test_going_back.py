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
async def test_each_stream_is_judged_by_the_last_id_that_its_client_has() -> None:
    """None of the lost events was for these streams, but the log can no longer continue some of their ids."""
    engine = FakeEngine()
    async with open_node(engine, heartbeat=15) as node:
        idle = await listen(node, "a")
        await publish(node, "b", *numbers(1, 10))
        sent = await listen(node, "a")
        await asyncio.sleep(20)
        assert idle.last_id.offset == sent.last_id.offset == 10, "by a heartbeat, and at its start"
        # Two with older ids become members of the same cohort.
        brought = [await listen(node, "a", since=node.window.position(offset)) for offset in (9, 7)]
        held = [node.window.position(offset) for offset in (10, 10, 9, 7)]
        wires = [idle, sent, *brought]
        await quiet()
        assert all(wire.subscriber and wire.subscriber.live for wire in wires)
        engine.log.go_back(8)
        await quiet()
        gaps = [[(gap["reason"], gap["requested"]) for gap in wire.gaps] for wire in wires]
        assert gaps == [
            [("foreign", str(held[0]))],
            [("foreign", str(held[1]))],
            [("foreign", str(held[2]))],
            [],
        ]
        await publish(node, "a", "9b")
        await quiet()
        assert [wire.data for wire in wires] == [["9b"]] * 4


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


@virtual
async def test_the_check_of_an_entry_that_is_not_in_memory_is_compared_by_the_engine() -> None:
    log = FakeLog()
    async with open_node(FakeEngine(log)) as node:
        made = await publish(node, "a", *numbers(1, 5))
    log.go_back(3, in_silence=True)
    async with open_node(FakeEngine(log), window_entries=2) as node:
        again = await publish(node, "a", *numbers(4, 9))
        assert node.window.start > made[4].offset + 1
        wires = [await listen(node, "a", since=position) for position in (made[2], made[4], again[1])]
        await quiet()
        assert [[gap["reason"] for gap in wire.gaps] for wire in wires] == [[], ["foreign"], []]
        assert wires[1].gaps[0]["requested"] == str(made[4])
        assert wires[2].data == numbers(6, 9)
