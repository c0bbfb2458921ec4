"""outcomes: what is said of an event and a stream is compared with what was written to the stream."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from support.fakes import FakeEngine, end, listen, numbers, open_node, publish, quiet, virtual
from tidewire.auth.grants import Grant
from tidewire.delivery.node import Node
from tidewire.inspect.asking import EventWanted, StreamsWanted
from tidewire.inspect.streams import list_streams, show_event, show_stream
from tidewire.log.entries import Draft
from tidewire.position import Position
from tidewire.testing.wire import RecordingWire

ALL = StreamsWanted("", None, "open", "newest", 1_000)


async def outcomes(node: Node, position: Position) -> dict[int, str]:
    """Return what is said of each stream, by its number."""
    found = await show_event(node, EventWanted(position, None, 1_000))
    assert sum(found["outcomes"].values()) == len(found["streams"]) == found["matching"]
    return {item["stream"]: item["outcome"] for item in found["streams"]}


def number(wire: RecordingWire) -> int:
    assert wire.subscriber
    return wire.subscriber.number


@virtual
async def test_why_an_event_was_not_written() -> None:
    async with open_node() as node:
        before, event, _ = await publish(node, "a", "0", "1", "2")
        wires = {
            "written": await listen(node, "a", since=before),
            "another_topic": await listen(node, "b"),
            "no_grant": await listen(node, "b", grant=Grant(subscribe=["b"])),
            "not_connected": await listen(node, "a"),
            "left_out": await listen(node, "a", plain=True),
        }
        await quiet()
        for name in ("written", "another_topic", "no_grant", "not_connected"):
            assert (await outcomes(node, event))[number(wires[name])] == name
        ended = (await end(node, "a")).position
        await quiet()
        said = await outcomes(node, ended)
        assert said[number(wires["left_out"])] == "left_out"
        assert said[number(wires["written"])] == "written", "also after it ended"


@virtual
async def test_a_slow_reader_is_behind_and_then_ended() -> None:
    async with open_node() as node:
        slow = await listen(node, "a", room=0)
        await publish(node, "a", "x" * 200_000, "y" * 200_000)
        event, _ = await publish(node, "a", "1", "2")
        await quiet()
        assert (await outcomes(node, event))[number(slow)] == "behind"
        (row,) = (await list_streams(node, ALL))["streams"]
        assert (row["state"], row["behind"] > 0) == ("paused", True)
        slow.leave()
        await quiet()
        assert (await outcomes(node, event))[number(slow)] == "ended"


@virtual
async def test_a_grant_that_says_nothing_of_topics_is_not_the_reason() -> None:
    """A program that checks by itself passes a grant only to say whose the stream is."""
    async with open_node() as node:
        wire = await listen(node, "b", grant=Grant(sub="ann"))
        (event,) = await publish(node, "a", "1")
        await quiet()
        assert (await outcomes(node, event))[number(wire)] == "another_topic"


@virtual
async def test_after_the_log_was_replaced_older_events_are_unknown() -> None:
    engine = FakeEngine()
    async with open_node(engine) as node:
        wire, gone = await listen(node, "a"), await listen(node, "a")
        kept, *_ = await publish(node, "a", *numbers(1, 10))
        await quiet()
        gone.leave()
        engine.log.go_back(6)
        (after,) = await publish(node, "a", "7b")
        await quiet()
        assert await outcomes(node, kept) == {number(wire): "unknown", number(gone): "unknown"}
        assert await outcomes(node, after) == {number(wire): "written", number(gone): "unknown"}
        steps = (await show_stream(node, number(wire)))["steps"]
        assert [step["step"] for step in steps] == ["opened", "judged", "live", "reset", "judged", "live"]
        assert [step["position"] is None for step in steps] == [True, True, True, True, False, False]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_true_whatever_happens(seed: int) -> None:
    check(seed)


@virtual
async def check(seed: int) -> None:
    """Let streams come and go, be slow and be overtaken by retention; compare each outcome with the bytes."""
    rng = random.Random(seed)
    async with open_node(retention_entries=rng.choice([30, 1_000]), window_entries=10) as node:
        wires: list[RecordingWire] = []
        made: dict[str, Position] = {}
        for _ in range(60):
            names = rng.choice([["a"], ["b"], ["a", "b"], ["*"], ["c/*"]])
            since = rng.choice([None, None, *made.values()])
            more = {} if since is None else {"since": since}
            wires.append(await listen(node, *names, room=rng.choice([0, 500, 10**9]), **more))
            for _ in range(rng.randrange(5)):
                topic, data = rng.choice(["a", "b", "c/d"]), f"{len(made)}-{'x' * rng.randrange(300)}"
                made[data] = (await node.append([Draft(topic, data)]))[0].position
            if rng.random() < 0.7:
                await quiet()
            for wire in rng.sample(wires, len(wires) // 3):
                if rng.random() < 0.1:
                    wire.leave()
                else:
                    wire.take(room=rng.choice([500, 10**9]))
        await quiet()
        seen: Counter[str] = Counter()
        written = {number(wire): set(wire.data) for wire in wires}
        for data, position in made.items():
            if position.offset < node.window.floor:
                continue
            for stream, outcome in (await outcomes(node, position)).items():
                seen[outcome] += 1
                assert outcome == "unknown" or (outcome == "written") == (data in written[stream]), (
                    data,
                    outcome,
                    await show_stream(node, stream),
                )
        assert seen["written"]
        assert seen["another_topic"]
        assert seen["unknown"] < seen.total() / 20
