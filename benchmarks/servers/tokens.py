"""
A program that makes runs of tokens, 100 a second.

    python -m benchmarks.servers.tokens LOG COUNT TURNS     print the CPU seconds per token, turn by turn: of
                                                            the event loop's thread and of all threads, with
                                                            a producer alone and with a run of it
    uvicorn benchmarks.servers.tokens:app                   POST /COUNT starts a run and shows it; each token
                                                            is the moment when it was yielded
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import uvloop

from tidewire import Hub

EVERY = 0.01


async def tokens(count: int, yielded: asyncio.Event | None = None) -> AsyncIterator[str]:
    due = time.perf_counter()
    for _ in range(count):
        yield f"{time.perf_counter():.9f}"
        due += EVERY
        await asyncio.sleep(due - time.perf_counter())
    if yielded is not None:
        yielded.set()


async def alone(count: int) -> None:
    async for _ in tokens(count):
        pass


async def made(hub: Hub, key: str, count: int) -> None:
    yielded = asyncio.Event()
    run = await hub.run("tokens", lambda: tokens(count, yielded), key=key)
    # Asking again and again whether the run is over is not part of what a token costs.
    await yielded.wait()
    while run.open:
        await asyncio.sleep(10 * EVERY)
        run = next(each for each in await hub.runs() if each.key == key)


async def used(work: Awaitable[None], count: int) -> tuple[float, float]:
    """Return the CPU seconds per token of this thread and of all threads."""
    thread, process = time.thread_time(), time.process_time()
    await work
    return (time.thread_time() - thread) / count, (time.process_time() - process) / count


async def cost(log: str, count: int, turns: int) -> list[Any]:
    hub = Hub(log)
    # The hub is open in both cases: what it costs without a run is not what is asked.
    async with hub.lifespan():
        await made(hub, "warm", 20)
        return [
            (await used(alone(count), count), await used(made(hub, str(turn), count), count))
            for turn in range(turns)
        ]


hub = Hub(os.environ.get("TOKENS_LOG", "memory"))


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http" or scope["method"] != "POST":
        await hub.app(scope, receive, send)
        return
    count = int(scope["path"].removeprefix("/"))
    run = await hub.run("tokens", lambda: tokens(count), key=f"{time.time()}")
    await hub.stream_run(scope, run)(scope, receive, send)


def main(log: str, count: str, turns: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(cost(log, int(count), int(turns)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
