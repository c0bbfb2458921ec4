"""The budget of one step of the event loop (delivery/step_budget.py)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tidewire import Hub
from tidewire.delivery.step_budget import BUDGET, QUERY_BYTES, budget_of_loop


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    async with hub.lifespan():
        yield hub


class Steps:
    """Counts the steps of the event loop, and what is done in each."""

    def __init__(self) -> None:
        self.done: Counter[int] = Counter()
        self.counted = asyncio.Event()
        self._number = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._number += 1
        self._handle = self._loop.call_soon(self._next)

    def count(self) -> None:
        self.done[self._number] += 1
        self.counted.set()

    def stop(self) -> None:
        self._handle.cancel()


def scope(method: str, query: bytes, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": "/events",
        "raw_path": b"/events",
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def request(hub: Hub, scope: dict[str, Any], body: bytes, steps: Steps) -> int:
    """Send one request to the hub's ASGI app; count the step in which its response begins."""
    status = 0
    received = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if received.is_set():
            await asyncio.Event().wait()
        received.set()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            steps.count()

    await hub.app(scope, receive, send)
    return status


async def test_streams_with_many_patterns_are_opened_over_several_steps(hub: Hub) -> None:
    query = b"&".join(b"topic=some/*/name/%d" % number for number in range(100))
    steps = Steps()
    streams = [asyncio.ensure_future(request(hub, scope("GET", query), b"", steps)) for _ in range(100)]
    while steps.done.total() < 100:
        steps.counted.clear()
        await steps.counted.wait()
    steps.stop()
    for stream in streams:
        stream.cancel()
    assert hub.node.metrics.registry.get_sample_value("tidewire_opened_streams_total") == 100
    assert max(steps.done.values()) <= BUDGET // (len(query) // QUERY_BYTES) + 1


async def test_large_batches_are_spread_over_steps(hub: Hub) -> None:
    body = json.dumps([{"topic": "a", "data": "x" * 80}] * 500).encode()
    publish = scope("POST", b"", (b"content-type", b"application/json"))
    steps = Steps()
    statuses = await asyncio.gather(*(request(hub, publish, body, steps) for _ in range(20)))
    steps.stop()
    assert statuses == [200] * 20
    assert max(steps.done.values()) == 1
    assert hub.node.window.head == 10_000


async def test_large_ingests_are_spread_over_steps(hub: Hub) -> None:
    body = json.dumps({"topic": "a", "data": "x" * 80}).encode() + b"\n"
    publish = scope("POST", b"", (b"content-type", b"application/x-ndjson"))
    heads: Counter[int] = Counter()
    steps = Steps()
    ingests = [asyncio.ensure_future(request(hub, publish, body * 600, steps)) for _ in range(10)]
    number = 0
    while not all(ingest.done() for ingest in ingests):
        before = hub.node.window.head
        await asyncio.sleep(0)
        heads[number] = hub.node.window.head - before
        number += 1
    steps.stop()
    assert sum(heads.values()) == 6_000
    assert max(heads.values()) <= 1_200


async def test_requests_that_fit_into_a_step_do_not_wait() -> None:
    budget = budget_of_loop()
    for _ in range(BUDGET):
        taking = budget.take(1)
        with pytest.raises(StopIteration):
            taking.send(None)


async def test_requests_go_on_in_the_order_in_which_they_came() -> None:
    budget, order = budget_of_loop(), []

    async def take(number: int) -> None:
        await budget.take(BUDGET if number % 3 == 0 else 1)
        order.append(number)

    await asyncio.gather(*(take(number) for number in range(20)))
    assert order == list(range(20))


async def test_a_request_that_is_cancelled_while_it_waits_costs_the_others_nothing() -> None:
    budget = budget_of_loop()
    await budget.take(BUDGET)
    waiting = [asyncio.ensure_future(budget.take(BUDGET)) for _ in range(10)]
    last = asyncio.ensure_future(budget.take(1))
    await asyncio.sleep(0)
    for one in waiting:
        one.cancel()
    await last
    await budget.take(1)
