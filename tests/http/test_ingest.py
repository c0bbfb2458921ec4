"""http.ingest: lines in, receipts out; what test_app.py cannot show from outside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.slow_engine import SlowEngine, slow_engines
from support.waiting import PATIENCE, wait_until_async
from tidewire import Hub
from tidewire.auth.access import Open, Permit
from tidewire.errors import StoreFull
from tidewire.http.ingest import Each, Ingestion, Merged
from tidewire.http.requests import IngestRequest
from tidewire.log.entries import Receipt
from tidewire.position import Position

EVERYBODY = Permit(Open.GRANT, Open())


class Client:
    """The client of one ingest: sends lines with `give`, and reads receipts while `reading` is set."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        self.received = b""
        self.ended = False

    def give(self, *events: Any, more: bool = True) -> None:
        body = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    async def receive(self) -> dict[str, Any]:
        return await self.messages.get()

    async def send(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        self.received += message.get("body", b"")
        self.ended = message["type"] == "http.response.body" and not message["more_body"]

    @property
    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.received.splitlines()]


def receipt(offset: int, duplicate: bool = False) -> Receipt:
    return Receipt(Position("abcdef", offset), duplicate)


async def ingest(hub: Hub, client: Client, each: bool = False) -> asyncio.Task[None]:
    wanted = IngestRequest(None, each)
    ingestion = Ingestion(
        await hub.open(), EVERYBODY, wanted, [], lambda events: None, client.receive, client.send
    )
    return asyncio.ensure_future(ingestion.run())


def test_ranges_that_wait_merge() -> None:
    merged = Merged("disk")
    merged.add([1, 2], [receipt(10), receipt(11)])
    merged.add([3, 4], [receipt(15), receipt(11, duplicate=True)])
    assert json.loads(merged.take()) == {
        "lines": [1, 4],
        "first": "abcdef.10",
        "last": "abcdef.11",
        "duplicates": 1,
        "durability": "disk",
    }
    assert merged.take() == b""


def test_single_receipts_are_counted() -> None:
    each = Each()
    each.add([1, 2], [receipt(10), receipt(11)])
    assert each.size > 0
    assert [json.loads(line)["line"] for line in each.take().splitlines()] == [1, 2]
    assert each.size == 0


async def test_lines_are_read_even_if_the_client_reads_no_receipts() -> None:
    hub, client = Hub(), Client()
    task = await ingest(hub, client)
    await asyncio.sleep(0)
    client.reading.clear()
    for number in range(500):
        client.give({"topic": "a", "data": str(number)})
    client.give(more=False)
    node = await hub.open()
    await wait_until_async(lambda: node.window.head == 500)
    client.reading.set()
    await asyncio.wait_for(task, PATIENCE)
    assert client.receipts[0]["lines"][0] == 1
    assert client.receipts[-1]["lines"][1] == 500
    assert len(client.receipts) < 500
    await hub.close()


async def test_unread_receipts_for_each_line_pause_reading() -> None:
    hub, client = Hub(), Client()
    task = await ingest(hub, client, each=True)
    await asyncio.sleep(0)
    client.reading.clear()
    for number in range(50):
        client.give(*({"topic": "a", "data": str(number)} for _ in range(100)))
    client.give(more=False)
    node = await hub.open()
    await wait_until_async(lambda: node.window.head >= 1000)
    await asyncio.sleep(0.2)
    stopped_at = node.window.head
    assert stopped_at < 5000
    client.reading.set()
    await asyncio.wait_for(task, PATIENCE)
    assert node.window.head == 5000
    assert [line["line"] for line in client.receipts] == list(range(1, 5001))
    await hub.close()


async def test_a_drain_ends_an_ingest_after_the_lines_already_read() -> None:
    hub, client = Hub(), Client()
    task = await ingest(hub, client)
    client.give({"topic": "a"}, {"topic": "a"})
    node = await hub.open()
    await wait_until_async(lambda: node.window.head == 2)
    await hub.drain()
    await asyncio.wait_for(task, PATIENCE)
    assert client.receipts[0]["lines"] == [1, 2]
    assert client.receipts[-1] == {**client.receipts[-1], "line": 3, "code": "draining", "stored": False}
    assert client.ended


