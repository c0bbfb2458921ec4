"""A hub in a Starlette program. `uvicorn examples.frameworks.starlette_orders:app`"""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from tidewire import Event, EventStreamResponse, Hub
from tidewire.integrations.starlette import install

hub = Hub()


async def events(request: Request) -> Response:
    return hub.stream(request, f"orders/{request.path_params['id']}")


async def pay(request: Request) -> Response:
    await hub.publish(f"orders/{request.path_params['id']}", {"status": "paid"}, event="status")
    return Response(status_code=204)


async def clock(request: Request) -> Response:
    async def ticks() -> AsyncIterator[Event]:
        while True:
            yield Event(time.ctime(), event="tick")
            await asyncio.sleep(1)

    return EventStreamResponse(ticks())


app = Starlette(
    routes=[
        Route("/orders/{id}/events", events),
        Route("/orders/{id}/pay", pay, methods=["POST"]),
        Route("/clock", clock),
        Mount("/hub", hub.app),
    ]
)
install(app, hub)
