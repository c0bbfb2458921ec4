"""A stream from a generator, without a log or a topic. curl -N localhost:8000/clock"""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI

from tidewire import Event, EventStreamResponse

app = FastAPI()


@app.get("/clock")
async def clock() -> EventStreamResponse:
    async def ticks() -> AsyncIterator[Event]:
        while True:
            yield Event(data=time.ctime(), event="tick")
            await asyncio.sleep(1)

    return EventStreamResponse(ticks())
