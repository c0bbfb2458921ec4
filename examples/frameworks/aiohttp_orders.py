"""A hub in an aiohttp program. `python -m aiohttp.web examples.frameworks.aiohttp_orders:main`"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from aiohttp import web

from tidewire import Event, EventStreamResponse, Hub
from tidewire.integrations.aiohttp import HUB, install, respond, stream


async def events(request: web.Request) -> web.StreamResponse:
    return await stream(request, f"orders/{request.match_info['id']}")


async def pay(request: web.Request) -> web.Response:
    await request.config_dict[HUB].publish(
        f"orders/{request.match_info['id']}", {"status": "paid"}, event="status"
    )
    return web.Response(status=204)


async def clock(request: web.Request) -> web.StreamResponse:
    async def ticks() -> AsyncIterator[Event]:
        while True:
            yield Event(time.ctime(), event="tick")
            await asyncio.sleep(1)

    return await respond(request, EventStreamResponse(ticks()))


def main(argv: Sequence[str] | None = None) -> web.Application:
    app = web.Application()
    install(app, Hub())
    app.add_routes(
        [web.get("/orders/{id}/events", events), web.post("/orders/{id}/pay", pay), web.get("/clock", clock)]
    )
    return app
