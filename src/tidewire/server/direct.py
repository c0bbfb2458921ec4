"""
The fast path: a plain publish goes from the socket to the log and back, without uvicorn.

A publisher sends the same head again and again, and the meaning of a head depends on
its bytes alone. So once uvicorn's parser has read a head and the hub has judged it,
the head is known, and requests with it are served here at a quarter of the cost.

Rule 1: only requests with a known head are served here, and only while the connection
        has no other request. All others go to the parser, from their first byte.
Rule 2: one request at a time: what comes during a request waits for its response.
Rule 3: a head is known by all its bytes except the digits of its Content-Length.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ..errors import TidewireError
from ..http.answers import content_head
from ..http.app import HubApp
from ..http.asgi import Headers
from ..http.plain import Plain, PlainPublishes
from ..http.reply import JSON
from ..log.entries import Receipt

if TYPE_CHECKING:
    from .protocol import StreamProtocol

# Heads to remember for each connection, and the bytes that one may have: 8 KiB in all.
MAX_HEADS = 8
MAX_HEAD = 1024

# The largest body to wait for if it does not come with its head: most clients send them separately.
MAX_AWAITED = 64 * 1024

END_OF_HEAD = b"\r\n\r\n"
# A whole line: a line that continues the one before it begins with a space.
CONTENT_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([0-9]{1,9})\r\n")
# With one of these a request is more than a head and a body of known length.
NOT_PLAIN = {b"expect", b"transfer-encoding", b"upgrade"}

FAULT = (
    500,
    [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21"), (b"connection", b"close")],
    b"Internal Server Error",
)


class KnownHead:
    """The head of a plain publish, and the head of the response to it."""

    __slots__ = ("_answer", "_defaults", "plain")

    def __init__(self, plain: Plain) -> None:
        self.plain = plain
        self._answer = b""
        self._defaults: Headers | None = None

    def answer(self, defaults: Headers) -> bytes:
        """Return the head up to the digits of its Content-Length. `defaults` are replaced every second."""
        if defaults is not self._defaults:
            self._defaults = defaults
            lines = [*defaults, *content_head(JSON, None), *self.plain.common, (b"content-length", b"")]
            self._answer = head_of(200, lines)
        return self._answer


class FastPath:
    """
    The fast path of one connection.

    `take` gets the data that arrives while the parser has no request.
    """

    __slots__ = (
        "_answered_at",
        "_heads",
        "_held",
        "_last",
        "_learning",
        "_partial",
        "_plain",
        "_protocol",
        "_published",
    )

    def __init__(self, protocol: StreamProtocol, plain: PlainPublishes) -> None:
        self._protocol: StreamProtocol | None = protocol
        self._plain = plain
        # None for a head that came once, since it may never come again; False if it is not plain.
        self._heads: dict[bytes, KnownHead | bool | None] = {}
        self._learning: bytes | None = None  # the head that the parser is about to read
        self._partial = b""  # a request whose body is awaited
        self._published: KnownHead | None = None  # the head of a publish that is in progress
        self._held: list[bytes] = []  # data that came during a publish
        self._last = False
        self._answered_at = -math.inf

    @property
    def idle_since(self) -> float:
        """The time of the last response, or now if there is a request."""
        assert self._protocol
        return self._protocol.loop.time() if self._published or self._partial else self._answered_at

    # -- requests

    def take(self, data: bytes) -> bytes:
        """Serve `data`, or wait for the rest of it. Return what is for the parser."""
        assert self._protocol
        if self._published is not None:
            self._held.append(data)
            self._protocol.flow.pause_reading()
            return b""
        # Wait for a body only once: joining it byte by byte would take quadratic time.
        wait = not self._partial
        if self._partial:
            self._protocol.clear_deadline()
            data = self.release() + data
        if not data.startswith(b"POST "):
            return data
        end = data.find(END_OF_HEAD, 0, MAX_HEAD) + len(END_OF_HEAD)
        found = CONTENT_LENGTH.search(data, 0, end)
        if found is None:
            return data
        first, last = found.span(1)
        known = self._look_up(data[:first] + data[last:end])
        if known is None:
            return data
        size = int(data[first:last])
        missing = end + size - len(data)
        if missing == 0 and self._publish(known, data[end:]):
            return b""
        if wait and missing > 0 and size <= MAX_AWAITED:
            self._partial = data
            self._protocol.expect_body()
            return b""
        return data

    def release(self) -> bytes:
        """Return and forget the request whose body is awaited; the caller takes care of it."""
        request, self._partial = self._partial, b""
        return request

    def stop(self) -> bool:
        """Make the publish in progress the last request. Return whether there is one."""
        self._last = self._published is not None
        return self._last

    def lost(self) -> None:
        """Release the connection. A publish in progress continues, but its response is not sent."""
        self._protocol = None
        self._partial = b""
        self._held.clear()

    # -- heads

    def _look_up(self, head: bytes) -> KnownHead | None:
        known = self._heads.get(head, False)
        if known is None:
            self._learning = head
        elif known is False and head not in self._heads:
            if len(self._heads) >= MAX_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[head] = None
        return known if isinstance(known, KnownHead) else None

    def learn(self) -> None:
        """Judge the head that the parser has just read, if it came before."""
        head, self._learning = self._learning, None
        if head is not None:
            plain = self._judge(head)
            self._heads[head] = False if plain is None else KnownHead(plain)

    def _judge(self, head: bytes) -> Plain | None:
        assert self._protocol
        scope: Any = self._protocol.scope
        names = {name for name, _ in scope["headers"]}
        # The parser might end the head at a bare LF; this file does not.
        if head.count(b"\n") != head.count(b"\r\n") or not NOT_PLAIN.isdisjoint(names):
            return None
        if scope["http_version"] != "1.1" or not self._protocol.parser.should_keep_alive():
            return None
        return self._plain.judge(scope)

    # -- publishing

    def _publish(self, known: KnownHead, body: bytes) -> bool:
        protocol = self._protocol
        assert protocol
        if protocol.flow.write_paused:
            return False
        outcome = self._plain.submit(known.plain, body)
        if outcome is None:
            return False
        protocol.clear_deadline()
        self._published = known
        if outcome.done():
            self._answer(outcome)
        else:
            outcome.add_done_callback(self._answer)
        return True

    def _answer(self, outcome: asyncio.Future[list[Receipt]]) -> None:
        known, self._published = self._published, None
        assert known
        protocol = self._protocol
        if protocol is None or protocol.transport.is_closing():
            outcome.cancelled() or outcome.exception()  # mark it as retrieved; the client is gone
            return
        defaults = protocol.server_state.default_headers
        try:
            body = self._plain.receipt(outcome)
        except (Exception, asyncio.CancelledError) as error:
            self._last = True
            status, headers, body = self._problem(known, error)
            protocol.transport.write(head_of(status, [*defaults, *headers]) + b"\r\n\r\n" + body)
        else:
            close = b"connection: close\r\n" if self._last else b""
            head = known.answer(defaults)
            protocol.transport.write(b"%b%d\r\n%b\r\n%b" % (head, len(body), close, body))
        self._answered_at = protocol.loop.time()
        protocol.answered(self._last)
        if self._held and not self._last:
            held, self._held = b"".join(self._held), []
            protocol.flow.resume_reading()
            protocol.data_received(held)

    def _problem(self, known: KnownHead, error: BaseException) -> tuple[int, Headers, bytes]:
        if isinstance(error, TidewireError):
            return self._plain.problem(known.plain, error)
        assert self._protocol
        self._protocol.logger.error("Exception in a publish\n", exc_info=error)
        return FAULT


def head_of(status: int, headers: Headers) -> bytes:
    """Return the head of a response, without the end of its last line."""
    first = b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())
    return b"\r\n".join([first, *(b"%b: %b" % header for header in headers)])


def fast_path(protocol: StreamProtocol, app: Any) -> FastPath | None:
    """Return the fast path, or None if `app` is not a hub or something else must see its requests."""
    hub = hub_app(app)
    logged = protocol.access_log and protocol.access_logger.isEnabledFor(logging.INFO)
    if hub is None or logged or protocol.limit_concurrency is not None:
        return None
    return FastPath(protocol, hub.plain)


def hub_app(app: Any) -> HubApp | None:
    """Return the hub that `app` is, or None."""
    if isinstance(app, ProxyHeadersMiddleware):
        app = app.app  # it changes only what a publish does not use
    return app if isinstance(app, HubApp) else None
