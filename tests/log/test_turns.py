"""Turns: who asks the engine next (promise G18)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from support.fakes import now, quiet, virtual
from tidewire.log.turns import Turns

SECOND: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(1)  # noqa: E731


class Readers:
    """Readers that take steps of a second each, and the order in which their steps began."""

    def __init__(self, at_once: int = 1) -> None:
        self.turns = Turns(now, at_once)
        self.begun: list[str] = []
        self.running = self.most_running = 0

    def start(self, name: str, client: str, steps: int) -> asyncio.Task[None]:
        return asyncio.create_task(self._read(name, client, steps))

    async def _read(self, name: str, client: str, steps: int) -> None:
        with self.turns.account(client) as account:
            for _ in range(steps):
                await self.turns.run(account, lambda: self._step(name))

    async def _step(self, name: str) -> None:
        self.begun.append(name)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        await asyncio.sleep(1)
        self.running -= 1


@virtual
async def test_there_are_never_more_steps_at_once() -> None:
    readers, began = Readers(at_once=3), now()
    await asyncio.gather(*[readers.start(str(n), str(n), 4) for n in range(10)])
    assert (readers.most_running, len(readers.begun)) == (3, 40)
    assert now() - began == pytest.approx(14, abs=0.1)


@virtual
async def test_a_reader_of_one_page_does_not_wait_for_catch_ups() -> None:
    """Behind a hundred readers of a thousand pages each, the next step is the newcomer's."""
    readers = Readers()
    busy = [readers.start(f"busy {n}", f"client {n}", 1000) for n in range(100)]
    await asyncio.sleep(250.5)
    await readers.start("quick", "another", 1)
    assert readers.begun.index("quick") == 251
    for task in busy:
        task.cancel()


@virtual
async def test_twenty_readers_of_one_client_count_as_one() -> None:
    readers = Readers()
    tasks = [readers.start("many", "one client", 100) for _ in range(20)]
    tasks.append(readers.start("single", "another client", 100))
    await asyncio.sleep(40.5)
    assert 19 <= readers.begun.count("single") <= 21
    # And among themselves they take turns too.
    for task in tasks:
        task.cancel()


@virtual
async def test_a_reader_that_is_gone_gives_up_its_turn() -> None:
    readers, began = Readers(), now()
    gone = [readers.start("gone", str(n), 50) for n in range(20)]
    await asyncio.sleep(0.5)
    for task in gone:
        task.cancel()
    await quiet()
    assert readers.running == 1, "a step that has begun keeps its turn until it is done"
    await readers.start("left", "left", 2)
    assert readers.begun == ["gone", "left", "left"]
    assert now() - began == pytest.approx(3, abs=0.1)


@virtual
async def test_a_reader_that_goes_when_its_turn_comes_passes_it_on() -> None:
    readers = Readers()
    first, second = readers.start("first", "a", 1), readers.start("second", "b", 1)
    third = readers.start("third", "c", 1)
    first.add_done_callback(lambda _: second.cancel())
    await asyncio.gather(first, third)
    assert readers.begun[-1] == "third"
    assert second.cancelled()


@virtual
async def test_what_a_step_raises_reaches_its_reader_and_frees_the_turn() -> None:
    turns = Turns(now, 1)

    async def fail() -> None:
        raise ValueError("broken")

    with turns.account("a") as account:
        with pytest.raises(ValueError, match="broken"):
            await turns.run(account, fail)
        await turns.run(account, SECOND)
    assert not turns._used
    assert not turns._readers
