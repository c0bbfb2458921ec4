"""Plain streams: no `hub.*` event, and no end but that of the topics."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import (
    NOW,
    FakeEngine,
    ask,
    cohorts_of,
    end,
    heartbeats,
    listen,
    numbers,
    open_node,
    publish,
    quiet,
    virtual,
)
from tidewire.errors import Gone, Unavailable
from tidewire.log.entries import Since


@virtual
async def test_only_the_publishers_events() -> None:
    async with open_node() as node:
        await publish(node, "a", *numbers(1, 3))
        replayed = await listen(node, "a", since=Since("start"), plain=True)
        live = await listen(node, "a", plain=True, opened=True)
        await publish(node, "a", "4")
        await quiet()
        assert [event.data for event in replayed.everything] == numbers(1, 4)
        assert [event.data for event in live.everything] == ["4"]


@virtual
async def test_they_are_a_cohort_of_their_own_that_shares_each_write() -> None:
    async with open_node() as node:
        plain = [await listen(node, "a", plain=True) for _ in range(50)]
        normal = await listen(node, "a")
        await quiet()
        assert sorted((cohort.plain, len(cohort)) for cohort in cohorts_of(node)) == [(False, 1), (True, 50)]
        await publish(node, "a", "1")
        await quiet()
        assert {len(wire.writes) for wire in plain} == {1}
        assert len({bytes(wire.raw) for wire in [*plain, normal]}) == 1


@pytest.mark.parametrize("terms", [["a"], ["a", "b"]])
@virtual
async def test_the_end_of_all_topics_is_a_proper_end_without_an_event(terms: list[str]) -> None:
    async with open_node() as node:
        start = node.window.position(node.window.head)
        live = await listen(node, *terms, plain=True)
        await publish(node, "a", "1")
        for term in terms:
            assert not live.ended
            await end(node, term)
            await quiet()
        resumed = await listen(node, *terms, since=start, plain=True)
        await quiet()
        for wire in (live, resumed):
            assert [(event.event, event.data) for event in wire.everything] == [("message", "1")]
            assert (wire.ended, wire.cut_off, wire.aborted) == (True, False, False)


@virtual
async def test_silence_brings_comments_and_never_a_position() -> None:
    async with open_node(heartbeat=15, retention_entries=10) as node:
        wire = await listen(node, "a", plain=True)
        for _ in range(10):
            await publish(node, "b", *numbers(1, 10))
            await asyncio.sleep(20)
        assert heartbeats(wire) >= 10
        assert wire.everything == []


@virtual
async def test_they_have_no_maximum_age() -> None:
    async with open_node(max_age=60) as node:
        plain, normal = await listen(node, "a", plain=True), await listen(node, "a")
        await asyncio.sleep(3600)
        assert (plain.ended, normal.ended) == (False, True)


@virtual
async def test_a_stream_that_would_begin_with_a_gap_is_refused() -> None:
    async with open_node(retention_entries=2) as node:
        made = await publish(node, "a", *numbers(1, 10))
        with pytest.raises(Gone) as refused:
            await ask(node, "a", since=made[0], plain=True)
        normal = await listen(node, "a", since=made[0])
        assert refused.value.members == normal.gaps[0]


@virtual
async def test_a_log_that_goes_back_cuts_those_that_were_further() -> None:
    engine = FakeEngine()
    async with open_node(engine) as node:
        further = await listen(node, "a", plain=True)
        await publish(node, "a", *numbers(1, 10))
        await quiet()
        engine.log.go_back(6)
        unharmed = await listen(node, "a", plain=True)
        await publish(node, "a", "7b")
        await quiet()
        assert (further.data, further.cut_off) == (numbers(1, 10), True)
        assert (unharmed.data, unharmed.ended) == (["7b"], False)


@virtual
async def test_what_cannot_be_judged_within_a_second_is_refused() -> None:
    engine = FakeEngine()
    async with open_node(engine) as node:
        (position,) = await publish(node, "a", "1")
        loop = asyncio.get_running_loop()
        engine.slow()
        began = loop.time()
        with pytest.raises(Unavailable) as late:
            await ask(node, "a", since=Since("ago", 5), plain=True)
        assert loop.time() - began <= 1.1
        engine.fast()
        engine.down()
        for since in (NOW, position, Since("ago", 5)):
            with pytest.raises(Unavailable) as down:
                await ask(node, "a", since=since, plain=True)
        assert late.value.retry_after == down.value.retry_after == 1
        assert late.value.code == down.value.code == "engine_unavailable"
        engine.up()
        assert await ask(node, "a", since=position, plain=True)


@virtual
async def test_an_outage_of_the_engine_cuts_nothing() -> None:
    engine = FakeEngine()
    async with open_node(engine) as node:
        wire = await listen(node, "a", plain=True)
        engine.down()
        await asyncio.sleep(60)
        assert not wire.ended
        engine.up()
        await publish(node, "a", "1")
        await quiet()
        assert wire.data == ["1"]


@virtual
async def test_a_drain_cuts_after_a_last_retry() -> None:
    async with open_node() as node:
        wire = await listen(node, "a", plain=True)
        await node.drain()
        assert wire.cut_off
        assert wire.everything == []
        assert wire.decoder.retry is not None
