"""A hub mounted in a FastAPI program, below several kinds of middleware."""

from fastapi import FastAPI, Request
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from tidewire import Hub

hub = Hub()
app = FastAPI(lifespan=hub.lifespan)
app.mount("/hub", hub.app)


class Marking(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["X-Marked"] = "yes"
        return response


app.add_middleware(GZipMiddleware)
app.add_middleware(CORSMiddleware, allow_origins=["https://friend.example"])
app.add_middleware(Marking)


@app.get("/orders/{id}")
async def order(request: Request, id: str):
    response = hub.stream(request, f"orders/{id}")
    response.headers["X-Own"] = "too"
    return response
