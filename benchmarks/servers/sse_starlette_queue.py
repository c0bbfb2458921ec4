"""sse-starlette as its documentation shows a broadcast: one queue and one generator per subscriber."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

queues: set[asyncio.Queue[ServerSentEvent]] = set()
offsets = count(1)


async def events() -> AsyncIterator[ServerSentEvent]:
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue()
    queues.add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        queues.discard(queue)


async def subscribe(request: Request) -> EventSourceResponse:
    return EventSourceResponse(events())


async def publish(request: Request) -> Response:
    event = ServerSentEvent((await request.body()).decode(), id=str(next(offsets)))
    for queue in queues:
        queue.put_nowait(event)
    return Response(status_code=204)


app = Starlette(
    routes=[Route("/events/bench", subscribe), Route("/events/bench", publish, methods=["POST"])],
)