async def test_silence_ends_an_ingest() -> None:
    hub, client = Hub(line_timeout=1), Client()
    task = await ingest(hub, client)
    client.give({"topic": "a"})
    await asyncio.wait_for(task, PATIENCE)
    assert client.receipts[-1]["code"] == "request_timeout"
    await hub.close()


async def test_a_disconnect_ends_an_ingest_quietly() -> None:
    hub, client = Hub(), Client()
    task = await ingest(hub, client)
    client.give({"topic": "a"})
    client.messages.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(task, PATIENCE)
    assert (await hub.head()).offset == 1
    await hub.close()


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"  \n"])
async def test_blank_lines_are_not_events(blank: bytes) -> None:
    hub, client = Hub(), Client()
    task = await ingest(hub, client)
    client.give({"topic": "a"})
    client.messages.put_nowait({"type": "http.request", "body": blank, "more_body": True})
    client.give({"topic": "a"}, more=False)
    await asyncio.wait_for(task, PATIENCE)
    assert (await hub.head()).offset == 2
    assert client.receipts[-1]["lines"][1] == 3
    await hub.close()


# -- one batch ahead


@pytest.fixture
def engines() -> Iterator[list[SlowEngine]]:
    with slow_engines() as opened:
        yield opened


async def slow_ingest(engines: list[SlowEngine]) -> tuple[Hub, SlowEngine, Client, asyncio.Task[None]]:
    """Return an ingest whose first commit is in progress."""
    hub, client = Hub("slow", max_batch=2), Client()
    task = await ingest(hub, client)
    (engine,) = engines
    engine.slow = True
    client.give({"topic": "a", "data": "1"}, {"topic": "a", "data": "2"})
    await wait_until_async(lambda: len(engine.waiting) == 1)
    return hub, engine, client, task


async def test_one_batch_is_read_ahead_and_no_more(engines: list[SlowEngine]) -> None:
    hub, engine, client, task = await slow_ingest(engines)
    for number in range(10):
        client.give({"topic": "a", "data": str(number)})
    await wait_until_async(lambda: client.messages.qsize() < 9)
    await asyncio.sleep(0.1)
    assert 6 <= client.messages.qsize() < 9
    assert len(engine.waiting) == 1, "one commit at a time, to keep their order"
    engine.go_on()
    client.give(more=False)
    await asyncio.wait_for(task, PATIENCE)
    assert (await hub.head()).offset == 12
    assert client.receipts[-1]["lines"][1] == 12
    await hub.close()


async def test_nothing_is_stored_after_a_commit_that_failed(engines: list[SlowEngine]) -> None:
    hub, engine, client, task = await slow_ingest(engines)
    client.give({"topic": "a", "data": "3"}, more=False)
    await wait_until_async(lambda: client.messages.empty())
    engine.fault = StoreFull("the disk is full")
    engine.go_on()
    await asyncio.wait_for(task, PATIENCE)
    assert client.receipts == [
        {"line": 1, "code": "store_full", "stored": False, "detail": "the disk is full"}
    ]
    assert (await hub.head()).offset == 0
    await hub.close()


async def test_a_bad_line_is_reported_after_the_receipts_before_it(
    engines: list[SlowEngine],
) -> None:
    hub, engine, client, task = await slow_ingest(engines)
    client.give({"topic": "a", "data": "3"}, {"topic": "a*"})
    await wait_until_async(lambda: client.messages.empty())
    engine.go_on()
    await asyncio.wait_for(task, PATIENCE)
    assert [line.get("lines", line.get("line")) for line in client.receipts][-1] == 4
    assert client.receipts[-1]["code"] == "invalid_topic"
    assert (await hub.head()).offset == 3
    await hub.close()


async def test_a_drain_stores_the_lines_read_ahead(engines: list[SlowEngine]) -> None:
    hub, engine, client, task = await slow_ingest(engines)
    client.give({"topic": "a", "data": "3"})
    await wait_until_async(lambda: client.messages.empty())
    draining = asyncio.ensure_future(hub.drain())
    await asyncio.sleep(0)
    engine.go_on()
    await asyncio.wait_for(draining, PATIENCE)
    await asyncio.wait_for(task, PATIENCE)
    assert client.receipts[0]["lines"][0] == 1
    assert client.receipts[-1] == {**client.receipts[-1], "line": 4, "code": "draining", "stored": False}
    assert (await hub.head()).offset == 3
