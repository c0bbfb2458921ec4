"""
Responses for programs: ASGI callables. If Starlette is installed they are Starlette responses too,
so FastAPI accepts them as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any

from ..data import Encoder
from ..delivery.stopping import drains_of_loop
from ..errors import TidewireError
from ..settings import Settings
from .answers import problem, stream_head
from .asgi import Headers, Receive, Scope, Send
from .generator import GeneratorStream, Item
from .offer import finish_cut, offer_in
from .origins import VARY_ORIGIN

try:
    from starlette.responses import Response as Base
except ImportError:
    Base = object  # type: ignore[assignment, misc]

# What runs after a response; Starlette's `BackgroundTask` and `BackgroundTasks` are such.
Background = Callable[[], Awaitable[None]]


class AsgiResponse(Base):
    """What FastAPI needs of a Starlette response. Headers may be added before it is sent."""

    # FastAPI sets it to the tasks of the route.
    background: Any

    def __init__(
        self, status_code: int = 200, headers: Headers | None = None, background: Background | None = None
    ) -> None:
        self.status_code = status_code
        self.background = background
        self.body = b""
        self.raw_headers = headers or []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    async def run_background(self) -> None:
        if self.background is not None:
            await self.background()


class NothingResponse(AsgiResponse):
    """The response that says that there is nothing to stream."""

    def __init__(self) -> None:
        super().__init__(204, [(b"cache-control", b"no-store"), *VARY_ORIGIN])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})
        await self.run_background()


class ProblemResponse(AsgiResponse):
    """The response to a request that is refused; `publish`: whether it would have changed something."""

    def __init__(self, error: TidewireError, *, publish: bool = False) -> None:
        status, headers, self._content = problem(error, publish=publish)
        super().__init__(status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._content})
        await self.run_background()


class EventStreamResponse(AsgiResponse):
    """
    A stream without a log, straight from a generator.

        return EventStreamResponse(ticks())

    `content`: an async or sync iterable that yields `Event`, `str` (the data) or
    `dict` (the fields of an `Event`; data that is not text becomes JSON). The
    stream has the headers, heartbeat, drain and limits of a hub's streams. When
    the client disconnects, an async generator is closed within a second, and a
    sync one, which runs in its own thread, at its next `yield`. If it raises, even
    `SystemExit`, the stream ends with a `hub.error` event. A server that stops waits
    3 seconds for it. `max_age`: seconds after which the stream
    is cut off; None for no limit. Only the generator's own end ends the body properly:
    after an error, at `max_age` and when the server stops the connection is cut.
    `control=False` leaves `hub.error` out. The other arguments are those of a Starlette
    response, and FastAPI takes the class as the `response_class` of an endpoint that yields.
    Raises `TypeError` if `content` is not an iterable of events.
    """

    media_type = "text/event-stream"
    # A subclass may have others. Only `retry`, `heartbeat`, `drain` and `send_timeout` are used.
    settings = Settings()
    # As that of `Hub(encoder=…)`.
    encoder: Encoder | None = None

    def __init__(
        self,
        content: AsyncIterable[Item] | Iterable[Item],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Background | None = None,
        *,
        max_age: float | None = None,
        control: bool = True,
    ) -> None:
        # A str is an iterable too, and it is easy to pass a function without calling it.
        if isinstance(content, (str, bytes, Mapping)) or not isinstance(content, (AsyncIterable, Iterable)):
            raise TypeError(
                f"content must be an iterable of events, such as a generator, not {type(content).__name__}"
            )
        if media_type is not None:
            self.media_type = media_type
        given = {
            "content-type": self.media_type,
            **{name.lower(): text for name, text in (headers or {}).items()},
        }
        extra = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in given.items()]
        replaced = {name for name, _ in extra}
        head = stream_head("1.1", self.settings.heartbeat, plain=True)
        super().__init__(status_code, [item for item in head if item[0] not in replaced] + extra, background)
        self._content = content
        self._max_age = max_age
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (version := scope.get("http_version", "1.1")) != "1.1":
            kept = [item for item in self.raw_headers if item[0] != b"connection"]
            self.raw_headers = [*kept, (b"connection", b"close")] if version == "1.0" else kept
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        must_cut = False
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        else:
            must_cut = await self._stream(scope, receive, send)
        await self.run_background()
        if must_cut:
            await finish_cut(offer_in(scope))

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Send the whole stream. Return whether its connection must be cut."""
        # Of the class: as an attribute of the object a function would be a method.
        encoder, path, control = type(self).encoder, scope["path"], self._control
        stream = GeneratorStream(self._content, self.settings, self._max_age, path, send, control, encoder)
        offer = offer_in(scope)
        if offer is not None:
            offer.on_stopping(drains_of_loop().start_drain)
        return await stream.run(receive)
