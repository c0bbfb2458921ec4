"""Where a stream starts: without a position, with one that can be continued, and with one that cannot."""

from __future__ import annotations

from typing import Any

import pytest

from support.fakes import (
    INVALID,
    NOW,
    START,
    ask,
    cohorts_of,
    listen,
    numbers,
    open_node,
    positions,
    publish,
    quiet,
    sample,
    virtual,
)
from tidewire.delivery.framing import Framing
from tidewire.engines.memory import MemoryEngine
from tidewire.event_stream import Comment, Event
from tidewire.log.entries import Since
from tidewire.position import Position
from tidewire.settings import Settings
from tidewire.topics import Selector

# -- the first bytes


@virtual
async def test_a_fresh_stream_is_sent_its_position() -> None:
    async with open_node() as node:
        await publish(node, "a", "before")
        wire = await listen(node, "a")
        assert wire.read() == [Comment("tidewire"), Event("{}", "hub.position", str(node.window.position(1)))]
        assert wire.decoder.retry == 2000
        (position,) = await publish(node, "a", "first")
        await quiet()
        assert wire.events == [Event("first", "message", str(position))]


@virtual
async def test_a_quiet_topic_has_an_id_before_its_first_event() -> None:
    # Otherwise a native EventSource whose connection drops would silently lose what comes in the meantime.
    async with open_node() as node:
        wire = await listen(node, "quiet")
        wire.leave()
        await publish(node, "quiet", "missed")
        again = await listen(node, "quiet", since=wire.last_id)
        await quiet()
        assert (again.data, again.gaps) == (["missed"], [])


@pytest.mark.parametrize("framing", ["raw", "chunked", "asgi"])
@virtual
async def test_resuming_is_exact(framing: Framing) -> None:
    async with open_node() as node:
        made = await publish(node, "a", *numbers(1, 9))
        for number, position in enumerate(made, 1):
            wire = await listen(node, "a", since=position, framing=framing)
            await quiet()
            assert wire.data == numbers(number + 1, 9)
            assert wire.of_type("hub.position") == wire.of_type("hub.gap") == []


@virtual
async def test_each_stream_gets_the_events_of_its_selector_and_no_others() -> None:
    async with open_node() as node:
        wires = {
            terms: await listen(node, *terms) for terms in [("a",), ("b", "c/*"), ("**",), ("c/**", "a")]
        }
        for topic in ["a", "b", "c/1", "c/1/2", "d"] * 3:
            await publish(node, topic, topic)
        await quiet()
        for terms, wire in wires.items():
            expected = [t for t in ["a", "b", "c/1", "c/1/2", "d"] * 3 if Selector(terms).matches(t)]
            assert wire.data == expected
            assert [event.topic for event in wire.events] == [
                None if terms == ("a",) else t for t in expected
            ]


@virtual
async def test_where_a_stream_may_start() -> None:
    settings = Settings(retention_entries=6)
    clock = iter(range(0, 100_000, 10))
    async with open_node(MemoryEngine("memory", settings, lambda: next(clock)), retention_entries=6) as node:
        await publish(node, "a", *numbers(1, 8))
        seen = {}
        for since in [START, NOW, Since("last", 2), Since("last", 0), Since("last", 99), Since("at", 0)]:
            wire = await listen(node, "a", since=since)
            await quiet()
            seen[since] = wire.data
            assert len(wire.of_type("hub.position")) == 1
            assert wire.gaps == []
        assert list(seen.values()) == [numbers(3, 8), [], ["7", "8"], [], numbers(3, 8), numbers(3, 8)]


@virtual
async def test_hub_open_comes_when_asked_for() -> None:
    async with open_node() as node:
        made = await publish(node, "a", "1")
        opens = []
        for since in (NOW, made[0], INVALID):
            wire = await listen(node, "a", since=since, opened=True)
            (event,) = wire.of_type("hub.open")
            assert event.id == "", "it does not move the last event id"
            assert wire.everything[0] == event
            opens.append(event.json())
        assert opens == [
            {"heartbeat": 15, "resume": resume, "position": str(made[0])}
            for resume in ("fresh", "complete", "gap")
        ]


