"""Readers that take nothing: how long they are tolerated."""

from __future__ import annotations

import asyncio

from support.fakes import (
    listen,
    now,
    open_node,
    publish,
    quiet,
    sample,
    until,
    virtual,
)


@virtual
async def test_the_kernel_tolerates_a_slow_reader_until_it_is_live() -> None:
    async with open_node() as node:
        wire = await listen(node, "a", room=0)
        await publish(node, "a", "1")
        await quiet()
        assert wire.subscriber
        assert wire.subscriber.paused
        assert not wire.tolerates_stalls  # it may be gone
        wire.acked = 10
        await until(lambda: wire.tolerates_stalls, 0.1)  # it received something
        wire.take(room=None)
        await quiet()
        assert wire.subscriber.live
        assert not wire.tolerates_stalls
        # A reader whose buffer only fills up and empties again is slow, too, until it has caught up.
        wire.subscriber.pause_writing()
        wire.subscriber.resume_writing()
        assert wire.tolerates_stalls
        await quiet()
        assert not wire.tolerates_stalls


@virtual
async def test_a_stuck_reader_is_ended() -> None:
    async with open_node(stuck_timeout=30, send_timeout=120) as node:
        stuck, steady, portable = [await listen(node, "a", room=0) for _ in range(3)]
        stuck.acked = steady.acked = 0
        start = now()
        await publish(node, "a", "1", "2")
        await quiet()

        def acknowledge_one_more() -> None:
            assert steady.acked is not None
            steady.acked += 1
            asyncio.get_running_loop().call_later(1, acknowledge_one_more)

        acknowledge_one_more()
        await until(lambda: stuck.aborted, 0.1)
        assert 30 <= now() - start <= 33
        # Its progress cannot be seen, so it has 120 s.
        await until(lambda: portable.aborted, 0.1)
        assert 120 <= now() - start <= 123
        assert not steady.ended
        assert sample(node, "ended_streams_total", reason="stuck") == 2


@virtual
async def test_the_time_of_a_stuck_reader_counts_from_its_last_byte() -> None:
    async with open_node(stuck_timeout=30) as node:
        wire = await listen(node, "a", room=0)
        wire.acked = 0
        await publish(node, "a", "1")
        await quiet()
        await asyncio.sleep(20.3)
        wire.acked = 7
        last = now()
        await until(lambda: wire.aborted, 0.1)
        assert 30 <= now() - last <= 33
