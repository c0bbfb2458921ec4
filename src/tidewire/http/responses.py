"""
Responses for programs: ASGI callables that are Starlette responses too where Starlette is installed,
so that FastAPI takes them as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING

from ..delivery.stopping import drains_of_loop
from ..errors import TidewireError
from ..settings import Settings
from .answers import problem, stream_head
from .asgi import Headers, Receive, Scope, Send
from .generator import GeneratorStream, Item
from .offer import offer_in

if TYPE_CHECKING:
    Base = object
else:
    try:
        from starlette.responses import Response as Base
    except ImportError:
        Base = object


class AsgiResponse(Base):
    """The least that a Starlette response is; `headers` may be added to before it is sent."""

    def __init__(self, status_code: int = 200, headers: Headers | None = None) -> None:
        self.status_code = status_code
        self.background = None
        self.body = b""
        self.raw_headers = headers or []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class ProblemResponse(AsgiResponse):
    """The answer to a request for a stream that is not possible."""

    def __init__(self, error: TidewireError) -> None:
        status, headers, self._content = problem(error, publish=False)
        super().__init__(status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._content})


class EventStreamResponse(AsgiResponse):
    """
    A stream without a log, straight from a generator.

        return EventStreamResponse(ticks())

    `content`: an async or sync iterable that yields `Event`, `str` (its data)
    or `dict` (the fields of an `Event`; data that is no text becomes JSON).
    It gets the head, heartbeat, drain and bounds of a hub's streams. When the
    client leaves, an async generator is closed within a second and a sync one
    at its next `yield`; a sync one runs in a thread of its own. If it raises,
    the stream ends with a `hub.error` event. `max_age`: seconds after which it
    is ended; None for no end. Raises `TypeError` where `content` is not such
    an iterable.
    """

    media_type = "text/event-stream"
    settings = (
        Settings()
    )  # a subclass may have others: `retry`, `heartbeat`, `drain` and `send_timeout` count

    def __init__(
        self,
        content: AsyncIterable[Item] | Iterable[Item],
        *,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        max_age: float | None = None,
    ) -> None:
        # A text iterates too, by its characters; and a function is easily passed without its call.
        if isinstance(content, (str, bytes, Mapping)) or not isinstance(content, (AsyncIterable, Iterable)):
            raise TypeError(
                f"content is an iterable of events, such as a generator, not {type(content).__name__}"
            )
        extra = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]
        replaced = {name for name, _ in extra}
        head = stream_head("1.1", self.settings.heartbeat)
        super().__init__(status_code, [item for item in head if item[0] not in replaced] + extra)
        self._content = content
        self._max_age = max_age

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope.get("http_version", "1.1").startswith("1"):
            self.raw_headers = [item for item in self.raw_headers if item[0] != b"connection"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._stream(scope, receive, send)
        if self.background is not None:
            await self.background()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = GeneratorStream(self._content, self.settings, self._max_age, send)
        offer = offer_in(scope)
        if offer is not None:
            offer.on_stopping(drains_of_loop().start_drain)
        await stream.run(receive)
