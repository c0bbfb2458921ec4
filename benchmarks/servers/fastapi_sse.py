"""FastAPI's own server-sent events (`fastapi.sse`): one queue and one generator per subscriber."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from itertools import count

from fastapi import FastAPI, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

app = FastAPI()
queues: set[asyncio.Queue[ServerSentEvent]] = set()
offsets = count(1)


@app.get("/events/bench", response_class=EventSourceResponse)
async def subscribe() -> AsyncIterable[ServerSentEvent]:
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue()
    queues.add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        queues.discard(queue)


@app.post("/events/bench", status_code=204)
async def publish(request: Request) -> None:
    # Created and validated once for all subscribers, which is the fastest way.
    event = ServerSentEvent(raw_data=(await request.body()).decode(), id=str(next(offsets)))
    for queue in queues:
        queue.put_nowait(event)
