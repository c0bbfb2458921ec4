"""http.asgi_wire: a subscriber over plain ASGI `send`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from support.fakes import until, virtual
from support.waiting import PATIENCE, wait_until_async
from tidewire.http.asgi_wire import AsgiWire
from tidewire.http.offer import CUT, ResponseCut


class Subscriber:
    """Replaces a hub's subscriber. It records what happens to it."""

    def __init__(self, plain: bool = False) -> None:
        self.plain = plain
        self.wire: AsgiWire | None = None
        self.paused = False
        self.calls: list[str] = []

    def attach(self, wire: AsgiWire, framing: str) -> None:
        self.wire = wire
        self.calls.append(framing)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def lost(self) -> None:
        self.calls.append("lost")


class Server:
    """An ASGI server's side: `send` blocks while `room` is clear, and `left` disconnects the client."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended = self.asked_to_cut = False
        self.full = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == CUT:
            self.asked_to_cut = True
            raise RuntimeError("an ASGI server does not know it")
        await self.room.wait()
        self.sent.append(message["body"])
        self.ended = not message["more_body"]

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}


def start(plain: bool = False) -> tuple[Subscriber, Server, asyncio.Task[None]]:
    subscriber, server = Subscriber(plain), Server()
    wire = AsgiWire(subscriber, server.send)  # type: ignore[arg-type]
    return subscriber, server, asyncio.ensure_future(wire.run(server.receive))


async def test_written_bytes_are_sent_and_the_end_ends_the_body() -> None:
    subscriber, server, task = start()
    await wait_until_async(lambda: subscriber.wire)
    wire = subscriber.wire
    assert wire is not None
    wire.write(b"a")
    await wait_until_async(lambda: server.sent == [b"a"])
    assert not subscriber.paused
    wire.write(b"b")
    wire.end()
    await task
    assert (server.sent, server.ended) == ([b"a", b"b", b""], True)
    assert subscriber.calls == ["asgi", "lost"]


async def test_at_most_one_join_waits_behind_the_one_being_sent() -> None:
    subscriber, server, task = start()
    await wait_until_async(lambda: subscriber.wire)
    wire = subscriber.wire
    assert wire is not None
    server.room.clear()
    wire.write(b"a")
    await asyncio.sleep(0)  # the task takes it and blocks in `send`
    await asyncio.sleep(0)
    assert not subscriber.paused
    wire.write(b"b")
    assert subscriber.paused
    server.room.set()
    await wait_until_async(lambda: not subscriber.paused)
    await wait_until_async(lambda: server.sent == [b"a", b"b"])
    server.left.set()
    await task


async def test_a_disconnect_frees_the_stream() -> None:
    subscriber, server, task = start()
    await wait_until_async(lambda: subscriber.wire)
    server.left.set()
    await asyncio.wait_for(task, PATIENCE)
    assert "lost" in subscriber.calls
    assert not server.ended


async def test_abort_ends_a_send_that_blocks() -> None:
    subscriber, server, task = start()
    await wait_until_async(lambda: subscriber.wire)
    wire = subscriber.wire
    assert wire is not None
    server.room.clear()
    wire.write(b"a")
    await asyncio.sleep(0)
    wire.abort()
    await asyncio.wait_for(task, PATIENCE)
    assert server.sent == []
    assert subscriber.calls[-1] == "lost"


@virtual
async def test_a_cut_is_raised_once_the_server_had_time_to_write_what_came_before_it() -> None:
    subscriber, server, task = start(plain=True)
    await until(lambda: subscriber.wire)
    assert subscriber.wire
    subscriber.wire.write(b"a")
    subscriber.wire.cut()
    await until(lambda: server.asked_to_cut)
    await asyncio.sleep(0.05)  # a server that writes in a thread of its own, such as Granian
    assert not task.done()
    with pytest.raises(ResponseCut):
        await task
    assert (server.sent, server.ended, server.asked_to_cut) == ([b"a"], False, True)
    assert subscriber.calls[-1] == "lost"


@pytest.mark.parametrize("plain", [True, False])
async def test_a_send_that_blocks_at_the_end_is_cut_only_if_that_shows(plain: bool) -> None:
    subscriber, server, task = start(plain)
    await wait_until_async(lambda: subscriber.wire)
    assert subscriber.wire
    server.room.clear()
    subscriber.wire.write(b"a")
    subscriber.wire.end()
    with pytest.raises(ResponseCut) if plain else contextlib.nullcontext():
        await asyncio.wait_for(task, PATIENCE)
    assert (server.sent, server.ended, server.asked_to_cut) == ([], False, plain)


async def test_a_send_that_raises_for_a_closed_connection() -> None:
    subscriber, _, task = start()
    await wait_until_async(lambda: subscriber.wire)

    async def broken(message: Any) -> None:
        raise OSError("gone")

    wire = subscriber.wire
    assert wire is not None
    wire._send = broken
    wire.write(b"a")
    await asyncio.wait_for(task, PATIENCE)
    assert subscriber.calls[-1] == "lost"


async def test_cancelling_the_request_frees_the_stream() -> None:
    subscriber, _, task = start()
    await wait_until_async(lambda: subscriber.wire)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert subscriber.calls[-1] == "lost"
