"""
A client that drives an ASGI program in this process and reads endless streams.

    async with client(app) as c, c.sse("/orders/7/events") as events:
        await c.post("/orders/7/pay")
        event = await events.next(timeout=1)

`TestClient` and `httpx.ASGITransport` wait for the end of a response before they return it. This one
returns its head at once and its body as it comes, with the waits of a socket: a program that sends more
than is read has to wait, and learns that its client has left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Self

import httpx2

from ..delivery.tasks import start
from ..errors import StartRefused, StreamRefused
from ..event_stream import Decoder, Event
from ..items import NOT_YIELDED, typed

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[Any]]

# Bytes that a program may send ahead of its reader, as on a server.
ROOM = 64 * 1024
# Seconds that a program has to end a response whose client has left, before it is cancelled.
GRACE = 5.0
# Seconds that `next` and `rest` wait if nothing else is said.
TIMEOUT = 5.0


class Client(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` of an ASGI program, with `sse` for streams. Get it by `client`."""

    def __init__(self, app: App, base_url: str, headers: Mapping[str, str] | None) -> None:
        self._lifespan = Lifespan(app)
        super().__init__(transport=Transport(app, self._lifespan.state), base_url=base_url, headers=headers)

    async def __aenter__(self) -> Self:
        await self._lifespan.start()
        return await super().__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        await self._lifespan.stop()

    @contextlib.asynccontextmanager
    async def sse(  # type: ignore[override]  # httpx2's own has other events and no deadlines
        self, url: str, *, method: str = "GET", last_event_id: str | None = None, **options: Any
    ) -> AsyncIterator[Events]:
        """
        Open a stream, and leave it at the end of the block.

        `options` are those of a request: `headers`, `params`, `json`, … What the program raises before the
        stream begins is raised here.
        """
        headers = httpx2.Headers(options.pop("headers", None))
        headers.setdefault("Accept", "text/event-stream")
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        async with self.stream(method, url, headers=headers, **options) as response:
            yield Events(response)


def client(
    app: App, *, base_url: str = "http://127.0.0.1", headers: Mapping[str, str] | None = None
) -> Client:
    """
    Return a client of any ASGI program, to be entered by `async with`, which runs the program's lifespan.

    It is an `httpx2.AsyncClient`, so `await c.post("/path", json=…)` and the like are there too. `headers`
    are sent with every request. Raises what the program raises.
    """
    return Client(app, base_url, headers)


