"""Catching up: from the window, from the engine's pages, and past what retention trimmed."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest

from support.fakes import (
    START,
    FakeEngine,
    ask,
    heartbeats,
    listen,
    numbers,
    open_node,
    positions,
    publish,
    quiet,
    until,
    virtual,
)
from tidewire.delivery.catch_up import SHARED
from tidewire.delivery.joins import JOIN_BYTES
from tidewire.delivery.shared_pages import KEPT
from tidewire.engines.memory import MemoryEngine
from tidewire.log.entries import Draft, Since
from tidewire.settings import Settings
from tidewire.topics import Selector

# -- from the window


@virtual
async def test_a_slow_reader_costs_its_position_and_one_join() -> None:
    async with open_node() as node:
        slow, fast = await listen(node, "a", room=1000), await listen(node, "a")
        await publish(node, "a", *("x" * 10_000 + str(n) for n in range(200)))
        await quiet()
        assert len(fast.data) == 200
        assert slow.overrun == 0
        assert len(slow.raw) <= 1000 + JOIN_BYTES
        while len(slow.data) < 200:
            had = len(slow.raw)
            slow.take(room=1000)
            await quiet()
            assert len(slow.raw) - had <= 1000 + JOIN_BYTES
        assert slow.data == fast.data
        assert (slow.overrun, slow.gaps) == (0, [])


@virtual
async def test_a_closed_transport_during_catch_up_costs_the_others_nothing() -> None:
    async with open_node() as node:
        made = await publish(node, "a", "1", "2")
        opened = [await ask(node, "a", since=made[0], attach=False) for _ in range(3)]
        wires = [wire for wire in opened if wire]
        wires[1].broken = True
        for wire in wires:
            assert wire.subscriber
            wire.subscriber.attach(wire, "raw")
        broken = await listen(node, "a")
        assert broken.subscriber
        broken.subscriber.pause_writing()
        await publish(node, "a", "3")
        await quiet()
        broken.broken = True
        broken.take()
        await quiet()
        assert [wire.data for wire in wires] == [["2", "3"], [], ["2", "3"]]
        assert node.streams_open == 2


# -- from the engine


@pytest.mark.parametrize("terms", [("a",), ("b/*",), ("**",), ("a", "b/1")])
@virtual
async def test_entries_no_longer_in_the_window_are_read_from_the_engine(terms: tuple[str, ...]) -> None:
    rng = random.Random(1)
    async with open_node(window_entries=10) as node:
        made = []
        for number in range(1000):
            topic = rng.choice(["a", "b/1", "b/2", "c"])
            made.append((topic, str(number), *await publish(node, topic, str(number))))
        for index in (0, 1, 255, 256, 257, 600, 985, 989, 990, 998, 999):
            wire = await listen(node, *terms, since=made[index][2])
            await quiet()
            expected = [text for topic, text, _ in made[index + 1 :] if Selector(terms).matches(topic)]
            assert (wire.data, wire.gaps) == (expected, [])
            assert wire.subscriber
            assert wire.subscriber.live


@virtual
async def test_readers_at_the_same_position_share_a_read_and_a_join() -> None:
    engine = FakeEngine(shared=False)
    async with open_node(engine, window_entries=5) as node:
        made = await publish(node, "a", *numbers(1, 300))
        engine.calls.clear()
        wires = [await listen(node, "a", since=made[0]) for _ in range(50)]
        await quiet()
        assert all(wire.data == numbers(2, 300) for wire in wires)
        assert len([call for call in engine.calls if call[0] == "read"]) <= 2
        assert all(one is other for one, other in zip(wires[0].writes, wires[1].writes, strict=True))


@virtual
async def test_the_engines_pages_are_written_in_joins() -> None:
    async with open_node(window_entries=1, retention_bytes=10**8) as node:
        made = await publish(node, "a", *["x" * 20_000] * 40)
        slow = await listen(node, "a", since=made[0], room=1000)
        await quiet()
        assert len(slow.raw) <= 1000 + JOIN_BYTES
        while len(slow.data) < 39:
            had = len(slow.raw)
            slow.take(room=1000)
            await quiet()
            assert 0 < len(slow.raw) - had <= 1000 + JOIN_BYTES
        assert slow.overrun == 0


@virtual
async def test_the_engines_entries_keep_no_frames() -> None:
    settings = Settings(window_entries=5)
    engine = MemoryEngine("memory", settings)
    async with open_node(engine, window_entries=5) as node:
        made = await publish(node, "a", *numbers(1, 50))
        wire = await listen(node, "a", since=made[0])
        await quiet()
        assert len(wire.data) == 49
        page = await engine.read(0, 100, None)
        kept = [entry.offset for entry in page.entries if entry.frames != (None, None)]
        assert all(offset > 45 for offset in kept)


@virtual
async def test_the_replays_kept_are_bounded() -> None:
    async with open_node(window_entries=5) as node:
        made = await publish(node, "a", *numbers(1, 200))
        wires = [await listen(node, "a", since=position) for position in made]
        await quiet()
        assert [len(wire.data) for wire in wires] == list(range(199, -1, -1))
        assert len(node.catch_up._replays) <= SHARED
        assert len(node.catch_up._pages._pages) <= KEPT


@virtual
async def test_a_slow_engine_holds_up_only_its_own_readers() -> None:
    engine = FakeEngine(shared=False)
    async with open_node(engine, window_entries=5) as node:
        made = await publish(node, "a", *numbers(1, 50))
        live = await listen(node, "a")
        engine.slow()
        old = await listen(node, "a", since=made[0])
        located = await listen(node, "a", since=Since("last", 10))
        asyncio.get_running_loop().call_later(40, engine.fast)
        node.log.entries(engine.log.copies(50, 50))
        await asyncio.sleep(20)
        assert live.subscriber
        assert live.subscriber.live
        assert old.data == located.data == []
        assert heartbeats(old) == heartbeats(located) == 1
        await asyncio.sleep(30)
        assert old.data == numbers(2, 50)
        assert located.data == numbers(41, 50)
        assert located.everything[0].event == "hub.position"


@virtual
async def test_a_page_that_fails_is_read_again() -> None:
    engine = FakeEngine()
    async with open_node(engine, window_entries=2) as node:
        made = await publish(node, "a", *numbers(1, 20))
        engine.slow()
        wire = await listen(node, "a", since=made[0])
        await quiet()
        # It fails, and is up again before the reader notices.
        engine.down()
        engine.up()
        await asyncio.sleep(5)
        assert wire.data == numbers(2, 20)


@virtual
async def test_an_engine_that_fails_unexpectedly_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeEngine):
        async def read(self, *_: Any) -> Any:
            raise RuntimeError("disk on fire")

    async with open_node(Broken(), window_entries=2) as node:
        made = await publish(node, "a", *numbers(1, 20))
        with caplog.at_level(logging.ERROR, "tidewire"):
            # With its check, the position would have to be compared first.
            wire = await listen(node, "a", since=made[0]._replace(check=""))
            await quiet()
        assert wire.ended
        assert "cannot read a page of the log" in caplog.text
        live = await listen(node, "a")
        await publish(node, "a", "21")
        await quiet()
        assert live.data == ["21"]


# -- what retention trimmed


@virtual
async def test_more_than_retention_at_once_is_a_gap() -> None:
    async with open_node(window_entries=5, retention_entries=5) as node:
        wire = await listen(node, "a")
        await node.append([Draft("a", str(number)) for number in range(20)])
        await quiet()
        assert wire.data == [str(number) for number in range(15, 20)]
        (gap,) = wire.gaps
        assert (gap["reason"], gap["requested"]) == ("trimmed", str(node.window.position(0)))
        assert wire.everything[1].event == "hub.gap", "it comes before the next event"


@virtual
async def test_a_slow_reader_that_retention_overtakes_gets_a_gap_mid_stream() -> None:
    async with open_node(window_entries=5, retention_entries=20) as node:
        wire = await listen(node, "a", room=0)
        quiet_one = await listen(node, "b", room=0)
        await publish(node, "b", "1")
        await publish(node, "a", *numbers(1, 3))
        await quiet()
        got = len(wire.data)
        await publish(node, "a", *numbers(4, 100))
        wire.take()
        quiet_one.take()
        await quiet()
        assert wire.data == [*numbers(1, got), *numbers(81, 100)]
        (gap,) = wire.of_type("hub.gap")
        assert gap.json()["requested"] == str(node.window.position(got + 1))
        assert positions([gap])[0].offset == 81
        assert (quiet_one.data, quiet_one.gaps) == (["1"], []), "it missed nothing"


# -- in turns


@virtual
async def test_a_resume_does_not_wait_for_readers_of_rare_things() -> None:
    """Behind 100 readers that each need 300 pages, a resume of one topic waits for a few pages."""
    engine = FakeEngine(shared=False)
    async with open_node(engine, window_entries=5) as node:
        made = await publish(node, "a", *numbers(1, 300))
        engine.page_entries, engine.delay = 1, 0.01
        rare = [await listen(node, f"x/*/{n}", since=START) for n in range(100)]
        await until(lambda: len(engine.calls) > 1000, step=0.01)
        engine.page_entries = 1000
        before = len(engine.calls)
        honest = await listen(node, "a", since=made[0])
        await until(lambda: len(honest.data) == 299, step=0.01)
        assert len(engine.calls) - before < 20
        for wire in rare:
            wire.leave()
        await quiet()


@virtual
async def test_readers_that_left_ask_for_nothing_more() -> None:
    engine = FakeEngine(shared=False)
    async with open_node(engine, window_entries=5) as node:
        await publish(node, "a", *numbers(1, 300))
        engine.page_entries, engine.delay = 1, 0.01
        wires = [await listen(node, f"x/*/{n}", since=Since("last", 5)) for n in range(50)]
        wires += [await listen(node, f"y/*/{n}", since=START) for n in range(50)]
        await until(lambda: len(engine.calls) > 500, step=0.01)
        for wire in wires:
            wire.leave()
        before = len(engine.calls)
        await quiet()
        assert len(engine.calls) - before <= 3, "only the steps that had begun"


@virtual
async def test_a_page_is_read_again_for_the_next_when_its_only_reader_left() -> None:
    """The second comes in the step in which the first goes: it must not wait for the cancelled page."""
    engine = FakeEngine(shared=False)
    async with open_node(engine, window_entries=5) as node:
        made = await publish(node, "a", *numbers(1, 300))
        engine.slow()
        busy = [await listen(node, f"x/{n}", since=made[0]) for n in range(3)]
        await quiet()
        first = await listen(node, "a", since=made[0])
        await quiet()
        first.leave()
        second = await listen(node, "a", since=made[0])
        await quiet()
        engine.fast()
        await quiet()
        assert second.data == numbers(2, 300)
        assert [wire.data for wire in busy] == [[]] * 3
