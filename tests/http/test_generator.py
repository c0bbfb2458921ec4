"""`EventStreamResponse`: streams straight from generators, on every server, in FastAPI and as plain ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import json
import logging
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from support.fakes import virtual
from support.waiting import PATIENCE, wait_until, wait_until_async
from support.ways import WAYS, Listener, Served, raw_request, served
from tidewire import EventStreamResponse
from tidewire.delivery.stopping import drains_of_loop
from tidewire.errors import InvalidInput
from tidewire.event_stream import Event, comment, encode
from tidewire.http.generator import encode_item
from tidewire.http.offer import CUT, ResponseCut

# What is between the response and the server. Tests that do not depend on it use FastAPI alone.
FRONTS = {"fastapi": "", "middleware": "/wrapped", "bare": "/bare"}

# Seconds. What is not noticed at once is noticed at the next heartbeat, after 15, or by a thread after 30.
SOON = 10.0

HEAD = {
    "content-type": "text/event-stream",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
    "tidewire-heartbeat": "15",
}


@pytest.fixture(scope="module", params=WAYS)
def hub(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param, "generators:app") as running:
        yield running
        wait_until(lambda: running.ask("GET", "/left").json() == {"threads": 0, "tasks": []})
        assert unexpected_tracebacks(running.process.output) == []
        assert not (running.way == "takeover" and "ResponseCut" in running.process.output)


FAILED = "the generator of the stream at "


def unexpected_tracebacks(output: str) -> list[str]:
    """
    Return what is before each traceback, except those of generators and what they chain.

    Other servers log the exception that cuts a response off; so does every server for middleware.
    """
    parts = re.split(r"^(?=Traceback)", output, flags=re.MULTILINE)
    pairs = itertools.pairwise(parts)
    lines = [(before[:-1].rpartition("\n")[2], after) for before, after in pairs]
    cuts = "ResponseCut", "tidewire.response.cut"
    return [
        line for line, after in lines if line and FAILED not in line and not any(cut in after for cut in cuts)
    ]


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    return FRONTS[request.param]


def notes(hub: Served, name: str) -> Any:
    return hub.ask("GET", f"/notes?name={name}").json()


def data(listener: Listener, count: int) -> list[str]:
    return [event.data for event in listener.take(count)]


# -- what is yielded, and the response around it


def test_every_kind_of_item(hub: Served, front: str) -> None:
    with hub.listen(f"{front}/stream/items") as listener:
        events = listener.rest()
    assert listener.decoder.retry == 2000
    assert listener.comments == ["tidewire"]
    assert listener.raw.startswith(b"retry: 2000\n: tidewire\n")
    assert events[:3] == [
        Event("text", id=""),
        Event("one\ntwo", "kind", "7", None, "a/b"),
        Event('{"a":[1,null,true]}', "json", "7"),
    ]
    assert [event.data for event in events[3:-1]] == ['[1.5,"x"]', "5", "null", "false", "plain", "bytes", ""]
    assert (events[-1].event, events[-1].data) == ("bare", "")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sync_items", ["one", "[2]", "3"]),
        ("list", ["a", "b"]),
        ("Plain", ["a", "b"]),
        ("AsyncPlain", ["a", "b"]),
    ],
)
def test_every_kind_of_iterable(hub: Served, front: str, kind: str, expected: list[str]) -> None:
    with hub.listen(f"{front}/stream/{kind}") as listener:
        assert [event.data for event in listener.rest()] == expected


def test_the_head(hub: Served, front: str) -> None:
    with hub.listen(f"{front}/stream/list") as listener:
        listener.rest()
    assert listener.status == 200
    assert {name: listener.headers.get(name) for name in HEAD} == HEAD
    assert listener.headers["transfer-encoding"] == "chunked"


def test_status_and_headers_set_by_the_program(hub: Served) -> None:
    with hub.listen("/custom") as listener:
        assert [event.data for event in listener.rest()] == ["x"]
    assert listener.status == 201
    own = {"x-own": "yes", "x-later": "too", "cache-control": "private", "tidewire-heartbeat": "no"}
    assert {name: listener.headers.get(name) for name in (*HEAD, *own)} == HEAD | own


def test_head_request(hub: Served, front: str) -> None:
    name = f"head{front}"
    answer = hub.ask("HEAD", f"{front}/stream/ticks?name={name}")
    assert (answer.status, answer.body) == (200, b"")
    assert {header: answer.headers.get(header) for header in HEAD} == HEAD
    assert notes(hub, name) == []  # it was not started, so it is not closed


def test_http_1_0(hub: Served) -> None:
    reply = raw_request(hub.port, b"GET /stream/list HTTP/1.0\r\nHost: localhost\r\n\r\n")
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    assert b"text/event-stream" in head
    if b"chunked" not in head.lower():  # uvicorn alone sends chunks to HTTP/1.0 too
        assert body.endswith(b"data: a\n\ndata: b\n\n")


def test_deadlines(hub: Served) -> None:
    """Three slow cases at the same time: silence, a maximum age, and clients that do not read."""
    with ExitStack() as stack:
        quiet = stack.enter_context(hub.listen("/quick/silent"))
        aged = stack.enter_context(hub.listen("/stream/silent?max_age=1&name=aged"))
        for kind in ("flood", "sync_flood"):
            stack.enter_context(hub.listen(f"/quick/{kind}?name=stuck-{kind}"))
        assert data(quiet, 1) == ["first"]
        assert [quiet.wait_comment() for _ in range(3)] == ["tidewire", "", ""]
        assert [event.data for event in aged.rest_until_cut()] == ["first"]
        assert notes(hub, "aged") == ["closed"]
        wait_until(lambda: notes(hub, "stuck-flood") == notes(hub, "stuck-sync_flood") == ["closed"])


# -- when the client disconnects


def test_an_async_generator_is_closed_in_an_await(hub: Served, front: str) -> None:
    name = f"await{front}"
    with hub.listen(f"{front}/stream/silent?name={name}") as listener:
        data(listener, 1)
        assert notes(hub, name) == []
    wait_until(lambda: notes(hub, name) == ["closed"], timeout=SOON)


def test_a_generator_is_closed_in_a_blocked_send(hub: Served) -> None:
    kinds = ["flood", "sync_flood"]
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(hub.listen(f"/stream/{kind}?name=blocked-{kind}"))
        time.sleep(0.5)  # until all buffers are full
        assert all(notes(hub, f"blocked-{kind}") == [] for kind in kinds)
    wait_until(lambda: all(notes(hub, f"blocked-{kind}") == ["closed"] for kind in kinds), timeout=SOON)


def test_a_sync_generator_runs_and_ends_in_its_own_thread(hub: Served) -> None:
    with hub.listen("/stream/sync_ticks?name=own") as listener:
        data(listener, 3)
    wait_until(lambda: notes(hub, "own") == ["closed in tidewire-stream"], timeout=SOON)


def test_a_generator_that_never_waits_does_not_block_others(hub: Served) -> None:
    with hub.listen("/stream/hasty?name=hasty") as listener:
        data(listener, 1000)
        assert hub.ask("GET", "/sync").json() == "answered"
    wait_until(lambda: notes(hub, "hasty") == ["closed"], timeout=SOON)


@pytest.mark.parametrize(("kind", "closing"), [("silent", ["closed"]), ("sync_silent", ["awake", "closed"])])
def test_a_dependency_lives_as_long_as_the_generator(hub: Served, kind: str, closing: list[str]) -> None:
    """A sync generator is closed at its next `yield`."""
    name = f"dependency-{kind}"
    with hub.listen(f"/dependent/{kind}?name={name}") as listener:
        data(listener, 1)
        assert notes(hub, name) == ["opened"]
    wait_until(lambda: notes(hub, name) == ["opened", *closing, "let go"])


def test_background_tasks_run(hub: Served) -> None:
    with hub.listen("/background?name=background") as listener:
        listener.rest()
    wait_until(lambda: notes(hub, "background") == ["background"])


# -- when it fails


def failures(hub: Served, text: str) -> list[str]:
    return [line for line in hub.process.output.splitlines() if FAILED in line and text in line]


@pytest.mark.parametrize(
    ("kind", "before", "logged"),
    [
        ("fails_first", [], "ValueError: {name}: first"),
        ("fails_later", ["one"], "ValueError: {name}: later"),
        ("fails_at_its_end", ["one"], "ValueError: {name}: at its end"),
        ("exits", ["one"], "SystemExit: {name}: exits"),
        ("interrupts", ["one"], "KeyboardInterrupt: {name}: interrupts"),
        ("sync_fails_first", [], "ValueError: {name}: first"),
        ("sync_fails_later", ["one"], "ValueError: {name}: later"),
        ("sync_exits", ["one"], "SystemExit: {name}: exits"),
    ],
)
def test_an_exception_ends_the_stream(
    hub: Served, front: str, kind: str, before: list[str], logged: str
) -> None:
    name = f"{kind}-in-{front.strip('/') or 'fastapi'}"
    with hub.listen(f"{front}/stream/{kind}?name={name}") as listener:
        events = listener.rest_until_cut()
    assert [event.data for event in events[:-1]] == before
    assert (events[-1].event, json.loads(events[-1].data)) == ("hub.error", {"code": "internal"})
    wait_until(lambda: failures(hub, name))
    (line,) = failures(hub, f"{name}:")
    # Below a mount point the path is that below it or the whole one, as the program passes it on.
    assert line.endswith(f"/stream/{kind} failed: {logged.format(name=name)}")
    assert hub.ask("GET", "/sync").json() == "answered"


def test_a_cancellation_from_inside_is_a_failure(hub: Served) -> None:
    with hub.listen("/stream/cancels_itself") as listener:
        assert [event.event for event in listener.rest_until_cut()] == ["message", "hub.error"]


@pytest.mark.parametrize("kind", ["fails_when_closed", "exits_when_closed", "sync_fails_when_closed"])
def test_an_exception_while_closing_is_logged_in_one_line(hub: Served, kind: str) -> None:
    with hub.listen(f"/stream/{kind}?name={kind}") as listener:
        data(listener, 1)
    wait_until(lambda: notes(hub, kind) == ["closed"], timeout=SOON)
    wait_until(lambda: failures(hub, f"{kind}:"))
    assert len(failures(hub, f"{kind}:")) == 1


BAD = {
    "number": "invalid_event",
    "bytes": "invalid_event",
    "crlf": "invalid_type",
    "lf-id": "invalid_id",
    "field": "invalid_event",
    "complex": "invalid_data",
    "object": "invalid_data",
    "retry": "invalid_retry",
}


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_item_ends_the_stream(hub: Served, bad: str, kind: str) -> None:
    name = f"bad-{kind}-{bad}"
    before = len(failures(hub, "InvalidInput"))
    with hub.listen(f"/stream/{kind}-{bad}?name={name}") as listener:
        events = listener.rest_until_cut()
    assert [event.data for event in events[:-1]] == ["one"]
    assert (events[-1].event, json.loads(events[-1].data)) == ("hub.error", {"code": BAD[bad]})
    assert b"id: 9" not in listener.raw
    wait_until(lambda: notes(hub, name) == ["closed"])
    wait_until(lambda: len(failures(hub, "InvalidInput")) == before + 1)


# -- many


def test_slow_sync_streams_do_not_starve_sync_endpoints(hub: Served) -> None:
    def open_one(_: int) -> Listener:
        listener = hub.listen("/stream/sync_held?name=held")
        data(listener, 1)
        return listener

    with ExitStack() as stack:
        # More than FastAPI's pool has threads.
        with ThreadPoolExecutor(20) as pool:
            for listener in pool.map(open_one, range(60)):
                stack.callback(listener.close)
        assert hub.ask("GET", "/sync").json() == "answered"
        assert hub.ask("GET", "/left").json()["threads"] == 60
        hub.ask("GET", "/release")
    wait_until(lambda: notes(hub, "held") == ["released"] * 60)


# -- one stream in memory, with rare behaviour of the client and the server


class Client:
    """The server's side of one request: `room` lets `send` return, `error` makes it fail."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.error: Exception | None = None
        self.sending = False
        self.body = b""
        self.ended = False
        self.cut = self.asked_to_cut = False
        self.chunk_times: list[float] = []

    def ask(self, response: EventStreamResponse) -> asyncio.Task[None]:
        return asyncio.create_task(self._ask(response))

    async def _ask(self, response: EventStreamResponse) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "http_version": "1.1"}
        with contextlib.suppress(ResponseCut):
            await response(scope, self.receive, self.send)
            return
        self.cut = True

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        assert not self.sending, "two at once"
        assert not self.ended, "after the end"
        if message["type"] == "http.response.start":
            return
        if message["type"] == CUT:
            self.asked_to_cut = True
            raise RuntimeError("an ASGI server does not know it")
        self.sending = True
        try:
            await self.room.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.sending = False
        self.body += message["body"]
        self.ended = not message["more_body"]
        self.chunk_times.append(asyncio.get_running_loop().time())


