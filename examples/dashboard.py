"""A state, then its changes: GET /state, then EventSource("/changes?last_event_id=" + state.position)."""

import asyncio
from typing import Any

from fastapi import FastAPI, Request

from tidewire import Hub, HubStream

hub = Hub()
app = FastAPI(lifespan=hub.lifespan)
state = {"visitors": 0}


@hub.on_first("dashboard")  # without viewers nothing is produced
async def produce(topic: str) -> None:
    while hub.subscribers(topic):
        state["visitors"] += 1
        await hub.publish(topic, state)
        await asyncio.sleep(0.2)


@app.get("/state")
async def read() -> dict[str, Any]:
    # First the position, then the state: a change in between is in both, so none is missed.
    return {"position": str(await hub.head()), "state": state}


@app.get("/changes")
async def changes(request: Request) -> HubStream:
    return hub.stream(request, "dashboard")
