"""What becomes of a producer: how fast it may be, and what it is told when nobody wants the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from support.fakes import listen, until, virtual
from support.slow_engine import SlowEngine, slow_engines
from support.waiting import wait_until_async
from tidewire import Event, Hub, Run
from tidewire.engines.memory import MemoryEngine
from tidewire.errors import InvalidInput, RunConflict, StoreFull, Unknown
from tidewire.log.entries import Draft
from tidewire.runs.dialects import AiSdk, ai_sdk


async def state(hub: Hub, topic: str) -> str:
    return next(run.state for run in await hub.runs() if run.topic == topic)


async def output(hub: Hub, topic: str) -> list[str]:
    """Return the data of what was published, without what tells of the run."""
    page = await hub.history(topic)
    return [event.data for event in page if not event.event.startswith(("hub.", "run."))]


async def ended(hub: Hub, topic: str, wanted: str) -> None:
    await until(lambda: hub.node.window.records.newest_run(topic).state == wanted, 0.01)  # type: ignore[union-attr]


class Told:
    """A producer that yields `count` items, and notes what it is told."""

    def __init__(self, count: int = 1_000_000, pause: float = 0.0) -> None:
        self.count = count
        self.pause = pause
        self.yielded = 0
        self.error: BaseException | None = None

    async def __call__(self) -> AsyncIterator[str]:
        try:
            while self.yielded < self.count:
                self.yielded += 1
                yield str(self.yielded)
                if self.pause:
                    await asyncio.sleep(self.pause)
        except BaseException as error:
            self.error = error
            raise


@virtual
async def test_what_a_producer_yields_is_published() -> None:
    async def items() -> AsyncIterator[Any]:
        yield "text"
        yield {"data": {"a": 1}, "event": "step"}
        yield Event("x", "y")

    hub = Hub()
    async with hub.lifespan():
        run = await hub.run("a", items, key="k")
        assert isinstance(run, Run)
        assert (run.topic, run.key, run.open) == ("a", "k", True)
        await ended(hub, "a", "done")
        events = [(event.event, event.data) for event in await hub.history("a")]
        assert events[1:-2] == [("message", "text"), ("step", '{"a":1}'), ("y", "x")]


@pytest.mark.parametrize("pause", [0.0, 1.0], ids=["at its yield", "at its await"])
@virtual
async def test_a_cancelled_producer_gets_cancelled_error(pause: float) -> None:
    producer, hub = Told(pause=pause), Hub()
    async with hub.lifespan():
        await hub.run("a", producer, key="k")
        await until(lambda: producer.yielded > 1, 0.01)
        run = await hub.cancel("a", reason="enough")
        assert run is not None
        assert (run.state, run.reason) == ("cancelled", "enough")
        await until(lambda: producer.error is not None, 0.01)
        assert isinstance(producer.error, asyncio.CancelledError)


@virtual
async def test_a_producer_that_does_not_stop_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    go_on = asyncio.Event()

    async def stubborn() -> AsyncIterator[str]:
        while not go_on.is_set():
            try:
                yield "more"
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue
            except GeneratorExit:
                await go_on.wait()
                raise

    hub = Hub()
    async with hub.lifespan():
        await hub.run("a", stubborn, key="k")
        await until(lambda: hub.node.window.head > 3, 0.01)
        await hub.cancel("a")
        stored = await output(hub, "a")
        await until(lambda: "does not stop" in caplog.text, 0.01)
        assert await output(hub, "a") == stored
        await hub.run("a", Told(3), key="next")
        await ended(hub, "a", "done")
        go_on.set()


@virtual
async def test_a_producer_waits_only_for_what_is_too_much() -> None:
    producer = Told(900)
    with slow_engines() as opened:
        hub = Hub("slow")
        async with hub.lifespan():
            (engine,) = opened
            await hub.run("a", producer, key="k")
            engine.slow = True
            await until(lambda: engine.waiting, 0.01)
            await until(lambda: producer.yielded >= 256, 0.01)
            await asyncio.sleep(1)
            assert len(engine.waiting) == 1, "one batch at a time"
            # One batch is on its way, the next one is full.
            assert producer.yielded <= hub.node.window.head + 2 * 256
            engine.go_on()
            await ended(hub, "a", "done")
            assert await output(hub, "a") == [str(number) for number in range(1, 901)]


@virtual
async def test_a_batch_whose_answer_was_lost_is_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_engines():
        hub = Hub("slow")
        async with hub.lifespan():
            append = SlowEngine._later
            lost: list[int] = []

            async def lose(self: SlowEngine, drafts: Any) -> Any:
                receipts = await append(self, drafts)
                if len(lost) < 20 and len(drafts) > 1:
                    lost.append(len(drafts))
                    raise Unknown("the answer was lost")
                return receipts

            monkeypatch.setattr(SlowEngine, "_later", lose)
            await hub.run("a", Told(900), key="k")
            await ended(hub, "a", "done")
            assert lost
            assert await output(hub, "a") == [str(number) for number in range(1, 901)]


@virtual
async def test_what_comes_in_one_step_is_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    append, batches = MemoryEngine.append, []

    def count(self: MemoryEngine, drafts: Sequence[Draft]) -> Any:
        batches.append(len(drafts))
        return append(self, drafts)

    hub = Hub()
    async with hub.lifespan():
        monkeypatch.setattr(MemoryEngine, "append", count)
        await hub.run("a", Told(900), key="k")
        await ended(hub, "a", "done")
        # Its start, at most as many items as may wait, and its end.
        assert batches == [1, 256, 256, 256, 132, 1]
        assert await output(hub, "a") == [str(number) for number in range(1, 901)]


@pytest.mark.parametrize("later", [True, False], ids=["the engine answers", "at once"])
@virtual
async def test_a_log_that_cannot_be_written_for_a_while(later: bool) -> None:
    producer = Told(100, pause=0.1)
    with slow_engines() as opened:
        hub = Hub("slow")
        async with hub.lifespan():
            (engine,) = opened
            await hub.run("a", producer, key="k")
            await until(lambda: producer.yielded == 10, 0.01)
            engine.fault = StoreFull("the disk is full")
            if not later:
                hub.node.log.available(False)
            await until(lambda: producer.yielded == 50, 0.01)
            assert await state(hub, "a") == "running"
            engine.fault = None
            hub.node.log.available(True)
            await ended(hub, "a", "done")
            assert await output(hub, "a") == [str(number) for number in range(1, 101)]


@virtual
async def test_a_log_that_cannot_be_written_for_long() -> None:
    producer = Told(pause=0.1)
    with slow_engines() as opened:
        hub = Hub("slow")
        async with hub.lifespan():
            (engine,) = opened
            await hub.run("a", producer, key="k")
            await until(lambda: producer.yielded == 10, 0.01)
            engine.fault = StoreFull("the disk is full")
            # The producer has to wait for room at last, and is cancelled when the log is given up.
            await until(lambda: producer.error is not None, 0.01)
            assert isinstance(producer.error, asyncio.CancelledError)
            engine.fault = None
            await ended(hub, "a", "lost")
            stored = await output(hub, "a")
            assert stored == [str(number) for number in range(1, len(stored) + 1)]


@virtual
async def test_an_item_is_stored_whole_or_not_at_all() -> None:
    async def items() -> AsyncIterator[Any]:
        yield {"type": "data-x", "data": object()}

    hub = Hub()
    async with hub.lifespan():
        await hub.run("a", items, key="k", dialect=ai_sdk)
        await ended(hub, "a", "failed")
        assert not [event.data for event in await hub.history("a") if '"start"' in event.data]


@virtual
async def test_a_start_whose_answer_was_lost_starts_one_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_engines():
        hub = Hub("slow")
        async with hub.lifespan():
            append, lost = SlowEngine._later, [True]

            async def lose(self: SlowEngine, drafts: Any) -> Any:
                receipts = await append(self, drafts)
                if lost:
                    lost.pop()
                    raise Unknown("the answer was lost")
                return receipts

            monkeypatch.setattr(SlowEngine, "_later", lose)
            producer = Told(3)
            await hub.run("a", producer, key="k")
            await ended(hub, "a", "done")
            assert await output(hub, "a") == ["1", "2", "3"]


@virtual
async def test_a_client_that_leaves_at_once_cancels_nothing() -> None:
    producer = Told(3)
    with slow_engines() as opened:
        hub = Hub("slow")
        async with hub.lifespan():
            (engine,) = opened
            engine.slow = True
            request = asyncio.create_task(hub.run("a", producer, key="k"))
            await until(lambda: engine.waiting, 0.01)
            request.cancel()
            engine.go_on()
            await until(lambda: hub.node.window.head > 0, 0.01)
            await ended(hub, "a", "done")
            assert await output(hub, "a") == ["1", "2", "3"]


@virtual
async def test_a_run_that_nobody_watches_is_cancelled_if_that_is_wanted() -> None:
    watched, unwatched, kept = Told(pause=1), Told(pause=1), Told(pause=1)
    hub = Hub()
    async with hub.lifespan():
        await listen(hub.node, "a")
        await hub.run("a", watched, key="k", cancel_when_unwatched=30)
        await hub.run("b", unwatched, key="k", cancel_when_unwatched=30)
        await hub.run("c", kept, key="k")
        await asyncio.sleep(25)
        assert await state(hub, "b") == "running"
        await asyncio.sleep(35)
        assert [await state(hub, topic) for topic in "abc"] == ["running", "cancelled", "running"]
        assert next(run for run in await hub.runs() if run.topic == "b").reason == "unwatched"


@pytest.mark.parametrize(
    "producer",
    [lambda: "text", lambda: None, lambda: 1 / 0, lambda: iter([object()]), lambda: iter([{"id": "1"}])],
)
@virtual
async def test_a_producer_that_is_none_fails(producer: Callable[[], Any]) -> None:
    hub = Hub()
    async with hub.lifespan():
        await hub.run("a", producer, key="k")
        await ended(hub, "a", "failed")
        assert await output(hub, "a") == []


@virtual
async def test_a_run_of_a_topic_that_is_ended_fails() -> None:
    producer, hub = Told(pause=1), Hub()
    async with hub.lifespan():
        await hub.run("a", producer, key="k")
        await asyncio.sleep(3)
        await hub.end("a")
        await ended(hub, "a", "failed")
        await until(lambda: producer.error is not None, 0.01)


@virtual
async def test_what_is_refused_at_once() -> None:
    hub = Hub()
    async with hub.lifespan():
        for topic, key in (("a/*", "k"), ("$a", "k"), ("a", ""), ("a", "\n")):
            with pytest.raises(ValueError, match=r"."):
                await hub.run(topic, Told(), key=key)
        with pytest.raises(InvalidInput):
            await hub.run("a", Told(), key="k", dialect=AiSdk())
        await hub.run("a", Told(pause=1), key="k")
        with pytest.raises(RunConflict):
            await hub.run("a", Told(), key="other")
        await hub.run("a", Told(pause=1), key="other", replace=True)
        assert [(run.key, run.state) for run in await hub.runs()] == [
            ("k", "cancelled"),
            ("other", "running"),
        ]


def test_a_sync_generator_runs_in_a_thread() -> None:
    closed, threads = threading.Event(), set()

    def numbers(count: int) -> Iterator[str]:
        try:
            for number in range(count):
                threads.add(threading.current_thread())
                yield str(number)
        finally:
            closed.set()

    async def main() -> None:
        hub = Hub()
        async with hub.lifespan():
            await hub.run("a", lambda: numbers(100), key="k")
            await ended(hub, "a", "done")
            assert await output(hub, "a") == [str(number) for number in range(100)]
            assert closed.is_set()
            closed.clear()
            await hub.run("b", lambda: numbers(10**9), key="k")
            await wait_until_async(lambda: hub.node.window.head > 200)
            await hub.cancel("b")
            await wait_until_async(closed.is_set)

    asyncio.run(main())
    assert threading.main_thread() not in threads