class Generator:
    """An async generator, and whether it was closed."""

    def __init__(self, cleanup: float = 0.0) -> None:
        self.cleanup = cleanup
        self.closed = False

    async def items(self) -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self.cleanup)
            self.closed = True


class Blocking:
    """A sync generator that nothing can interrupt until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.closed = threading.Event()

    def items(self) -> Iterator[str]:
        try:
            yield "first"
            self.go.wait(30)
            yield "second"
        finally:
            self.closed.set()


def farewell(client: Client) -> int:
    """Return the milliseconds of the `retry:` that ends the body."""
    found = re.search(rb"retry: (\d+)\n$", client.body)
    assert found, client.body
    assert client.cut
    assert not client.ended
    return int(found[1])


@virtual
async def test_silence_is_never_longer_than_promised() -> None:
    rng = random.Random(1)
    pauses = [rng.choice([0.0, rng.uniform(0, 40), rng.uniform(13, 16)]) for _ in range(200)]

    async def now_and_then() -> AsyncIterator[str]:
        for pause in pauses:
            await asyncio.sleep(pause)
            yield "x"

    client = Client()
    await client.ask(EventStreamResponse(now_and_then()))
    gaps = [b - a for a, b in zip(client.chunk_times, client.chunk_times[1:], strict=False)]
    assert max(gaps) <= 16
    assert client.body.count(b"data: x\n\n") == len(pauses)
    assert client.body.count(b":\n") < sum(pauses) / 13  # and no more heartbeats than needed


@virtual
async def test_a_send_that_blocks_for_two_minutes_ends_the_stream() -> None:
    client, generator = Client(), Generator()
    client.room.clear()
    request = client.ask(EventStreamResponse(generator.items()))
    await asyncio.sleep(119)
    assert not request.done()
    await asyncio.sleep(4)
    assert request.done()
    assert not client.ended  # nothing more can be sent to this client


@virtual
async def test_a_drain_does_not_wait_for_a_blocked_send() -> None:
    client, generator = Client(), Generator()
    request = client.ask(EventStreamResponse(generator.items()))
    await asyncio.sleep(1)
    client.room.clear()
    await asyncio.sleep(20)  # a heartbeat is being sent
    assert client.sending
    drains_of_loop().start_drain()
    await asyncio.sleep(2)
    assert request.done()
    assert generator.closed


@virtual
async def test_a_drain_spreads_the_reconnections() -> None:
    clients = [Client() for _ in range(40)]
    generators = [Generator() for _ in clients]
    requests = [
        client.ask(EventStreamResponse(generator.items()))
        for client, generator in zip(clients, generators, strict=True)
    ]
    await asyncio.sleep(1)
    drains_of_loop().start_drain()
    await asyncio.gather(*requests)
    waits = [farewell(client) for client in clients]
    assert all(2000 <= wait <= 12000 for wait in waits)
    assert max(waits) - min(waits) > 5000
    assert all(generator.closed for generator in generators)


@virtual
async def test_a_client_does_not_wait_for_a_slow_cleanup_and_the_request_does() -> None:
    client, generator = Client(), Generator(cleanup=20)
    request = client.ask(EventStreamResponse(generator.items(), max_age=5))
    await asyncio.sleep(8)
    assert client.asked_to_cut
    assert not request.done()
    await asyncio.sleep(20)
    assert request.done()
    assert generator.closed


@virtual
async def test_an_error_in_a_drain_is_sent_before_the_last_retry(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the end")

    client = Client()
    request = client.ask(EventStreamResponse(fails()))
    await asyncio.sleep(1)
    drains_of_loop().start_drain()
    await request
    assert farewell(client)
    assert b'event: hub.error\ndata: {"code":"internal"}\n\nretry: ' in client.body
    assert caplog.messages == [f"{FAILED}/ failed: ValueError: in the end"]


@virtual
async def test_a_generator_that_suppresses_cancellation_is_closed() -> None:
    closed = []

    async def stubborn() -> AsyncIterator[str]:
        try:
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    yield "still here"
        finally:
            closed.append(True)

    client = Client()
    request = client.ask(EventStreamResponse(stubborn()))
    await asyncio.sleep(1)
    client.left.set()
    await asyncio.wait_for(request, 1)
    assert closed
    assert b"still here" not in client.body


@virtual
async def test_a_drain_waits_three_seconds_for_a_generator_that_ignores_its_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stubborn() -> AsyncIterator[str]:
        yield "first"
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(20)
        went_on.set()
        yield "second"

    went_on = asyncio.Event()
    client, slow, slow_generator = Client(), Client(), Generator(cleanup=2)
    request = client.ask(EventStreamResponse(stubborn()))
    slow_request = slow.ask(EventStreamResponse(slow_generator.items()))
    await asyncio.sleep(1)
    drains_of_loop().start_drain()
    await asyncio.sleep(2.5)
    assert (request.done(), slow_request.done(), slow_generator.closed) == (False, True, True)
    await asyncio.sleep(1)
    assert request.done()
    assert [message.rpartition(" ")[2] for message in caplog.messages] == [stubborn.__qualname__]
    await went_on.wait()
    await asyncio.sleep(1)
    assert farewell(client)
    assert b"second" not in client.body


@virtual
async def test_a_request_that_is_cancelled_closes_the_generator_first() -> None:
    client, generator = Client(), Generator(cleanup=1)
    request = client.ask(EventStreamResponse(generator.items()))
    await asyncio.sleep(1)
    # Like a cancel scope: again and again until the task has ended.
    for _ in range(5):
        request.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await request
    assert generator.closed


async def test_a_generator_that_never_waits_does_not_block_the_loop() -> None:
    count = 0

    async def hasty() -> AsyncIterator[str]:
        nonlocal count
        while count < 100_000:
            count += 1
            yield "x"

    client = Client()  # its sends never wait either
    request = client.ask(EventStreamResponse(hasty()))
    await wait_until_async(lambda: b"data: x" in client.body)
    client.left.set()
    await request
    assert count < 100_000


async def endless(closed: list[str]) -> AsyncIterator[str]:
    try:
        while True:
            yield "tick"
            await asyncio.sleep(0.01)
    finally:
        closed.append("async")


def sync_endless(closed: list[str]) -> Iterator[str]:
    try:
        while True:
            yield "tick"
            time.sleep(0.01)
    finally:
        closed.append("sync")


@pytest.mark.parametrize("endless", [endless, sync_endless])
async def test_a_disconnected_client_is_not_a_failure(endless: Any, caplog: pytest.LogCaptureFixture) -> None:
    client, closed = Client(), []
    request = client.ask(EventStreamResponse(endless(closed)))
    await wait_until_async(lambda: b"tick" in client.body)
    client.error = ConnectionResetError("gone")  # some servers report a disconnect only like this
    await asyncio.wait_for(request, PATIENCE)
    assert len(closed) == 1
    assert caplog.messages == []


@pytest.mark.parametrize("endless", [endless, sync_endless])
async def test_other_errors_of_send_reach_the_server(endless: Any) -> None:
    client, closed = Client(), []
    request = client.ask(EventStreamResponse(endless(closed)))
    await wait_until_async(lambda: b"tick" in client.body)
    client.error = RuntimeError("broken middleware")
    with pytest.raises(RuntimeError, match="broken middleware"):
        await request
    assert len(closed) == 1


async def test_a_drain_waits_a_second_for_a_thread() -> None:
    client, blocking = Client(), Blocking()
    request = client.ask(EventStreamResponse(blocking.items()))
    await wait_until_async(lambda: b"first" in client.body)
    drains_of_loop().start_drain()
    await asyncio.wait_for(request, SOON)
    assert farewell(client)
    assert not blocking.closed.is_set()
    blocking.go.set()
    await wait_until_async(blocking.closed.is_set)
    await wait_until_async(lambda: "tidewire-stream" not in {thread.name for thread in threading.enumerate()})
    assert b"second" not in client.body


async def test_a_cancelled_request_does_not_wait_for_a_thread() -> None:
    client, blocking = Client(), Blocking()
    request = client.ask(EventStreamResponse(blocking.items()))
    await wait_until_async(lambda: b"first" in client.body)
    request.cancel()
    await asyncio.wait([request], timeout=SOON)
    assert request.cancelled()
    blocking.go.set()
    await wait_until_async(blocking.closed.is_set)


async def test_a_stream_that_starts_while_the_process_stops_ends_at_once() -> None:
    drains_of_loop().stop()
    client = Client()
    await asyncio.wait_for(client.ask(EventStreamResponse(endless([]))), SOON)
    assert farewell(client)


async def test_context_variables_are_visible_in_the_thread() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def items() -> Iterator[str]:
        yield variable.get()
        variable.set("changed")
        yield variable.get()

    variable.set("the endpoint's")
    client = Client()
    await client.ask(EventStreamResponse(items()))
    assert b"data: the endpoint's\n\ndata: changed\n\n" in client.body
    assert variable.get() == "the endpoint's"


def sync_fails() -> Iterator[str]:
    raise ValueError("two\nlines")
    yield


async def async_fails() -> AsyncIterator[str]:
    raise ValueError("two\nlines")
    yield


@pytest.mark.parametrize("generator", [sync_fails, async_fails])
async def test_the_exception_itself_is_logged_with_the_path(
    generator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await Client().ask(EventStreamResponse(generator()))
    (error,) = [record for record in caplog.records if record.name == "tidewire"]
    assert error.getMessage() == f"{FAILED}/ failed: ValueError: two lines"
    assert error.levelno == logging.ERROR
    assert error.exc_info is not None
    kind, exception, trace = error.exc_info  # what Sentry takes
    assert (kind, str(exception)) == (ValueError, "two\nlines")
    functions = []
    while trace is not None:
        functions.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert functions[-1] == generator.__name__


async def test_the_arguments_of_a_starlette_response() -> None:
    done: list[str] = []

    async def background() -> None:
        done.append("background")

    response = EventStreamResponse(iter(["x"]), 201, {"X-Own": "yes"}, "text/plain", background)
    assert (response.status_code, response.media_type) == (201, "text/plain")
    head = dict(response.raw_headers)
    assert (head[b"content-type"], head[b"x-own"]) == (b"text/plain", b"yes")
    assert head[b"cache-control"] == b"no-store, no-transform"
    client = Client()
    request = client.ask(response)
    await request
    assert (client.ended, done) == (True, ["background"])


def test_ids_and_comments_that_are_yielded() -> None:
    assert encode_item({"id": 5, "data": "x"}) == encode(Event("x", id="5"))
    assert encode_item(Event("x", id=5)) == encode(Event("x", id="5"))  # type: ignore[arg-type]
    assert encode_item({"comment": "note"}) == comment("note")
    assert encode_item({"comment": "note", "data": "x"}) == comment("note") + encode(Event("x"))
    assert encode_item({"comment": None, "event": "bare"}) == encode(Event("", "bare"))
    assert encode_item({}) == encode(Event(""))


@pytest.mark.parametrize(
    ("item", "named"),
    [({"text": "sea"}, "'text'"), ({"comment": "a\nb"}, "comment"), ({"id": True}, "id"), ({5: 1}, "5")],
)
def test_what_a_yielded_dict_may_not_have_is_named(item: Any, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        encode_item(item)


@pytest.mark.parametrize("content", ["text", b"bytes", {"data": "x"}, Event("x"), 5, None, endless])
def test_content_that_is_not_an_iterable_of_events_is_refused(content: Any) -> None:
    with pytest.raises(TypeError, match="iterable of events"):
        EventStreamResponse(content)
