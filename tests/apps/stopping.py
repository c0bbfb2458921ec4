"""A program with a hub and streams from generators; HUB_OPTIONS has the hub's options as JSON."""

import asyncio
import json
import os
import time

from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

from tidewire import EventStreamResponse, Hub

hub = Hub(**json.loads(os.environ.get("HUB_OPTIONS", "{}")))
app = FastAPI(lifespan=hub.lifespan)
app.mount("/hub", hub.app)
bare = hub.app


waiting = []


@app.get("/waiting")
async def count_waiting():
    return len(waiting)


async def wait(seconds: float):
    waiting.append(seconds)
    await asyncio.sleep(seconds)


@app.get("/orders/{id}/events")
async def events(request: Request, id: int, after: float = 0):
    await wait(after)
    return hub.stream(request, f"orders/{id}")


@app.get("/clock")
async def clock(after: float = 0):
    async def ticks():
        while True:
            yield time.ctime()
            await asyncio.sleep(0.2)

    await wait(after)
    return EventStreamResponse(ticks())


@app.get("/sync-clock")
def sync_clock(pause: float = 0.2):
    def ticks():
        while True:
            yield time.ctime()
            time.sleep(pause)

    return EventStreamResponse(ticks())


@app.get("/own-clock")
async def own_clock():
    """A stream of the program's own: nobody ends it."""

    async def ticks():
        while True:
            yield f"data: {time.ctime()}\n\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(ticks(), media_type="text/event-stream")