class Events(AsyncIterator[Event]):
    """
    The events of an open stream. Iterating over it waits without a limit; `next` and `rest` do not.

    A hub's `hub.gap` comes as `Gap`, its `hub.end` as `End`; `hub.position` only moves `last_event_id`.
    `response` has the status and the headers.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._decoder = Decoder()
        self._items: deque[Event] = deque()
        self._chunks = response.aiter_raw()
        self._reading: asyncio.Task[bytes | None] | None = None
        self.last_event_id = ""

    async def next(self, timeout: float = TIMEOUT) -> Event:
        """
        Return the next event.

        Raises `TimeoutError` if none comes in `timeout` seconds, `EOFError` if the stream has ended,
        `StreamRefused` if the response is no stream, and what the program raised.
        """
        try:
            async with asyncio.timeout(timeout):
                return await anext(self)
        except TimeoutError:
            raise TimeoutError(f"no event within {timeout:g} s") from None
        except StopAsyncIteration:
            raise EOFError("the stream has ended") from None

    async def rest(self, timeout: float = TIMEOUT) -> list[Event]:
        """Return all events until the stream ends. Raises `TimeoutError` if it does not end in time."""
        found: list[Event] = []
        try:
            async with asyncio.timeout(timeout):
                async for event in self:
                    found.append(event)
        except TimeoutError:
            raise TimeoutError(f"{len(found)} events and no end within {timeout:g} s") from None
        return found

    async def __anext__(self) -> Event:
        await self._check()
        while True:
            while self._items:
                item = self._items.popleft()
                self.last_event_id = item.id or ""
                if item.event not in NOT_YIELDED:
                    return item
            chunk = await self._chunk()
            if chunk is None:
                raise StopAsyncIteration
            self._items += map(typed, self._decoder.feed(chunk))

    async def _chunk(self) -> bytes | None:
        # In a task: a wait that times out must not end the iterator of the body.
        if self._reading is None:
            self._reading = start(self._read())
        chunk = await asyncio.shield(self._reading)
        self._reading = None
        return chunk

    async def _read(self) -> bytes | None:
        return await anext(self._chunks, None)

    async def _check(self) -> None:
        response = self.response
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code != 200 or kind != "text/event-stream":
            await response.aread()
            answer = f"{response.status_code} {kind}".strip()
            raise StreamRefused(f"the answer is not a stream: {answer}: {response.text[:500]}")


class Transport(httpx2.AsyncBaseTransport):
    """Runs `app` for each request; `state` is that of its lifespan."""

    def __init__(self, app: App, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        scope = {
            "type": "http",
            # As uvicorn: with 2.4, Starlette would notice only at its next `send` that the client has left.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 50_000),
            "server": (request.url.host, request.url.port or 80),
            "state": self._state.copy(),
        }
        exchange = Exchange(await request.aread())
        await exchange.begin(self._app, scope)
        return httpx2.Response(exchange.status, headers=exchange.headers, stream=exchange)


class Exchange(httpx2.AsyncByteStream):
    """One request with this `body`, and the body of its response as the program sends it."""

    def __init__(self, body: bytes) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | None = body
        self._chunks: deque[bytes] = deque()
        self._over = False  # the program has sent everything
        self._left = asyncio.Event()  # the client has left
        self._changed = asyncio.Condition()

    async def begin(self, app: App, scope: Message) -> None:
        """Run the program; return once the head of the response is here. Raises what the program raises."""
        self._task = start(self._run(app, scope))
        try:
            await self._wait(lambda: self.status or self._task.done())
            if not self.status:
                self._task.result()
                raise RuntimeError("the program returned without a response")
        except BaseException:
            await self.aclose()
            raise

    async def _run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._over = True
            # A waiting caller must see that this task is done.
            asyncio.get_running_loop().call_soon(lambda: start(self._notify()))

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self._chunks.append(bytes(message.get("body", b"")))
            self._over = not message.get("more_body", False)
        await self._notify()
        await self._wait(lambda: self._left.is_set() or sum(map(len, self._chunks)) < ROOM)
        # A program that only sends would otherwise keep everything else from running.
        await asyncio.sleep(0)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, ready: Callable[[], Any]) -> None:
        async with self._changed:
            await self._changed.wait_for(ready)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await self._wait(lambda: self._chunks or self._over)
            if not self._chunks:
                break
            chunk = self._chunks.popleft()
            await self._notify()
            if chunk:
                yield chunk
        if self._task.done():
            self._task.result()

    async def aclose(self) -> None:
        """Leave, and wait until the program has ended its part. Raises what it raises."""
        self._left.set()
        await self._notify()
        await asyncio.wait([self._task], timeout=GRACE)
        if not self._task.done():
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class Lifespan:
    """The lifespan of a program, if it has one; `state` is what it gives its requests."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the program. Raises `StartRefused` if it says that it cannot."""
        self._task = start(self._run())
        await self._ask("lifespan.startup")

    async def stop(self) -> None:
        await self._ask("lifespan.shutdown")
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        failure = ""
        try:
            await self._app(scope, self._messages.get, self._answers.put)
        except Exception as error:
            failure = repr(error)
        # A program without a lifespan raises or returns at once; that is allowed.
        await self._answers.put({"type": "", "message": failure})

    async def _ask(self, what: str) -> None:
        if self._task is None or self._task.done():
            return
        await self._messages.put({"type": what})
        answer = await self._answers.get()
        if answer["type"] == f"{what}.failed":
            raise StartRefused(answer.get("message") or f"the program failed: {what}")
