"""A program that has nothing of Tidewire: what our tests read anyway. curl -N localhost:8000/ticks"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/ticks")
async def ticks() -> StreamingResponse:
    async def body() -> AsyncIterator[str]:
        number = 0
        while True:
            yield f"id: {number}\nevent: tick\ndata: {number}\n\n"
            number += 1
            await asyncio.sleep(0.1)

    return StreamingResponse(body(), media_type="text/event-stream")
