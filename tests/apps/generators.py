"""Streams from generators, in FastAPI, behind middleware, and bare; `/notes` lists what happened to them."""

import asyncio
import collections
import contextlib
import threading
import time
from urllib.parse import parse_qs

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI

from tidewire import Event, EventStreamResponse
from tidewire.settings import Settings

notes = collections.defaultdict(list)
released = threading.Event()
router = APIRouter()


class Quick(EventStreamResponse):
    settings = Settings(heartbeat=2, send_timeout=1)


# -- iterables; each gets the name under which it records what happens to it

ITERABLES = {}


def iterable(function):
    ITERABLES[function.__name__] = function
    return function


@iterable
async def items(name):
    yield "text"
    yield Event("one\ntwo", event="kind", id="7", topic="a/b")
    yield {"data": {"a": [1, None, True]}, "event": "json"}
    for data in ([1.5, "x"], 5, None, False, "plain", b"bytes", ""):
        yield {"data": data}
    yield {"event": "bare"}


@iterable
async def ticks(name):
    count = 0
    try:
        while True:
            yield str(count)
            count += 1
            await asyncio.sleep(0.05)
    finally:
        notes[name].append("closed")


@iterable
async def silent(name):
    """Waits forever after its first item."""
    try:
        yield "first"
        await asyncio.Event().wait()
    finally:
        notes[name].append("closed")


@iterable
async def flood(name):
    """Faster than any reader, so it soon waits in a send."""
    try:
        while True:
            yield "x" * 65536
    finally:
        notes[name].append("closed")


@iterable
async def hasty(name):
    """Never waits for anything."""
    try:
        while True:
            yield "x"
    finally:
        notes[name].append("closed")


@iterable
def sync_items(name):
    yield "one"
    yield {"data": [2]}
    yield Event("3")


@iterable
def sync_ticks(name):
    try:
        while True:
            yield "tick"
            time.sleep(0.05)
    finally:
        notes[name].append(f"closed in {threading.current_thread().name}")


@iterable
def sync_silent(name):
    try:
        yield "first"
        time.sleep(1.5)
        notes[name].append("awake")
        yield "second"
        notes[name].append("asked for more")
    finally:
        notes[name].append("closed")


@iterable
def sync_held(name):
    """Blocks its thread until a request for /release."""
    yield "first"
    released.wait(30)
    notes[name].append("released")


@iterable
def sync_flood(name):
    try:
        while True:
            yield "x" * 65536
    finally:
        notes[name].append("closed")


@iterable
class Plain:
    """An iterator that cannot be closed."""

    def __init__(self, name):
        self.left = ["a", "b"]

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        return self.left.pop(0)


@iterable
class AsyncPlain(Plain):
    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)


@iterable
async def fails_first(name):
    raise ValueError(f"{name}:\n  first")
    yield


@iterable
async def fails_later(name):
    yield "one"
    raise ValueError(f"{name}: later")


@iterable
async def fails_at_its_end(name):
    try:
        yield "one"
    finally:
        raise ValueError(f"{name}: at its end")


@iterable
async def fails_when_closed(name):
    try:
        yield "one"
        await asyncio.Event().wait()
    finally:
        notes[name].append("closed")
        raise ValueError(f"{name}: when closed")


@iterable
async def cancels_itself(name):
    yield "one"
    raise asyncio.CancelledError


@iterable
async def exits(name):
    yield "one"
    raise SystemExit(f"{name}: exits")


@iterable
async def interrupts(name):
    yield "one"
    raise KeyboardInterrupt(f"{name}: interrupts")


@iterable
async def exits_when_closed(name):
    try:
        yield "one"
        await asyncio.Event().wait()
    finally:
        notes[name].append("closed")
        raise SystemExit(f"{name}: when closed")


@iterable
async def swallows_cancellations(name):
    yield "one"
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


@iterable
async def swallows_everything(name):
    yield "one"
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(3600)


@iterable
def sync_fails_first(name):
    raise ValueError(f"{name}: first")
    yield


