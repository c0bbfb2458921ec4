"""Plain streams in a program, behind middleware, and in the app of a hub; HUB_OPTIONS has its options."""

import json
import os

from fastapi import APIRouter, FastAPI, Request

from tidewire import Hub

hub = Hub(**json.loads(os.environ.get("HUB_OPTIONS", "{}")))
router = APIRouter()


@router.api_route("/stream/{topic:path}", methods=["GET", "POST"])
async def stream(request: Request, topic: str):
    return hub.stream(request, topic, control=False)


app, wrapped = FastAPI(lifespan=hub.lifespan), FastAPI()
app.include_router(router)
wrapped.include_router(router)


@wrapped.middleware("http")
async def middleware(request, call_next):
    """Common middleware: the endpoint runs in another task and its body goes through a queue."""
    return await call_next(request)


@app.get("/count/{topic:path}")
async def count(topic: str):
    return hub.subscribers(topic)


app.mount("/hub", hub.app)
app.mount("/wrapped", wrapped)
