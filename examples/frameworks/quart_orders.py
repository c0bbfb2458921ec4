"""A hub in a Quart program. `hypercorn examples.frameworks.quart_orders:app`"""

import asyncio
import time

from quart import Quart, request

from tidewire import Event, EventStreamResponse, Hub
from tidewire.integrations.quart import install, respond, stream

hub = Hub()
app = Quart(__name__)
install(app, hub)


@app.get("/orders/<id>/events")
async def events(id):
    return stream(request, f"orders/{id}")


@app.post("/orders/<id>/pay")
async def pay(id):
    await hub.publish(f"orders/{id}", {"status": "paid"}, event="status")
    return "", 204


@app.get("/clock")
async def clock():
    async def ticks():
        while True:
            yield Event(time.ctime(), event="tick")
            await asyncio.sleep(1)

    return respond(request, EventStreamResponse(ticks()))
