"""A program with a hub on the log that LOG names. Each answer says which process gave it."""

import os

from fastapi import FastAPI, Request

from tidewire import Hub

hub = Hub(os.environ["LOG"], drain=1)


class Named:
    """Middleware that adds the process to each answer."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def named(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-worker", b"%d" % os.getpid())]
            await send(message)

        await self.app(scope, receive, named)


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
