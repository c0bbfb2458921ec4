"""A chat whose answers survive a reload, show in every tab, and can be stopped from any of them."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from tidewire import Hub, HubStream
from tidewire.errors import TidewireError

from .model import tokens

hub = Hub(os.environ.get("CHAT_LOG", "sqlite:///chat.db"))
app = FastAPI(lifespan=hub.lifespan)


class Message(BaseModel):
    id: str  # chosen by the page: a POST that is repeated has the same one
    text: str


async def answer(message: Message) -> AsyncIterator[dict[str, Any]]:
    # The question is part of the run, so a repeated POST does not add it twice.
    yield {"event": "question", "data": {"text": message.text, "worker": os.getpid()}}
    async for token in tokens(message.text):
        yield {"event": "token", "data": {"text": token}}
    # This is the place to save the whole answer in your database.


@app.post("/chats/{chat}", status_code=202)
async def ask(chat: str, message: Message) -> dict[str, str]:
    run = await hub.run(f"chats/{chat}", lambda: answer(message), key=message.id)
    return {"state": run.state}


@app.get("/chats/{chat}")
async def watch(request: Request, chat: str) -> HubStream:
    return hub.stream(request, f"chats/{chat}", since="start")


@app.delete("/chats/{chat}", status_code=204)
async def stop(chat: str) -> None:
    await hub.cancel(f"chats/{chat}")


@app.exception_handler(TidewireError)
async def refused(request: Request, error: TidewireError) -> JSONResponse:
    return JSONResponse(error.problem(), error.status)  # 409 while another answer is written


app.mount("/", StaticFiles(directory=Path(__file__).parent / "page", html=True))