@iterable
def sync_fails_later(name):
    yield "one"
    raise ValueError(f"{name}: later")


@iterable
def sync_exits(name):
    yield "one"
    raise SystemExit(f"{name}: exits")


@iterable
def sync_fails_when_closed(name):
    try:
        while True:
            yield "one"
            time.sleep(0.1)
    finally:
        notes[name].append("closed")
        raise ValueError(f"{name}: when closed")


def yields(bad):
    async def async_bad(name):
        try:
            yield "one"
            yield bad
            yield "never"
        finally:
            notes[name].append("closed")

    def sync_bad(name):
        try:
            yield "one"
            yield bad
            yield "never"
        finally:
            notes[name].append("closed")

    return {"async": async_bad, "sync": sync_bad}


BAD = {
    "number": 5,
    "bytes": b"bytes",
    "crlf": Event("x", event="a\r\nid: 9"),
    "lf-id": {"data": "x", "id": "a\nb"},
    "field": {"data": "x", "text": "no"},
    "complex": {"data": 1j},
    "object": Event({"a": object()}),
    "retry": {"data": "x", "retry": 1},
}

ITERABLES["list"] = lambda name: ["a", {"data": "b"}]
for bad, item in BAD.items():
    for way, function in yields(item).items():
        ITERABLES[f"{way}-{bad}"] = function


# -- in FastAPI


@router.api_route("/stream/{kind}", methods=["GET", "HEAD"])
async def stream(kind: str, name: str = "", max_age: float | None = None):
    return EventStreamResponse(ITERABLES[kind](name), max_age=max_age)


@router.get("/quick/{kind}")
def quick(kind: str, name: str = ""):
    return Quick(ITERABLES[kind](name))


@router.get("/custom")
async def custom():
    headers = {"X-Own": "yes", "Cache-Control": "private", "Tidewire-Heartbeat": "no"}
    response = EventStreamResponse(["x"], status_code=201, headers=headers)
    response.headers["X-Later"] = "too"
    return response


async def dependency(name: str):
    notes[name].append("opened")
    yield
    notes[name].append("let go")


@router.get("/dependent/{kind}")
async def dependent(kind: str, name: str, opened: None = Depends(dependency)):
    return EventStreamResponse(ITERABLES[kind](name))


@router.get("/background")
async def background(name: str, tasks: BackgroundTasks):
    tasks.add_task(notes[name].append, "background")
    return EventStreamResponse(["x"])


@router.get("/notes")
async def read_notes(name: str):
    return notes[name]


@router.get("/left")
async def left():
    """Return the threads and tasks that streams left behind."""
    threads = [thread.name for thread in threading.enumerate() if thread.name == "tidewire-stream"]
    tasks = [repr(task.get_coro()) for task in asyncio.all_tasks() if "tidewire" in repr(task.get_coro())]
    return {"threads": len(threads), "tasks": tasks}


@router.get("/release")
async def release():
    released.set()


@router.get("/sync")
def sync_endpoint():
    return "answered"


fastapi, wrapped = FastAPI(), FastAPI()
fastapi.include_router(router)
wrapped.include_router(router)


@wrapped.middleware("http")
async def middleware(request, call_next):
    """Common middleware: the endpoint runs in another task and its body goes through a queue."""
    return await call_next(request)


# -- without FastAPI


async def bare(scope, receive, send):
    _, kind, wanted = scope["path"].removeprefix("/bare").split("/")
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    content = ITERABLES[wanted](query.get("name", ""))
    max_age = float(query["max_age"]) if "max_age" in query else None
    response = (Quick if kind == "quick" else EventStreamResponse)(content, max_age=max_age)
    await response(scope, receive, send)


async def app(scope, receive, send):
    path = scope["path"] if scope["type"] == "http" else ""
    if path.startswith("/bare/"):
        await bare(scope, receive, send)
    elif path.startswith("/wrapped/"):
        path = path.removeprefix("/wrapped")
        await wrapped(scope | {"path": path, "raw_path": path.encode()}, receive, send)
    else:
        await fastapi(scope, receive, send)
