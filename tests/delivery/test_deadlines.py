"""The one timer. The drain of a process that stops is tested with whole servers, in test_stopping."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable

import pytest

from support.fakes import VirtualLoop, drift, quiet, virtual
from tidewire.delivery.deadlines import STEP, Deadlines, deadlines_of_loop


class Item:
    """Records the time of each tick, and returns what `again` returns as its next deadline."""

    def __init__(self, again: Callable[[float], float | None] = lambda now: None) -> None:
        self.due = 0
        self.ticks: list[float] = []
        self.again = again

    def tick(self, now: float) -> float | None:
        self.ticks.append(now)
        return self.again(now)


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_one_per_loop() -> None:
    assert deadlines_of_loop() is deadlines_of_loop()
    other = asyncio.new_event_loop()
    found: list[Deadlines] = []
    other.call_soon(lambda: found.append(deadlines_of_loop()))
    other.call_soon(other.stop)
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    thread.join()
    other.close()
    assert found[0] is not deadlines_of_loop()


@virtual
async def test_a_deadline_is_met_within_half_a_second_and_never_early() -> None:
    deadlines = deadlines_of_loop()
    rng = random.Random(1)
    items = []
    for _ in range(500):
        items.append((Item(), now() + rng.random() * 100))
        deadlines.watch(*items[-1])
        await asyncio.sleep(rng.random() / 100)
    await asyncio.sleep(102)
    late = [item.ticks[0] - at for item, at in items]
    assert all(len(item.ticks) == 1 for item, _ in items)
    assert min(late) >= 0
    assert max(late) <= 0.51


@virtual
async def test_an_item_returns_its_next_deadline() -> None:
    item = Item(lambda at: at + 9.5)
    start = now()
    deadlines_of_loop().watch(item, start + 9.5)
    await asyncio.sleep(100)
    gaps = [b - a for a, b in zip([start, *item.ticks], item.ticks, strict=False)]
    assert len(gaps) >= 9
    assert all(9.5 <= gap <= 10.01 for gap in gaps)
    deadlines_of_loop().unwatch(item)


@virtual
async def test_the_earlier_deadline_counts() -> None:
    deadlines, item, start = deadlines_of_loop(), Item(), now()
    deadlines.watch(item, start + 50)
    deadlines.watch(item, start + 5)
    deadlines.watch(item, start + 20)
    await asyncio.sleep(100)
    assert [at - start for at in item.ticks] == [5.5]


@virtual
async def test_a_deadline_that_has_passed_is_met_within_half_a_second() -> None:
    deadlines, first, late = deadlines_of_loop(), Item(), Item()
    deadlines.watch(first, now() + 1)
    await asyncio.sleep(10)  # the timer is stopped: nothing is watched
    start = now()
    deadlines.watch(late, start - 5)
    await asyncio.sleep(2)
    assert len(late.ticks) == 1
    assert late.ticks[0] - start <= 0.51


@virtual
async def test_an_unwatched_item_is_not_ticked() -> None:
    deadlines = deadlines_of_loop()
    kept, dropped, again = Item(), Item(), Item()
    for item in (kept, dropped, again):
        deadlines.watch(item, now() + 3)
    deadlines.unwatch(dropped)
    deadlines.unwatch(dropped)
    deadlines.unwatch(again)
    deadlines.watch(again, now() + 6)
    start = now()
    await asyncio.sleep(10)
    assert (len(kept.ticks), dropped.ticks) == (1, [])
    assert [at - start for at in again.ticks] == [6.5]


@virtual
async def test_an_item_unwatched_by_another_in_the_same_bucket() -> None:
    deadlines = deadlines_of_loop()
    items: list[Item] = []

    def stop_all(_: float) -> None:
        for item in items:
            deadlines.unwatch(item)

    items += [Item(stop_all) for _ in range(3)]
    for item in items:
        deadlines.watch(item, now() + 1)
    await asyncio.sleep(5)
    assert sum(len(item.ticks) for item in items) == 1


@virtual
async def test_an_item_that_fails_does_not_stop_the_timer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: float) -> float:
        raise RuntimeError("broken")

    deadlines = deadlines_of_loop()
    bad, good = Item(fail), [Item(lambda at: at + 1) for _ in range(4)]
    for item in (good[0], good[1], bad, good[2], good[3]):
        deadlines.watch(item, now() + 1)
    with caplog.at_level(logging.ERROR, "tidewire"):
        await asyncio.sleep(5)
    assert [len(item.ticks) for item in (bad, *good)] == [1, 3, 3, 3, 3]
    assert caplog.messages == ["a deadline failed"]


@virtual
async def test_many_deadlines_do_not_hold_up_the_loop() -> None:
    deadlines = deadlines_of_loop()
    items = [Item() for _ in range(1000)]
    for item in items:
        deadlines.watch(item, now() + 1)
    loop = asyncio.get_running_loop()
    longest = 0.0
    # Each reading of the clock takes a fifth of a step, so a step ends after a few ticks.
    drift(STEP / 5)
    while not all(item.ticks for item in items):
        before = loop.time()
        await asyncio.sleep(0)
        after = loop.time()
        longest = max(longest, after - before)
        if not any(item.ticks for item in items):
            await asyncio.sleep(0.5)
    assert longest <= 3 * STEP


@virtual
async def test_the_timer_stops_when_nothing_is_watched() -> None:
    deadlines, item = deadlines_of_loop(), Item()
    deadlines.watch(item, now() + 1000)
    deadlines.unwatch(item)
    await quiet()
    await asyncio.sleep(2)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    assert deadlines._timer is None
