"""
A process with a hub on a log, by its file or its URL: tests start several of them on one log.

It reads one JSON command per line, and prints one JSON answer for each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from tidewire import Grant, Hub
from tidewire.errors import TidewireError
from tidewire.log.entries import Since
from tidewire.position import Position, parse_position
from tidewire.testing.wire import RecordingWire, listen
from tidewire.topics import Selector


def claim_of(since: str) -> Since | Position:
    return Since(since) if since in ("now", "start") else parse_position(since)


class Worker:
    def __init__(self, path: str, settings: dict[str, Any]) -> None:
        self.hub = Hub(path if ":" in path else f"sqlite:///{path}", **settings)
        self.wires: dict[str, RecordingWire] = {}
        self.calls: list[str] = []
        self.requests: list[asyncio.Task[None]] = []
        self.draining: asyncio.Task[None] | None = None

    async def do(self, what: str, *values: Any) -> Any:
        return await getattr(self, what)(*values)

    async def publish(self, topic: str, data: list[str], key: str | None = None) -> Any:
        if key is not None:
            receipt = await self.hub.publish(topic, data[0], key=key)
            return [str(receipt.position), receipt.duplicate]
        return [str((await self.hub.publish(topic, text)).position) for text in data]

    async def batch(self, topic: str, data: list[str]) -> Any:
        receipts = await self.hub.publish_many([{"topic": topic, "data": text} for text in data])
        return [str(receipt.position) for receipt in receipts]

    async def end(self, topic: str) -> Any:
        return str((await self.hub.end(topic)).position)

    async def cancel(self, topic: str) -> Any:
        run = await self.hub.cancel(topic)
        return run and run.state

    async def subscribe(self, name: str, topics: list[str], since: str, **whose: Any) -> Any:
        grant = Grant(**whose) if whose else None
        self.wires[name] = await listen(await self.hub.open(), *topics, since=claim_of(since), grant=grant)

    async def subscribe_as(self, name: str, whose: dict[str, Any]) -> Any:
        await self.subscribe(name, ["a"], "now", **whose)

    async def kick(self, sub: str, reason: str) -> Any:
        await self.hub.kick(sub, reason=reason)

    async def revoke(self, fields: dict[str, Any]) -> Any:
        await self.hub.revoke(**fields)

    async def auth(self, name: str) -> Any:
        """Return the reasons of the `hub.auth` events of a stream, and whether it has ended."""
        wire = self.wires[name]
        return [[event.json()["reason"] for event in wire.of_type("hub.auth")], wire.ended]

    async def seen(self, name: str) -> Any:
        wire = self.wires[name]
        return {
            "data": wire.data,
            "gaps": wire.gaps,
            "ids": [event.id for event in wire.events],
            "last": str(wire.last_id),
        }

    async def leave(self, *names: str) -> Any:
        """End streams, all in one step of the event loop."""
        for name in names:
            self.wires[name].leave()

    async def ended(self) -> Any:
        return sum(wire.ended for wire in self.wires.values())

    async def retries(self) -> Any:
        for wire in self.wires.values():
            wire.read()
        return [wire.decoder.retry for wire in self.wires.values() if wire.ended]

    async def subscribers(self, topic: str) -> Any:
        return self.hub.subscribers(topic)

    async def hook(self, term: str) -> Any:
        """Take down the calls of `on_first` and `on_last` as +topic and -topic."""
        self.hub.on_first(term)(lambda topic: self.calls.append(f"+{topic}"))
        self.hub.on_last(term)(lambda topic: self.calls.append(f"-{topic}"))

    async def called(self) -> Any:
        return self.calls

    async def accept(self) -> Any:
        """Open the hub as a server does that runs its lifespan."""
        self.lifespan = self.hub.lifespan()  # kept: it closes the hub when it is collected
        await self.lifespan.__aenter__()

    async def peers(self) -> Any:
        return self.hub.node.engine.has_peers

    async def drain(self) -> Any:
        self.draining = asyncio.ensure_future(self.hub.drain())

    async def drained(self) -> Any:
        assert self.draining
        await self.draining

    async def request(self, address: str, sub: str = "") -> Any:
        """Subscribe by HTTP with that address and subject. Return the status; a stream stays open."""
        status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.set_result(message["status"])

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": "/events",
            "raw_path": b"/events",
            "root_path": "",
            "scheme": "http",
            "query_string": b"topic=t",
            "headers": [(b"host", b"localhost"), (b"tidewire-client", b"test")],
            "client": (address, 50_000),
            "server": ("127.0.0.1", 80),
        }
        app = self.hub.stream(scope, "t", grant=Grant(sub=sub)) if sub else self.hub.app
        self.requests.append(asyncio.ensure_future(app(scope, receive, send)))
        return await status

    async def history(self, topics: list[str], since: str) -> Any:
        return await (await self.hub.open()).history(Selector(topics), claim_of(since), 10_000)

    async def block(self, seconds: float) -> Any:
        """Keep the event loop busy."""
        time.sleep(seconds)  # noqa: ASYNC251 - that is the purpose

    async def close(self) -> Any:
        await self.hub.close()


async def main() -> None:
    worker = Worker(sys.argv[1], json.loads(sys.argv[2]))
    loop = asyncio.get_running_loop()
    await worker.hub.open()
    print(json.dumps({"answer": "open"}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = {"answer": await worker.do(*json.loads(line))}
        except TidewireError as error:
            answer = {"error": error.code}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
