from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from support.fakes import listen, quiet, virtual
from support.waiting import PATIENCE
from tidewire import Hub
from tidewire.errors import (
    Draining,
    InvalidInput,
    KeyConflict,
    Reserved,
    StartRefused,
    TooLarge,
    TopicEnded,
)
from tidewire.event_stream import Event


@virtual
async def test_publishing_returns_the_position() -> None:
    hub = Hub(max_event=100)
    async with hub.lifespan():
        wire = await listen(await hub.open(), "a")
        first = await hub.publish("a", {"paid": True}, event="status", retry=700, key="k")
        again = await hub.publish("a", {"paid": True}, event="status", retry=700, key="k")
        many = await hub.publish_many([{"topic": "a", "data": "x"}, {"topic": "b", "data": b"y"}])
        last = await hub.end("a", "sold")
        assert (again.position, again.duplicate) == (first.position, True)
        assert [r.position.offset for r in (first, *many, last)] == [1, 2, 3, 4]
        assert await hub.head() == last.position
        assert await hub.publish_many([]) == []
        await quiet()
        assert wire.everything[1:] == [
            Event('{"paid":true}', "status", str(first.position)),
            Event("x", "message", str(many[0].position)),
            Event('{"topic":"a","reason":"sold"}', "hub.end", str(last.position)),
        ]
        assert hub.durability == "memory"


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda hub: hub.publish("a", "x", event="a\rb"), InvalidInput),  # attack A17
        (lambda hub: hub.publish("a", "x" * 101), TooLarge),
        (lambda hub: hub.publish("$sys", "x"), Reserved),
        (lambda hub: hub.publish("a/*", "x"), InvalidInput),
        (lambda hub: hub.publish("ended", "x"), TopicEnded),
        (lambda hub: hub.publish("a", "y", key="k"), KeyConflict),
        (lambda hub: hub.publish_many([{"topic": "b"}, {"topic": "ended"}]), TopicEnded),
        (lambda hub: hub.publish_many([{"topic": "b"}, {"data": "x"}]), InvalidInput),
        (lambda hub: hub.end("$sys"), Reserved),
    ],
)
@virtual
async def test_a_refused_publish_stores_nothing(call: Any, kind: type[Exception]) -> None:
    hub = Hub(max_event=100)
    async with hub.lifespan():
        await hub.end("ended")
        await hub.publish("a", "x", key="k")
        with pytest.raises(kind):
            await call(hub)
        assert (await hub.head()).offset == 2


async def test_publishing_from_a_thread_keeps_the_order() -> None:
    hub = Hub()
    with pytest.raises(StartRefused):
        hub.publish_soon("a", "too early")
    async with hub.lifespan():
        found: list[int] = []

        def work() -> None:
            futures = [hub.publish_soon("a", str(number)) for number in range(100)]
            found.extend(future.result(PATIENCE).position.offset for future in futures)

        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():  # noqa: ASYNC110 - a thread has no event to wait for
            await asyncio.sleep(0.01)
        assert found == list(range(1, 101))


@virtual
async def test_a_hub_opens_once_at_first_use() -> None:
    hub = Hub()
    assert hub.subscribers("a") == 0
    with pytest.raises(StartRefused):
        _ = hub.node
    nodes = await asyncio.gather(*(hub.open() for _ in range(5)))
    assert len(set(map(id, nodes))) == 1
    await hub.publish("a", "x")
    wire = await listen(hub.node, "a")
    assert hub.subscribers("a") == 1
    wire.leave()
    await hub.close()
    await hub.close()


@virtual
async def test_a_hub_opened_again_has_another_log() -> None:
    hub = Hub()
    first = await hub.publish("a", "x")
    await hub.close()
    second = await hub.publish("a", "x")
    assert first.position.offset == second.position.offset == 1
    assert first.position.life != second.position.life
    await hub.close()


@virtual
async def test_a_publish_while_the_hub_closes_is_refused() -> None:
    # It must not be opened again on an engine that is about to be closed.
    hub = Hub()
    node = await hub.open()
    calls: list[str] = []

    @hub.on_last("a")
    async def last(topic: str) -> None:
        with pytest.raises(Draining):
            await hub.publish("a", "last words")
        calls.append(topic)

    await listen(node, "a")
    await asyncio.gather(hub.close(), hub.close())
    assert calls == ["a"]
    with pytest.raises(StartRefused):
        _ = hub.node


@virtual
async def test_decorators_for_first_and_last_subscribers() -> None:
    hub = Hub()
    calls: list[str] = []

    @hub.on_first("demo/*")
    async def started(topic: str) -> None:
        calls.append(f"+{topic}")

    @hub.on_last("demo/*")
    def stopped(topic: str) -> None:
        calls.append(f"-{topic}")

    async with hub.lifespan():
        wire = await listen(hub.node, "demo/1")
        await quiet()
        wire.leave()
        await quiet()
    assert calls == ["+demo/1", "-demo/1"]
    with pytest.raises(InvalidInput):
        hub.on_first("a*")(stopped)


@pytest.mark.parametrize("settings", [{"heartbeat": 0}, {"max_batch": 1.5}, {"drain": -1}])
def test_invalid_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Hub(**settings)


def test_an_unknown_engine() -> None:
    with pytest.raises(InvalidInput):
        Hub("nothing://here")


def test_an_unknown_setting() -> None:
    with pytest.raises(InvalidInput) as caught:
        Hub(heartbeats=3)
    assert caught.value.code == "invalid_setting"


@virtual
async def test_the_library_limits_batches_too() -> None:
    hub = Hub(max_batch=2)
    async with hub.lifespan():
        await hub.publish_many([{"topic": "a"}] * 2)
        with pytest.raises(InvalidInput) as caught:
            await hub.publish_many([{"topic": "a"}] * 3)
        assert caught.value.code == "batch_too_large"
