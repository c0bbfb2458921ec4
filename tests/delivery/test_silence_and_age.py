"""Streams with nothing to send, and streams that have been open long enough."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from support.fakes import (
    heartbeats,
    listen,
    now,
    numbers,
    open_node,
    positions,
    publish,
    quiet,
    sample,
    virtual,
)


@virtual
async def test_silence_is_filled_with_heartbeats() -> None:
    async with open_node(heartbeat=15) as node:
        wires = []
        for _ in range(20):
            wires.append(await listen(node, "a"))
            await asyncio.sleep(0.7)
        await asyncio.sleep(200)
        for wire in wires:
            times = [wire.times[0], *wire.times] if wire.times else []
            assert max(b - a for a, b in pairwise(times)) <= 16
            assert heartbeats(wire) >= 12
            assert wire.last_id.offset == 0


@virtual
async def test_a_heartbeat_is_not_added_to_events() -> None:
    async with open_node(heartbeat=15) as node:
        wire = await listen(node, "a")
        for number in range(20):
            await publish(node, "a", str(number))
            await asyncio.sleep(10)
        assert heartbeats(wire) == 0


@virtual
async def test_a_late_member_is_not_silent_for_too_long() -> None:
    async with open_node(heartbeat=15) as node:
        first = await listen(node, "a")
        await asyncio.sleep(20)
        second = await listen(node, "a", since=node.window.position(0))
        start = now()
        await asyncio.sleep(60)
        assert second.times[0] - start <= 16
        assert len(second.times) >= 4
        assert first.subscriber
        assert second.subscriber
        assert first.subscriber.cohort is second.subscriber.cohort


@virtual
async def test_a_paused_reader_gets_no_heartbeat() -> None:
    async with open_node(heartbeat=15) as node:
        wire = await listen(node, "a", room=0)
        await publish(node, "a", "1")
        await quiet()
        await asyncio.sleep(60)
        assert (heartbeats(wire), wire.overrun) == (0, 0)
        wire.take()
        await asyncio.sleep(20)
        assert heartbeats(wire) == 1


@virtual
async def test_idle_streams_get_a_new_position_before_theirs_is_trimmed() -> None:
    async with open_node(heartbeat=15, retention_entries=100) as node:
        live = await listen(node, "idle")
        paused = await listen(node, "idle")
        assert paused.subscriber
        for number in range(300):
            await publish(node, "busy", str(number))
            await asyncio.sleep(1)
        for wire in (live, paused):
            moves = positions(wire.of_type("hub.position"))
            assert moves == sorted(moves)
            assert len(moves) > 3
            # Whenever its connection drops, its id is still in the log.
            assert wire.last_id.offset >= node.window.floor
            assert wire.data == wire.gaps == []
            again = await listen(node, "idle", since=wire.last_id)
            assert again.gaps == []


@virtual
async def test_a_stream_that_resumes_from_before_the_floor_without_loss_gets_a_new_position() -> None:
    async with open_node(heartbeat=15, retention_entries=10) as node:
        (position,) = await publish(node, "idle", "1")
        await publish(node, "busy", *numbers(1, 50))
        wire = await listen(node, "idle", since=position)
        await asyncio.sleep(20)
        assert wire.gaps == []
        assert positions(wire.of_type("hub.position")) == [node.window.position(51)]


@virtual
async def test_streams_end_at_their_age_and_not_together() -> None:
    async with open_node(max_age=600, max_age_portable=100, heartbeat=15) as node:
        wires = [await listen(node, "a") for _ in range(50)]
        portable = await listen(node, "a", framing="asgi")
        start = now()
        ended: dict[int, float] = {}
        while len(ended) < 50:
            await asyncio.sleep(1)
            for index, wire in enumerate(wires):
                if wire.ended and index not in ended:
                    ended[index] = now() - start
            assert portable.ended or now() - start < 112
        assert 540 <= min(ended.values()) <= max(ended.values()) <= 662
        assert max(ended.values()) - min(ended.values()) > 60
        assert not any(wire.aborted for wire in wires)
        assert sample(node, "ended_streams_total", reason="age") == 51
