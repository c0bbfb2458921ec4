"""sampling: what a second, a minute and a quarter of an hour are made of, and how much is kept."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import listen, open_node, publish, quiet, virtual
from support.slow_engine import SlowEngine
from tidewire.inspect.sampling import Levels, Rates, Sample, Sampler, add, joined, rings
from tidewire.settings import Settings


def test_a_day_is_kept_in_a_fixed_number_of_samples() -> None:
    kept = rings()
    for second in range(26 * 3600):
        add(kept, Sample(float(second), 1.0, Rates(*[2.0] * 7), Levels(1, 0, 0, 0, None, None), None))
    for span, count, seconds in (("minute", 60, 1), ("hour", 60, 60), ("day", 96, 900)):
        samples = kept[span].samples
        assert len(samples) == count
        assert {(sample.seconds, sample.rates.events) for sample in samples} == {(seconds, 2.0)}
        assert samples[-1].time == 26 * 3600 - 1


@virtual
async def test_rates_are_per_second_and_levels_are_those_of_the_moment() -> None:
    async with open_node() as node:
        sampler = Sampler(node)
        wire, slow = await listen(node, "a"), await listen(node, "b", room=0)
        await publish(node, "a", *map(str, range(30)))
        await publish(node, "b", "x", "y")
        await quiet()
        wire.leave()
        await sampler.next()
        now = sampler.now
        assert now.rates.events * now.seconds == pytest.approx(32)
        assert now.rates.published * now.seconds == pytest.approx(32)
        assert now.rates.opened * now.seconds == pytest.approx(2)
        assert now.rates.ended * now.seconds == pytest.approx(1)
        assert (now.levels.streams, now.levels.behind, now.levels.paused, now.levels.topics) == (1, 1, 1, 2)
        await sampler.next()
        assert sampler.now.rates == Rates(0, 0, 0, 0, 0, 0, 0)
        assert sampler.now.publish_ms is None
        slow.leave()
        sampler.stop()


@virtual
async def test_the_time_of_a_publish_is_that_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowEngine, "opened", [], raising=False)
    engine = SlowEngine("slow", Settings())
    async with open_node(engine) as node:
        sampler = Sampler(node)
        engine.slow = True
        publishing = asyncio.ensure_future(publish(node, "a", "1"))
        await asyncio.sleep(0.25)
        engine.slow = False
        engine.waiting[0].set_result(None)
        await publishing
        await sampler.next()
        assert sampler.now.publish_ms == (pytest.approx(250), pytest.approx(250))
        sampler.stop()


@virtual
async def test_the_times_of_a_few_publishes_are_kept() -> None:
    async with open_node() as node:
        await publish(node, "a", *map(str, range(1_000)))
        assert len(node.log.take_times()) == 100
        assert node.log.take_times() == []


def test_a_longer_sample_has_the_means_of_rates_and_the_largest_of_the_others() -> None:
    parts = [
        Sample(1.0, 1.0, Rates(4, 0, 0, 0, 0, 0, 0), Levels(3, 0, 0, 0, None, None), None),
        Sample(4.0, 3.0, Rates(8, 0, 0, 0, 0, 0, 0), Levels(1, 2, 0, 0, 7, None), (1.0, 9.0)),
        Sample(5.0, 1.0, Rates(2, 0, 0, 0, 0, 0, 0), Levels(1, 0, 0, 0, 6, None), (2.0, 3.0)),
    ]
    assert joined(parts) == Sample(
        5.0, 5.0, Rates(6, 0, 0, 0, 0, 0, 0), Levels(3, 2, 0, 0, 7, None), (2.0, 9.0)
    )
