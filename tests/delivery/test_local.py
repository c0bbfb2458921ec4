"""Streams within the process: `hub.subscribe` and `hub.history`."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fakes import quiet, virtual
from support.waiting import PATIENCE, wait_until, wait_until_async
from tidewire import End, Event, Gap, Hub
from tidewire.delivery.joins import JOIN_BYTES
from tidewire.errors import Draining, InvalidInput, StartRefused


async def take(events: Any, count: int) -> list[str]:
    return [(await anext(events)).data for _ in range(count)]


@virtual
async def test_events_of_a_pattern_and_the_ends_of_topics() -> None:
    hub = Hub()
    async with hub.lifespan(), hub.subscribe("orders/*", "news") as events:
        assert hub.subscribers("orders/7") == 1
        first = await hub.publish("orders/7", {"paid": True}, event="status")
        await hub.publish("other", "x")
        await hub.end("orders/7", "sold")
        item = await anext(events)
        assert item == Event('{"paid":true}', "status", str(first.position), topic="orders/7")
        assert item.json() == {"paid": True}
        assert events.last_event_id == str(first.position)
        end = await anext(events)
        assert isinstance(end, End)
        assert (end.topic, end.reason) == ("orders/7", "sold")
    assert hub.subscribers("orders/7") == 0


@pytest.mark.parametrize("how", ["events come later", "events were there", "it had ended"])
@virtual
async def test_the_loop_ends_once_all_topics_have_ended(how: str) -> None:
    hub = Hub()
    async with hub.lifespan():

        async def publish() -> None:
            await hub.publish("a", "1")
            await hub.end("a")

        if how != "events come later":
            await publish()
        else:
            asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(publish()))
        since = "now" if how == "it had ended" else "start"
        kinds = [type(item) async for item in hub.subscribe("a", since=since)]
        assert kinds == ([] if how == "it had ended" else [Event, End])
        assert hub.subscribers("a") == 0


@virtual
async def test_it_starts_where_it_is_told() -> None:
    hub = Hub()
    async with hub.lifespan():
        receipts = [await hub.publish("a", str(number)) for number in range(5)]
        for since, rest in [
            ("start", "01234"),
            ("last:2", "34"),
            (receipts[1].position, "234"),
            (str(receipts[3].position), "4"),
        ]:
            async with hub.subscribe("a", since=since) as events:
                assert await take(events, len(rest)) == list(rest)
        async with hub.subscribe("a") as events:
            await hub.publish("a", "now")
            assert await take(events, 1) == ["now"]
        # What it had is where it goes on.
        async with hub.subscribe("a", since=events.last_event_id) as events:
            await hub.publish("a", "later")
            assert await take(events, 1) == ["later"]


@virtual
async def test_a_position_that_cannot_be_continued_is_a_gap() -> None:
    hub = Hub(retention_entries=10)
    async with hub.lifespan():
        first = await hub.publish("a", "first")
        for number in range(20):
            await hub.publish("a", str(number))
        async with hub.subscribe("a", since=first.position) as events:
            gap = await anext(events)
            assert isinstance(gap, Gap)
            assert (gap.reason, gap.requested) == ("trimmed", str(first.position))
            assert await take(events, 10) == [str(number) for number in range(10, 20)]
        foreign = hub.subscribe("a", since="zzzzzz.7")
        gap = await anext(foreign)
        assert isinstance(gap, Gap)
        assert gap.reason == "foreign"


@virtual
async def test_a_slow_consumer_reads_from_the_log_and_not_from_a_queue() -> None:
    """It holds a few events at a time however many come, and loses none, however long it takes."""
    hub = Hub(send_timeout=1, stuck_timeout=1, max_age=1)
    async with hub.lifespan(), hub.subscribe("a") as events:
        filler = "x" * 1_000
        for number in range(20):
            await hub.publish_many(
                [{"topic": "a", "data": f"{number * 500 + n} {filler}"} for n in range(500)]
            )
            await quiet()
        found = await take(events, 1)
        await asyncio.sleep(600)
        assert events._wire is not None
        assert sum(len(item.data) for item in events._wire.items) <= JOIN_BYTES
        found += await take(events, 9_999)
        assert found == [f"{number} {filler}" for number in range(10_000)]
        await asyncio.sleep(600)
        await hub.publish("a", "live again")
        assert await take(events, 1) == ["live again"]


@virtual
async def test_a_consumer_that_retention_overtakes_gets_a_gap() -> None:
    hub = Hub(retention_entries=100, window_entries=50)
    async with hub.lifespan(), hub.subscribe("a") as events:
        for number in range(1_000):
            await hub.publish("a", str(number))
            if number % 10 == 0:
                await quiet()
        got: list[str | type[Event]] = []
        while not got or got[-1] != "999":
            item = await anext(events)
            got.append(type(item) if isinstance(item, Gap) else item.data)
        (at,) = [index for index, item in enumerate(got) if item is Gap]
        rest = [str(item) for item in got[at + 1 :]]
        assert [str(item) for item in got[:at]] == [str(number) for number in range(at)]
        assert rest == [str(number) for number in range(1_000 - len(rest), 1_000)]
        assert len(rest) >= 100


@virtual
async def test_break_ends_it() -> None:
    hub = Hub()
    async with hub.lifespan():
        await hub.publish("a", "x")
        async for event in hub.subscribe("a", since="start"):
            assert event.data == "x"
            assert hub.subscribers("a") == 1
            break
        gc.collect()
        await quiet()
        assert hub.subscribers("a") == 0


@virtual
async def test_aclose_and_cancellation_end_it() -> None:
    hub = Hub()
    async with hub.lifespan():
        events = hub.subscribe("a")
        waiting = asyncio.ensure_future(anext(events))
        await quiet()
        assert hub.subscribers("a") == 1
        # A wait that is cancelled takes nothing.
        waiting.cancel()
        await quiet()
        await hub.publish("a", "kept")
        assert await take(events, 1) == ["kept"]
        waiting = asyncio.ensure_future(anext(events))
        await quiet()
        await events.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert hub.subscribers("a") == 0
        assert [item async for item in events] == []


@virtual
async def test_a_drain_ends_it_after_what_it_has() -> None:
    hub = Hub()
    async with hub.lifespan():
        events = hub.subscribe("a", since="start")
        await hub.publish("a", "last")
        found = await take(events, 1)
        reading = asyncio.ensure_future(anext(events))
        await quiet()
        await hub.drain()
        with pytest.raises(StopAsyncIteration):
            await reading
        assert found == ["last"]
        with pytest.raises(Draining):
            await anext(hub.subscribe("a"))


@virtual
async def test_it_wakes_producers_as_any_stream() -> None:
    hub = Hub()

    @hub.on_first("prices")
    async def start(topic: str) -> None:
        await hub.publish(topic, "100")

    async with hub.lifespan():
        async for event in hub.subscribe("prices"):
            assert event.data == "100"
            break


@pytest.mark.parametrize(("topics", "since"), [((), "now"), (("a*",), "now"), (("a",), "yesterday")])
def test_what_is_not_valid_is_refused_at_once(topics: tuple[str, ...], since: str) -> None:
    with pytest.raises(InvalidInput):
        Hub().subscribe(*topics, since=since)


# -- history


@virtual
async def test_pages_of_history() -> None:
    hub = Hub()
    async with hub.lifespan():
        receipts = [await hub.publish("a", str(number)) for number in range(5)]
        await hub.publish("b", "other")
        page = await hub.history("a", limit=3)
        assert [event.data for event in page] == ["0", "1", "2"]
        assert page.events[0] == Event("0", id=str(receipts[0].position), topic="a")
        assert (page.more, page.ended, page.gap) == (True, False, None)
        page = await hub.history("a", since=page.next)
        assert ([event.data for event in page], page.more) == (["3", "4"], False)
        assert page.head == str(await hub.head())
        async with hub.subscribe("a", since=page.next) as events:
            await hub.publish("a", "5")
            assert await take(events, 1) == ["5"]
        for limit in (0, 1_001):
            with pytest.raises(InvalidInput):
                await hub.history("a", limit=limit)


# -- threads


class Program:
    """A hub whose event loop runs in a thread."""

    def __init__(self, url: str) -> None:
        self.hub = Hub(url)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._stop = asyncio.Event()
        self._thread.start()
        wait_until(lambda: self.loop.is_running())
        asyncio.run_coroutine_threadsafe(self.hub.open(), self.loop).result(PATIENCE)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._stop.wait())

    def stop(self) -> None:
        """Stop the loop without closing the hub."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)