@virtual
async def test_nothing_is_left_of_a_stream_that_was_lost_before_it_was_attached() -> None:
    async with open_node() as node:
        late = await ask(node, "a", attach=False)
        assert late
        assert late.subscriber
        late.subscriber.lost()
        late.subscriber.attach(late, "raw")
        assert late.aborted
        assert node.streams_open == 0
        assert list(cohorts_of(node)) == []


# -- positions that cannot be used


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda node: INVALID, "invalid"),  # attacks B01 and B03
        (lambda node: Position("other1", 1), "foreign"),
        (lambda node: Position("other1", 99), "foreign"),
        (lambda node: Position("other1", 0), "foreign"),
        (lambda node: node.window.position(3)._replace(check="zz"), "foreign"),
        (lambda node: node.window.position(3)._replace(offset=6), "future"),
        (lambda node: node.window.position(3)._replace(offset=2**62), "future"),
    ],
)
@virtual
async def test_a_position_that_cannot_be_used(make: Any, reason: str) -> None:
    # Attack B02: the gap comes first, and the stream continues from its id.
    async with open_node() as node:
        await publish(node, "a", *numbers(1, 5))
        claim = make(node)
        wire = await listen(node, "a", since=claim)
        await publish(node, "a", "6")
        await quiet()
        gap = wire.everything[0]
        at = 0 if reason == "foreign" else 5
        assert gap.event == "hub.gap"
        assert gap.id == str(node.window.position(at))
        requested = {} if claim is INVALID else {"requested": str(claim)}
        assert gap.json() == {
            "reason": reason,
            **requested,
            "oldest": str(node.window.position(1)),
            "head": str(node.window.position(5)),
            "topics": ["a"],
        }
        assert wire.data == numbers(at + 1, 6)
        assert sample(node, "gaps_total", reason=reason) == 1


@virtual
async def test_trimmed() -> None:
    async with open_node(retention_entries=4) as node:
        made = await publish(node, "a", *numbers(1, 3))
        await publish(node, "b", *numbers(4, 6))
        wires = [await listen(node, "a", "b", "c", since=position) for position in made]
        await quiet()
        assert [wire.data for wire in wires] == [numbers(3, 6), numbers(3, 6), numbers(4, 6)]
        assert [len(wire.gaps) for wire in wires] == [1, 0, 0]
        assert wires[0].gaps[0]["topics"] == ["a"]
        assert wires[0].gaps[0]["requested"] == str(made[0])
        assert positions(wires[0].of_type("hub.gap")) == [made[1]]


@virtual
async def test_an_empty_log_has_no_oldest() -> None:
    async with open_node() as node:
        wire = await listen(node, "a", since=INVALID)
        assert wire.gaps[0]["oldest"] is None
        assert wire.last_id.offset == 0


@virtual
async def test_a_restart_of_the_memory_engine_is_a_gap_for_everyone() -> None:
    # Fault F3, promise G17: whatever offset the new log has reached.
    async with open_node() as node:
        old = [node.window.position(0), *await publish(node, "a", *numbers(1, 5))]
    async with open_node() as node:
        new = await publish(node, "a", *numbers(1, 3))
        assert not {str(p) for p in old} & {str(p) for p in new}
        for position in old:
            wire = await listen(node, "a", since=position)
            await quiet()
            assert wire.gaps[0]["reason"] == "foreign"
            assert wire.data == numbers(1, 3)


@virtual
async def test_a_busy_neighbour_causes_no_gap() -> None:
    async with open_node(retention_entries=5, window_entries=3) as node:
        (position,) = await publish(node, "quiet", "1")
        await publish(node, "busy", *numbers(1, 50))
        wire = await listen(node, "quiet", since=position)
        await publish(node, "quiet", "2")
        await quiet()
        assert (wire.data, wire.gaps) == (["2"], [])
