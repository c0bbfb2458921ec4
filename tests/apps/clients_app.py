"""
A program as the clients of others meet it.

/hub is a hub. Two paths answer a POST as the API of a model does, whatever comes after the topic:
/plain/TOPIC streams a topic of the hub, and /generated/TOPIC a generator that yields what is sent to
/feed/TOPIC.
"""

import asyncio
import json
import os
from collections import defaultdict

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from support.nodejs import CLIENTS
from tidewire import EventStreamResponse, Hub
from tidewire.settings import Settings

HEARTBEAT = 1.0

# A short drain: it is the time over which clients come back after a stop.
hub = Hub(
    os.environ["CLIENTS_LOG"],
    heartbeat=HEARTBEAT,
    retry=0.5,
    drain=1.0,
    **json.loads(os.environ["HUB_OPTIONS"]),
)
fed = defaultdict(asyncio.Queue)


class Answer(EventStreamResponse):
    settings = Settings(heartbeat=HEARTBEAT)


async def plain(request):
    return hub.stream(request, request.path_params["topic"], since="start", control=False)


async def generated(request):
    async def events():
        while (item := await fed[request.path_params["topic"]].get()) is not None:
            yield item

    return Answer(events())


async def feed(request):
    fed[request.path_params["topic"]].put_nowait(await request.json())
    return Response(status_code=204)


app = Starlette(
    lifespan=hub.lifespan,
    routes=[
        Mount("/hub", hub.app),
        Route("/plain/{topic}/{rest:path}", plain, methods=["POST"]),
        Route("/generated/{topic}/{rest:path}", generated, methods=["POST"]),
        Route("/feed/{topic}", feed, methods=["POST"]),
        Mount("/modules", StaticFiles(directory=CLIENTS / "node_modules", check_dir=False)),
        Mount("/pages", StaticFiles(directory=CLIENTS / "pages")),
    ],
)
