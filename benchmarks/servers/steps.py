"""
The steps from the naive server to ours, one at a time, for docs/explanation/fan-out.md.

Three plain ASGI programs that differ only in what a subscriber is. What they leave out (slow readers,
resume, heartbeats) would only add to their cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import count
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

offsets = count(1)


def encode(offset: int, data: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"id: {offset}\n{lines}\n".encode()


async def start(send: Send, status: int = 200) -> None:
    headers = [(b"content-type", b"text/event-stream")] if status == 200 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": status == 200})


async def write(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


class Queues:
    """Step one: a queue and a task per subscriber; each task encodes for itself."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[Any]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            self.publish(next(offsets), (await receive())["body"].decode())
            await start(send, 204)
        else:
            await start(send)
            await self.subscribe(send)

    def publish(self, offset: int, data: str) -> None:
        for queue in self.queues:
            queue.put_nowait((offset, data))

    async def subscribe(self, send: Send) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self.queues.add(queue)
        try:
            while True:
                await write(send, encode(*await queue.get()))
        finally:
            self.queues.discard(queue)


class EncodedOnce(Queues):
    """Step two: still a queue and a task, but the bytes are encoded once."""

    def publish(self, offset: int, data: str) -> None:
        chunk = encode(offset, data)
        for queue in self.queues:
            queue.put_nowait(chunk)

    async def subscribe(self, send: Send) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.queues.add(queue)
        try:
            while True:
                await write(send, await queue.get())
        finally:
            self.queues.discard(queue)


class OneLog(Queues):
    """Step three: one log; a subscriber is a task and a position, and writes everything new at once."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[bytes] = []
        self.news = asyncio.Event()

    def publish(self, offset: int, data: str) -> None:
        self.log.append(encode(offset, data))
        self.news.set()
        self.news = asyncio.Event()

    async def subscribe(self, send: Send) -> None:
        position = len(self.log)
        while True:
            if position == len(self.log):
                await self.news.wait()
            missed = self.log[position:]
            position += len(missed)
            await write(send, b"".join(missed))


queues = Queues()
encoded_once = EncodedOnce()
one_log = OneLog()
