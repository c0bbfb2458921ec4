"""
A hub whose program makes runs, started with the arguments of `tidewire serve` that `Served` passes.

    POST /chat/TOPIC?key=KEY&count=60&pause=0.03    starts the run of that key, or shows it
    GET /chat/TOPIC                                 shows the open run
    DELETE /chat/TOPIC                              cancels it
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

from tidewire import Hub
from tidewire.errors import TidewireError
from tidewire.server.run import serve

FILLER = "x" * 40


def items(key: str, count: int) -> list[str]:
    """Return what the producer of a run yields unless it is interrupted."""
    return [f"{key} {number} {FILLER}" for number in range(count)]


async def answer(key: str, count: int, pause: float) -> AsyncIterator[str]:
    print(f"producer started: {key}", flush=True)
    for item in items(key, count):
        yield item
        await asyncio.sleep(pause)


class Program:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/chat/"):
            await self._hub.app(scope, receive, send)
            return
        try:
            response = await self._respond(scope, scope["path"].removeprefix("/"))
        except TidewireError as error:
            await reply(send, error.status, error.problem())
        else:
            await response(scope, receive, send)

    async def _respond(self, scope: Any, topic: str) -> Any:
        if scope["method"] == "GET":
            return await self._hub.attach(scope, topic)
        if scope["method"] == "DELETE":
            run = await self._hub.cancel(topic)
            return lambda scope, receive, send: reply(send, 200, {"state": run and run.state})
        asked = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        key, count, pause = asked["key"], int(asked["count"]), float(asked["pause"])
        run = await self._hub.run(topic, lambda: answer(key, count, pause), key=key)
        return self._hub.stream_run(scope, run)


async def reply(send: Any, status: int, body: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--engine")
    asked = parser.parse_args()
    hub = Hub(asked.engine, drain=1)
    serve(Program(hub), host=asked.host, port=asked.port, settings=hub.settings)


if __name__ == "__main__":
    main()
