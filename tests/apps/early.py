"""A program that publishes at import, before its server has an event loop. LOG is the URL of the hub."""

import asyncio
import os

from fastapi import FastAPI, Request

from tidewire import Hub

hub = Hub(os.environ["LOG"])
app = FastAPI(lifespan=hub.lifespan)
# Without a lifespan, the hub opens at first use.
bare = FastAPI()

asyncio.run(hub.publish("news", "imported"))


@app.get("/news")
@bare.get("/news")
async def news(request: Request):
    return hub.stream(request, "news", since="start")


@app.post("/news")
@bare.post("/news")
async def publish():
    receipt = await hub.publish("news", "served")
    return str(receipt.position)
