"""The drain of a node."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from support.fakes import (
    FakeEngine,
    listen,
    now,
    open_node,
    publish,
    quiet,
    virtual,
)
from tidewire.errors import Draining, Unknown


@virtual
async def test_the_drain_of_a_single_node() -> None:
    # Promise G14.
    engine = FakeEngine(shared=False)
    async with open_node(engine, retry=2, drain=10) as node:
        wires = [await listen(node, "a", framing="chunked") for _ in range(200)]
        engine.slow()
        publishing = asyncio.ensure_future(publish(node, "a", "last words"))
        await quiet()
        start = now()
        draining = asyncio.ensure_future(node.drain())
        await asyncio.sleep(0)
        assert not node.ready
        assert isinstance(node.refusal(), Draining)
        with pytest.raises(Draining) as refused:
            await publish(node, "a", "x")
        assert refused.value.stored is False
        await asyncio.sleep(0.3)
        engine.fast()
        await draining
        assert len(await publishing) == 1
        assert now() - start < 1.5
        assert engine.closed
        retries = []
        for wire in wires:
            assert wire.data == ["last words"]
            assert (wire.ended, wire.aborted) == (True, False)
            assert wire.raw.endswith(b"0\r\n\r\n")
            retries.append(wire.decoder.retry or 0)
        assert 2000 <= min(retries) < 2500
        assert 11_000 < max(retries) <= 12_000
        # A stream that comes too late is ended as well.
        late = await listen(node, "a")
        assert late.ended
        assert late.decoder.retry
        assert node.streams_open == 0
        await node.drain()


@virtual
async def test_the_drain_of_a_shared_engine_is_spread() -> None:
    async with open_node(FakeEngine(), retry=2, drain=10) as node:
        wires = [await listen(node, "a", framing="chunked") for _ in range(100)]
        start = now()
        draining = asyncio.ensure_future(node.drain())
        ended = []
        while not draining.done():
            await asyncio.sleep(1)
            ended.append(sum(wire.ended for wire in wires))
        assert 9 <= now() - start <= 12
        steps = [b - a for a, b in pairwise([0, *ended[:10]])]
        assert max(steps) <= 12
        retries = {wire.decoder.retry for wire in wires if wire.read()}
        assert len(retries) > 30, "they must not reconnect together"
        assert all(2000 <= retry <= 2200 for retry in retries if retry)


@virtual
async def test_a_drain_is_not_spread_once_the_other_nodes_have_gone() -> None:
    engine = FakeEngine()
    async with open_node(engine, retry=2, drain=10) as node:
        # So few that the next turn is seconds away.
        wires = [await listen(node, "a") for _ in range(4)]
        draining = asyncio.ensure_future(node.drain())
        await asyncio.sleep(3)
        assert 1 <= sum(wire.ended for wire in wires) <= 2
        early = {id(wire) for wire in wires if wire.ended}
        engine.has_peers = False
        start = now()
        await draining
        assert now() - start < 1
        assert all(wire.ended for wire in wires)
        for wire in wires:
            wire.read()
            retry = wire.decoder.retry or 0
            assert 2000 <= retry <= (2200 if id(wire) in early else 12_000)
        assert any(wire.decoder.retry > 2200 for wire in wires if wire.decoder.retry)


@virtual
async def test_a_drain_cuts_off_slow_readers() -> None:
    async with open_node() as node:
        wire = await listen(node, "a", room=0)
        await publish(node, "a", "1", "2")
        await quiet()
        had = bytes(wire.raw)
        await node.drain()
        assert wire.ended
        assert (bytes(wire.raw), wire.overrun) == (had, 0)


@virtual
async def test_a_publish_that_never_ends_does_not_hold_up_the_drain() -> None:
    engine = FakeEngine()
    async with open_node(engine, drain=1) as node:
        engine.slow()
        publishing = asyncio.ensure_future(publish(node, "a", "x"))
        await quiet()
        start = now()
        await node.drain()
        assert now() - start < 7
        with pytest.raises(Unknown):
            await publishing
