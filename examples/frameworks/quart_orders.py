"""A hub in a Quart program. `hypercorn examples.frameworks.quart_orders:app`"""

import asyncio
import time
from collections.abc import AsyncIterator

from quart import Quart, Response, request

from tidewire import Event, EventStreamResponse, Hub
from tidewire.integrations.quart import install, respond, stream

hub = Hub()
app = Quart(__name__)
install(app, hub)


@app.get("/orders/<id>/events")
async def events(id: str) -> Response:
    return stream(request, f"orders/{id}")


@app.post("/orders/<id>/pay")
async def pay(id: str) -> tuple[str, int]:
    await hub.publish(f"orders/{id}", {"status": "paid"}, event="status")
    return "", 204


@app.get("/clock")
async def clock() -> Response:
    async def ticks() -> AsyncIterator[Event]:
        while True:
            yield Event(time.ctime(), event="tick")
            await asyncio.sleep(1)

    return respond(request, EventStreamResponse(ticks()))
