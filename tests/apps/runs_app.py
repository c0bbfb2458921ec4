"""A program whose answers are runs. Each answer says which process gave it."""

import asyncio
import json
import os
import sys

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from named_worker import Named

from tidewire import Hub
from tidewire.errors import RunConflict
from tidewire.runs.dialects import ag_ui, ai_sdk, openai_chat, openai_responses, plain_text

options = json.loads(os.environ["HUB_OPTIONS"])
hub = Hub(options.pop("log", "memory"), drain=1, **options)

app = FastAPI(lifespan=hub.lifespan)
app.mount("/hub", hub.app)
app.add_middleware(Named)


@app.exception_handler(RunConflict)
async def conflict(request: Request, error: RunConflict):
    return JSONResponse(error.problem(), error.status)


async def answer(count, pause, fail):
    print(f"producer started in {os.getpid()}", flush=True)
    try:
        for number in range(count):
            yield f"token {number}"
            await asyncio.sleep(pause)
        if fail:
            raise RuntimeError("a secret")
    except BaseException as error:
        print(f"producer got {type(error).__name__}", file=sys.stderr, flush=True)
        raise


@app.post("/chat/{id}")
async def chat(
    request: Request,
    id: str,
    key: str,
    count: int = 10,
    pause: float = 0,
    fail: bool = False,
    replace: bool = False,
    sdk: bool = False,
):
    run = await hub.run(
        f"chat/{id}",
        lambda: answer(count, pause, fail),
        key=key,
        replace=replace,
        dialect=ai_sdk if sdk else None,
    )
    return hub.stream_run(request, run)


@app.get("/chat/{id}")
async def again(request: Request, id: str):
    return await hub.attach(request, f"chat/{id}")


@app.delete("/chat/{id}")
async def stop(id: str):
    run = await hub.cancel(f"chat/{id}")
    return {"state": run and run.state}


@app.post("/api/chat")
async def ai_chat(request: Request, body: dict):
    """What the transport of the AI SDK sends. The id of the message says how many tokens are wanted."""
    key = body["messages"][-1]["id"]
    count = 3 if key == "fail" else int(key)
    producer = answer(count, 0.01, key == "fail")
    run = await hub.run(f"chat/{body['id']}", lambda: producer, key=key, dialect=ai_sdk)
    return hub.stream_run(request, run)


def wanted(question):
    """Return a producer for a question that says how many tokens are wanted, or that it fails after three."""
    name = question.partition(" ")[0]
    return answer(3, 0.01, True) if name == "fail" else answer(int(name), 0.01, False)


@app.post("/v1/chat/completions")
async def completions(request: Request, body: dict):
    """What the SDKs of OpenAI send. The question is the chat, too."""
    question = body["messages"][-1]["content"]
    run = await hub.run(f"chat/{question}", lambda: wanted(question), key="1", dialect=openai_chat)
    return hub.stream_run(request, run)


@app.post("/v1/responses")
async def respond(request: Request, body: dict):
    id = "resp_" + body["input"].replace(" ", "_")
    run = await hub.run(f"chat/{id}", lambda: wanted(body["input"]), key=id, dialect=openai_responses)
    return hub.stream_run(request, run)


@app.get("/v1/responses/{id}")
async def respond_again(request: Request, id: str):
    return await hub.attach(request, f"chat/{id}")


@app.post("/v1/responses/{id}/cancel")
async def cancel_response(id: str):
    run = await hub.cancel(f"chat/{id}")
    return {
        "id": id,
        "object": "response",
        "status": "cancelled" if run.state == "cancelled" else "completed",
    }


@app.post("/agent")
async def agent(request: Request, body: dict):
    """What the client of AG-UI sends."""
    question = body["messages"][-1]["content"]
    run = await hub.run(
        f"chat/{body['threadId']}", lambda: wanted(question), key=body["runId"], dialect=ag_ui
    )
    return hub.stream_run(request, run)


@app.post("/text/{id}")
async def text(request: Request, id: str, question: str):
    run = await hub.run(f"chat/{id}", lambda: wanted(question), key="1", dialect=plain_text)
    return hub.stream_run(request, run)


@app.get("/api/chat/{id}/stream")
async def ai_chat_again(request: Request, id: str):
    return await hub.attach(request, f"chat/{id}")


@app.get("/events/{id}")
async def events(request: Request, id: str):
    return hub.stream(request, f"chat/{id}", since="start")


@app.get("/worker")
async def worker():
    return None
