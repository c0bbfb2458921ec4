"""What programs see of a topic's subscribers: their count, and hooks for the first and the last."""

from __future__ import annotations

import asyncio
import logging
import math

import pytest

from support.fakes import (
    FakeEngine,
    listen,
    open_node,
    publish,
    quiet,
    virtual,
)
from tidewire.delivery.topic_hooks import TopicHook
from tidewire.errors import TidewireError
from tidewire.log.presence import Alone
from tidewire.topics import Selector


@virtual
async def test_subscribers_are_counted() -> None:
    async with open_node() as node:
        wires = [await listen(node, *terms) for terms in [("a",), ("a",), ("a", "b/*"), ("**",)]]
        counts = [node.subscribers(topic) for topic in ("a", "b/1", "c", "b/1/2")]
        assert counts == [4, 2, 1, 1]
        assert node.streams_open == 4
        assert wires[0].subscriber
        wires[0].subscriber.pause_writing()
        assert node.subscribers("a") == 4
        wires[0].leave()
        wires[3].leave()
        wires[3].leave()
        assert [node.subscribers(topic) for topic in ("a", "b/1", "c")] == [2, 1, 0]
        assert len(node.subscribers_of("a")) == 2


@virtual
async def test_hooks_for_the_first_and_the_last_subscriber() -> None:
    calls: list[str] = []

    async def first(topic: str) -> None:
        await asyncio.sleep(0)
        calls.append(f"+{topic}")

    async with open_node() as node:
        early = await listen(node, "a")
        for term in ("a", "demo/*"):
            node.add_hook(TopicHook(term, first, lambda topic: calls.append(f"-{topic}")))
        await quiet()
        assert calls == ["+a"], "subscribers that are already there count"
        wires = [await listen(node, *terms) for terms in [("a",), ("demo/1", "demo/2"), ("demo/1",), ("**",)]]
        await quiet()
        assert sorted(calls) == ["+a", "+demo/1", "+demo/2"]
        calls.clear()
        # A pattern counts for a hook's topic, but not for each topic of a hook's pattern.
        early.leave()
        wires[0].leave()
        wires[1].leave()
        await quiet()
        assert calls == ["-demo/2"]
        wires[3].leave()
        await quiet()
        assert calls == ["-demo/2", "-a"]
        again = await listen(node, "a")
        await quiet()
        assert calls == ["-demo/2", "-a", "+a"]
        calls.clear()
        assert again
        await node.drain()
        assert sorted(calls) == ["-a", "-demo/1"]


@virtual
async def test_a_hook_that_fails_harms_no_stream(caplog: pytest.LogCaptureFixture) -> None:
    def fail(topic: str) -> None:
        raise RuntimeError("broken")

    async with open_node() as node:
        node.add_hook(TopicHook("a", fail, fail))
        with caplog.at_level(logging.ERROR, "tidewire"):
            wire = await listen(node, "a")
            await publish(node, "a", "1")
            await quiet()
            wire.leave()
            await quiet()
        assert wire.data == ["1"]
        assert caplog.text.count("on_first or on_last of 'a' failed") == 2


@virtual
async def test_a_hook_with_a_bad_topic_is_refused() -> None:
    with pytest.raises(TidewireError):
        TopicHook("a*", None, None)


class Others(Alone):
    """Other nodes, which have had streams for some topics since some time."""

    def __init__(self) -> None:
        self.topics: dict[str, float] = {}

    def streams(self, topic: str) -> int:
        return 2 if topic in self.topics else 0

    def since(self, topic: str, *, named: bool) -> float:
        return self.topics.get(topic, math.inf)


@virtual
async def test_streams_of_other_nodes_count_for_the_first_and_the_last() -> None:
    calls: list[str] = []
    engine = FakeEngine()
    engine.presence = others = Others()
    async with open_node(engine) as node:
        node.add_hook(
            TopicHook("a", lambda topic: calls.append(f"+{topic}"), lambda topic: calls.append(f"-{topic}"))
        )
        others.topics["a"] = 0.0
        wire = await listen(node, "a")
        await quiet()
        assert node.subscribers("a") == 3
        wire.leave()
        await quiet()
        assert calls == [], "another node had the first one, and has the last one"
        wire = await listen(node, "a")
        del others.topics["a"]
        wire.leave()
        await quiet()
        assert calls == ["-a"]
        # Streams came at once in two nodes: here was the first.
        others.topics["a"] = math.inf
        wire = await listen(node, "a")
        await quiet()
        assert calls == ["-a", "+a"]


@virtual
async def test_a_node_that_inherits_calls_the_last_for_what_nobody_has() -> None:
    calls: list[str] = []
    engine = FakeEngine()
    engine.presence = others = Others()
    async with open_node(engine) as node:
        assert not node.tally.inherits
        for term in ("a", "rooms/*"):
            node.add_hook(TopicHook(term, None, lambda topic: calls.append(f"-{topic}")))
        assert node.tally.inherits
        await listen(node, "rooms/1")
        others.topics["rooms/2"] = 0.0
        died = [Selector(["a"]), Selector(["**"]), Selector([f"rooms/{number}" for number in range(1, 4)])]
        node.tally.inherit(died)
        await quiet()
        assert sorted(calls) == ["-a", "-rooms/3"]
