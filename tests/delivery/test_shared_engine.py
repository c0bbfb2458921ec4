"""Nodes on a shared engine, which may be down, lag, and have entries of other nodes."""

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


class LosesWhatItHasTold(FakeEngine):
    """Another node stores an event, which is lost while the answer to how far the log is, is on its way."""

    asked = 0

    async def locate(self, since: Since) -> int:
        self.asked += 1
        if self.asked > 1:
            return await super().locate(since)
        self.log.write("a", "lost")
        newest = await super().locate(since)
        self.log.go_back(0)
        return newest


@virtual
async def test_a_log_that_goes_back_while_a_node_asks_how_far_it_is() -> None:
    # The stream waited for an offset that the new log did not have, and was told nothing.
    async with open_node(LosesWhatItHasTold(log := FakeLog())) as node:
        wire = await listen(node, "a")
        await publish(node, "a", "1")
        await quiet()
        log.go_back(0)
        await quiet()
        assert [gap["reason"] for gap in wire.gaps] == ["foreign"]
        await publish(node, "a", "2")
        await quiet()
        assert wire.data == ["1", "2"]


@virtual
async def test_the_last_events_of_a_log_that_another_node_has_trimmed() -> None:
    # The stream started before the oldest event that is kept, and so reported a gap for no reason.
    engine = FakeEngine()
    async with open_node(engine, window_entries=2) as node:
        await publish(node, "a", *numbers(1, 9))
        engine.hold()
        engine.log.trim(4)
        assert node.window.floor == 1
        wire = await listen(node, "a", since=Since("last", 7))
        await quiet()
        assert (wire.data, wire.gaps) == (numbers(5, 9), [])
        assert node.window.floor == 5


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
