"""A hub in a Litestar program. `uvicorn examples.frameworks.litestar_orders:app`"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, Response, get, post

from tidewire import Event, EventStreamResponse, Hub
from tidewire.integrations.litestar import HubPlugin, respond

hub = Hub()


@get("/orders/{id:str}/events")
async def events(request: Request[Any, Any, Any], id: str) -> Response[None]:
    return respond(hub.stream(request, f"orders/{id}"))


@post("/orders/{id:str}/pay", status_code=204)
async def pay(id: str) -> None:
    await hub.publish(f"orders/{id}", {"status": "paid"}, event="status")


@get("/clock")
async def clock() -> Response[None]:
    async def ticks() -> AsyncIterator[Event]:
        while True:
            yield Event(time.ctime(), event="tick")
            await asyncio.sleep(1)

    return respond(EventStreamResponse(ticks()))


app = Litestar([events, pay, clock], plugins=[HubPlugin(hub, "/hub")])
