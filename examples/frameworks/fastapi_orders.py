"""A hub in a FastAPI program. `uvicorn examples.frameworks.fastapi_orders:app`"""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request

from tidewire import Event, EventStreamResponse, Hub, HubStream
from tidewire.integrations.fastapi import install

hub = Hub()
app = FastAPI()
install(app, hub)
app.mount("/hub", hub.app)


@app.get("/orders/{id}/events", response_class=HubStream)
async def events(request: Request, id: str) -> HubStream:
    return hub.stream(request, f"orders/{id}")


@app.post("/orders/{id}/pay", status_code=204)
async def pay(id: str) -> None:
    await hub.publish(f"orders/{id}", {"status": "paid"}, event="status")


@app.get("/clock", response_class=EventStreamResponse)
async def clock() -> AsyncIterator[Event]:
    while True:
        yield Event(time.ctime(), event="tick")
        await asyncio.sleep(1)
