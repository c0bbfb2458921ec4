"""A program with a hub in it, and with streams from generators; the hub's options come as JSON in HUB_OPTIONS."""

import asyncio
import json
import os
import time

from fastapi import FastAPI, Request

from tidewire import EventStreamResponse, Hub

hub = Hub(**json.loads(os.environ.get("HUB_OPTIONS", "{}")))
app = FastAPI(lifespan=hub.lifespan)
app.mount("/hub", hub.app)


@app.get("/orders/{id}/events")
async def events(request: Request, id: int):
    return hub.stream(request, f"orders/{id}")


@app.get("/clock")
async def clock():
    async def ticks():
        while True:
            yield time.ctime()
            await asyncio.sleep(0.2)

    return EventStreamResponse(ticks())


@app.get("/sync-clock")
def sync_clock():
    def ticks():
        while True:
            yield time.ctime()
            time.sleep(0.2)

    return EventStreamResponse(ticks())


# Without a lifespan: the hub opens at its first use.
bare = hub.app
