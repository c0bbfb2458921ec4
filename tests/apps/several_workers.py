"""A program with a hub on the log that LOG names. Each answer says which process gave it."""

import os

from fastapi import FastAPI, Request
from named_worker import Named

from tidewire import Hub

hub = Hub(os.environ["LOG"], drain=1)

app = FastAPI(lifespan=hub.lifespan)
app.add_middleware(Named)


@app.get("/events/{topic}")
async def events(request: Request, topic: str):
    return hub.stream(request, topic)


@app.post("/events/{topic}")
async def publish(request: Request, topic: str):
    receipt = await hub.publish(topic, await request.body())
    return {"id": str(receipt.position)}


@app.get("/worker")
async def worker():
    return None