@pytest.fixture(params=["memory", "sqlite"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    program = Program("memory" if request.param == "memory" else f"sqlite:///{tmp_path}/log.db")
    yield program
    if not program.loop.is_closed():
        asyncio.run_coroutine_threadsafe(program.hub.close(), program.loop).result(PATIENCE)
        program.stop()


def test_a_thread_reads_a_stream_and_history(program: Program) -> None:
    hub = program.hub
    for future in [hub.publish_soon("a", str(number)) for number in range(500)]:
        future.result(PATIENCE)
    found = []
    for event in hub.subscribe("a", since="start"):
        found.append(event.data)
        if len(found) == 500:
            break
    assert found == [str(number) for number in range(500)]
    wait_until(lambda: hub.subscribers("a") == 0)
    assert len(hub.history_soon("a", limit=7).result(PATIENCE)) == 7
    with hub.subscribe("a") as events:
        hub.publish_soon("a", "live")
        assert next(events).data == "live"
    assert hub.subscribers("a") == 0


def test_a_thread_that_waits_is_let_go(program: Program) -> None:
    hub = program.hub
    events = hub.subscribe("a")
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(events))
    thread.start()
    wait_until(lambda: hub.subscribers("a") == 1)
    hub.publish_soon("a", "x").result(PATIENCE)
    wait_until(lambda: found)
    events.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert [event.data for event in found] == ["x"]


def test_a_thread_does_not_wait_for_a_loop_that_has_ended(program: Program) -> None:
    hub = program.hub
    refused: list[str] = []

    def read() -> None:
        try:
            next(hub.subscribe("a"))
        except StartRefused as refusal:
            refused.append(str(refusal))

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: hub.subscribers("a") == 1)
    program.stop()
    thread.join(PATIENCE)
    assert refused == ["the event loop of the hub has ended"]
    read()
    assert len(refused) == 2
    asyncio.run(close(hub))


async def close(hub: Hub) -> None:
    await hub.close()


async def test_the_sync_face_on_the_event_loop_is_refused() -> None:
    hub = Hub()
    with pytest.raises(StartRefused, match="not open"):
        next(hub.subscribe("a"))
    async with hub.lifespan():
        with pytest.raises(StartRefused, match="use await"):
            next(hub.subscribe("a"))


async def test_a_sqlite_log_from_its_start_and_on(tmp_path: Path) -> None:
    hub = Hub(f"sqlite:///{tmp_path}/log.db", window_entries=10)
    async with hub.lifespan():
        await hub.publish_many([{"topic": "a", "data": str(number)} for number in range(1_000)])
        found: list[str] = []

        async def read() -> None:
            found.extend([event.data async for event in hub.subscribe("a", since="start")])

        reading = asyncio.ensure_future(read())
        for number in range(1_000, 1_100):
            await hub.publish("a", str(number))
        await hub.end("a")
        await wait_until_async(reading.done)
        assert found[:-1] == [str(number) for number in range(1_100)]
