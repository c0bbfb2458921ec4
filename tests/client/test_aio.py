"""What only the async client has: cancellation. It leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from support.clients import QUICK, others
from support.scripted import HOLD, Action, Request, Scripted, answer, stream
from support.waiting import wait_until_async
from tidewire.client import Event, Opened, Stream, Wait, connect
from tidewire.client.core.reconnect import Change


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    """No task on the loop, no descriptor in the process."""
    before = descriptors()
    yield
    assert await others() == []
    await wait_until_async(lambda: descriptors() <= before)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def follow(server: Scripted, **options: object) -> Stream:
    return connect(server.url, **{"reconnect": QUICK, **options})  # type: ignore[arg-type]


class UntilLeft:
    """A script that holds the stream open until the client leaves; then `left` is True."""

    def __init__(self, *actions: Action) -> None:
        self.left = False
        self._actions = actions

    def __call__(self, _: Request) -> Iterator[Action]:
        yield from stream(*self._actions, HOLD)
        self.left = True


async def test_F7_a_cancelled_reader_closes_the_connection_and_drops_half_an_event() -> None:
    changes: list[Change] = []
    script = UntilLeft(b"id: 1\ndata: a\n\nid: 2\ndata: half\n")
    with Scripted(script, stream(b"\ndata: b\n\n", HOLD)) as server:
        async with follow(server, on_change=changes.append) as events:
            assert (await anext(events)).data == "a"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.2)
            await wait_until_async(lambda: script.left)
            assert (await anext(events)).data == "b"
        assert [type(change) for change in changes] == [Opened, Opened]  # at once, and no error
        assert server.requests[1].get("Last-Event-ID") == b"1"


async def test_F7_cancelling_the_task_ends_everything_and_is_not_swallowed() -> None:
    script = UntilLeft()

    async def read(server: Scripted) -> None:
        async with follow(server) as events:
            async for _ in events:
                pass

    with Scripted(script) as server:
        task = asyncio.create_task(read(server))
        await wait_until_async(lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until_async(lambda: script.left)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("script", "told"), [([HOLD], []), (answer("503 Full", "Retry-After: 60"), [Wait])], ids=["head", "wait"]
)
async def test_F7_cancelling_before_the_stream_is_open(
    script: list[Action], told: list[type[Change]]
) -> None:
    changes: list[Change] = []
    with Scripted(script) as server:
        events = follow(server, on_change=changes.append)
        reader = asyncio.create_task(anext(events, None))  # type: ignore[arg-type]
        await wait_until_async(lambda: server.requests and [type(change) for change in changes] == told)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await events.close()
        assert [event async for event in events] == []
        assert len(server.requests) == 1


async def test_F7_breaking_out_of_the_loop_closes_the_connection() -> None:
    script = UntilLeft(b"data: a\n\ndata: b\n\n")
    with Scripted(script) as server:
        async with follow(server) as events:
            async for event in events:
                assert event.data == "a"
                break
        await wait_until_async(lambda: script.left)


async def test_F7_an_error_in_the_block_is_raised() -> None:
    script = UntilLeft(b"data: a\n\n")
    with Scripted(script) as server:
        with pytest.raises(LookupError):
            async with follow(server) as events:
                async for _ in events:
                    raise LookupError
        await wait_until_async(lambda: script.left)


async def test_close_from_another_task_returns_after_everything_is_released() -> None:
    script = UntilLeft()
    with Scripted(script) as server:
        events = follow(server)
        before = descriptors()
        reader = asyncio.create_task(anext(events, None))  # type: ignore[arg-type]
        await wait_until_async(lambda: server.requests)
        await events.close()
        assert descriptors() <= before + 1  # the server's side may still be open
        assert await reader is None


async def test_one_task_reads_at_a_time() -> None:
    with Scripted(stream(HOLD)) as server:
        async with follow(server) as events:
            reader = asyncio.create_task(anext(events, None))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(events)
            await events.close()
            assert await reader is None


async def test_callbacks_may_be_coroutine_functions() -> None:
    changes: list[Change] = []

    async def record(change: Change) -> None:
        await asyncio.sleep(0)
        changes.append(change)

    with Scripted(answer("503 Full"), stream(b"data: a\n\n", HOLD)) as server:
        async with follow(server, on_change=record) as events:
            assert (await anext(events)).data == "a"
    assert [type(change) for change in changes] == [Wait, Opened]


async def test_many_streams_on_one_loop() -> None:
    async def first(server: Scripted) -> Event:
        async with follow(server) as events:
            return await anext(events)

    scripts = [stream(b"data: %d\n\n" % n, HOLD) for n in range(20)]
    with Scripted(*scripts) as server:
        got = await asyncio.gather(*[first(server) for _ in scripts])
    assert sorted(int(event.data) for event in got) == list(range(20))
