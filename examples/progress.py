"""The progress of a long job: POST /jobs/import starts it, GET /jobs/import shows it."""

import asyncio

from fastapi import BackgroundTasks, FastAPI, Request

from tidewire import Hub, HubStream

hub = Hub()
app = FastAPI(lifespan=hub.lifespan)


async def work(name: str) -> None:
    for percent in range(0, 101, 20):
        await hub.publish(f"jobs/{name}", {"percent": percent})
        await asyncio.sleep(0.1)
    await hub.end(f"jobs/{name}", "done")  # streams close, and clients do not reconnect


@app.post("/jobs/{name}")
async def start(name: str, tasks: BackgroundTasks) -> None:
    tasks.add_task(work, name)


@app.get("/jobs/{name}")
async def progress(request: Request, name: str) -> HubStream:
    return hub.stream(request, f"jobs/{name}", since="start")
