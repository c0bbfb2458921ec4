"""A node's log: publishing, and what the engine reports."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import (
    INVALID,
    FakeEngine,
    end,
    listen,
    now,
    open_node,
    publish,
    quiet,
    sample,
    virtual,
)
from tidewire.errors import KeyConflict, TopicEnded, Unavailable, Unknown
from tidewire.log.entries import Draft
from tidewire.position import Position

# -- publishing


@virtual
async def test_an_acknowledged_id_can_be_resumed_from_at_once() -> None:
    engine = FakeEngine()
    engine.late = True  # the receipt comes before the entries
    async with open_node(engine) as node:
        for text in ("1", "2", "3"):
            (position,) = await publish(node, "a", text)
            assert node.window.head == position.offset
            wire = await listen(node, "a", since=position)
            assert wire.gaps == []


@virtual
async def test_the_answers_to_a_publish() -> None:
    async with open_node() as node:
        first = await node.append([Draft("a", "1", key="k"), Draft("a", "2")])
        again = await node.append([Draft("a", "1", key="k")])
        assert (again[0].position, again[0].duplicate) == (first[0].position, True)
        with pytest.raises(KeyConflict):
            await node.append([Draft("a", "other", key="k")])
        await end(node, "a")
        with pytest.raises(TopicEnded):
            await node.append([Draft("a")])
        assert sample(node, "published_events_total") == 3
        assert sample(node, "duplicate_publishes_total") == 1


@virtual
async def test_an_engine_that_does_not_answer_leaves_a_publish_unknown() -> None:
    engine = FakeEngine()
    async with open_node(engine, engine_timeout=4) as node:
        engine.slow()
        start = now()
        with pytest.raises(Unknown) as unknown:
            await publish(node, "a", "1")
        assert 4 <= now() - start <= 4.1
        assert (unknown.value.stored, unknown.value.status, unknown.value.retry_after) == ("unknown", 503, 1)
        assert sample(node, "unknown_publishes_total") == 1
        engine.fast()
        assert len(await publish(node, "a", "2")) == 1


@virtual
async def test_entries_that_never_come_leave_a_publish_unknown() -> None:
    engine = FakeEngine()
    async with open_node(engine) as node:
        engine.hold()
        with pytest.raises(Unknown):
            await publish(node, "a", "1")
        wire = await listen(node, "a")
        engine.release()
        await quiet()
        assert wire.data == ["1"]


@virtual
async def test_the_waiting_publishes_are_limited() -> None:
    engine = FakeEngine()
    async with open_node(engine, max_publishes=3) as node:
        engine.slow()
        waiting = [asyncio.ensure_future(publish(node, "a", str(number))) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as busy:
            await publish(node, "a", "4")
        assert (busy.value.code, busy.value.stored) == ("busy", False)
        engine.fast()
        assert len(await asyncio.gather(*waiting)) == 3
        await publish(node, "a", "5")


@virtual
async def test_a_publish_across_a_log_that_went_back_is_unknown() -> None:
    engine = FakeEngine()
    async with open_node(engine) as node:
        await publish(node, "a", "1")
        engine.hold()
        waiting = asyncio.ensure_future(publish(node, "a", "2"))
        await quiet()
        engine.log.go_back(1)
        engine.release()
        start = now()
        with pytest.raises(Unknown):
            await waiting
        assert now() - start < 1


# -- reading


@virtual
async def test_no_engine_call_carries_what_a_client_sent() -> None:
    # Attack B03: a position is arithmetic, so it never reaches the engine.
    engine = FakeEngine()
    async with open_node(engine) as node:
        await publish(node, "a", "1")
        engine.calls.clear()
        for since in (INVALID, Position("other1", 1), node.window.position(1)):
            await listen(node, "a", since=since)
        assert engine.calls == []


@pytest.mark.parametrize("where", ["window", "page"])
@virtual
async def test_a_foreign_writers_bad_field_is_dropped(where: str) -> None:
    # Attack A18.
    engine = FakeEngine()
    async with open_node(engine, window_entries=1 if where == "page" else 100) as node:
        wires = [await listen(node, "a"), await listen(node, "**")] if where == "window" else []
        log = engine.log
        start = log.write("a", "0")
        log.write("a", "1", "x\r\ndata: y")
        log.write("a", "2", "good", retry="5\nid: x")
        log.write("a", "3", "hub.gap")
        log.write("a\nevent: x", "4")
        log.write("a", "5", "a\0", retry=7)
        log.write("a", "6", "good", retry=700)
        await quiet()
        if where == "page":
            wires = [await listen(node, term, since=start) for term in ("a", "**")]
            log.write("a", "7")
            await quiet()
            assert {call[0] for call in engine.calls} >= {"read"}
        last = ["7"] if where == "page" else []
        for wire in wires:
            events = [event for event in wire.events if event.data != "0"]
            assert [event.data for event in events] == ["1", "2", "3", "5", "6", *last]
            assert [event.event for event in events][:5] == ["message", "good", "message", "message", "good"]
            assert wire.gaps == []
            assert wire.decoder.retry == 700
        assert sample(node, "bad_events_total") == 5
