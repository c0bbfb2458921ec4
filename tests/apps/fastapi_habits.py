"""What FastAPI programs do around streams: background tasks, generator endpoints, a pool of connections."""

import asyncio
import collections
import contextlib

from fastapi import BackgroundTasks, Depends, FastAPI, Request, Response

from tidewire import Event, EventStreamResponse, Hub, HubStream

hub = Hub()
app = FastAPI(lifespan=hub.lifespan)
app.mount("/hub", hub.app)
notes = collections.Counter()

POOL = 11
connections = asyncio.Semaphore(POOL)


@app.get("/notes")
async def counted() -> dict[str, int]:
    return notes


async def note(name: str) -> None:
    notes[name] += 1


def sync_note(name: str) -> None:
    notes[name] += 1


# -- background tasks


@app.get("/tasks/{topic}", response_class=HubStream)
async def tasks(request: Request, topic: str, tasks: BackgroundTasks) -> HubStream:
    tasks.add_task(note, topic)
    tasks.add_task(sync_note, topic)
    return hub.stream(request, topic)


@app.get("/fails/{topic}")
async def fails(request: Request, topic: str, tasks: BackgroundTasks) -> HubStream:
    tasks.add_task(note, topic)
    tasks.add_task(int, "not a number")
    return hub.stream(request, topic)


# -- generator endpoints


def own_header(response: Response):
    response.headers["X-Own"] = "yes"


@app.get("/yields", response_class=EventStreamResponse, dependencies=[Depends(own_header)])
async def yields(tasks: BackgroundTasks):
    tasks.add_task(note, "yields")
    yield "text"
    yield Event("typed", event="kind")
    yield {"data": {"a": 1}}


@app.get("/sync-yields", response_class=EventStreamResponse)
def sync_yields():
    yield "text"


# -- a pool of connections


async def connection():
    async with asyncio.timeout(5), connections:
        notes["taken"] += 1
        try:
            yield
        finally:
            notes["taken"] -= 1


@app.get("/pool/{topic}", dependencies=[Depends(connection, scope="function")])
async def pooled(request: Request, topic: str) -> HubStream:
    return hub.stream(request, topic)


@app.get("/pool-generator", dependencies=[Depends(connection, scope="function")])
async def pooled_generator():
    async def ticks():
        yield "first"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 60)

    return EventStreamResponse(ticks())
