"""
The direct way: a plain publish from the socket to the log and back, without uvicorn's part in a request.

A publisher sends the same head again and again, and what a head means depends on
its bytes alone. So a head that came before, was read by uvicorn's parser and judged
by the hub is known, and its requests are served here at a quarter of the cost.

Rule 1: only what is known is served here, and only while nothing else is going on
        on the connection. Everything else goes to the parser, from its first byte.
Rule 2: one request at a time: what comes meanwhile waits until that is answered.
Rule 3: a head is known by all of its bytes but the digits of its Content-Length.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from functools import partial
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

# Heads that are remembered for each connection, and how long they may be: 8 KiB in all.
MAX_HEADS = 8
MAX_HEAD = 1024

# Bodies that are waited for if they do not come with their head: most clients send them apart.
MAX_AWAITED = 64 * 1024

END_OF_HEAD = b"\r\n\r\n"
# A line of its own: one that goes on from the line before it begins with a space.
CONTENT_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([0-9]{1,9})\r\n")
# What makes a request more than a head and a body of that length.
NOT_PLAIN = {b"expect", b"transfer-encoding", b"upgrade"}

FAULT = (
    500,
    [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21"), (b"connection", b"close")],
    b"Internal Server Error",
)


class Known:
    """The head of a plain publish, and the head of the answer to it."""

    __slots__ = ("_answer", "_defaults", "plain")

    def __init__(self, plain: Plain) -> None:
        self.plain = plain
        self._answer = b""
        self._defaults: Headers | None = None

    def answer(self, defaults: Headers) -> bytes:
        """Return the head up to the digits of its Content-Length; `defaults` are new ones every second."""
        if defaults is not self._defaults:
            self._defaults = defaults
            lines = [*defaults, *content_head(JSON, None), *self.plain.common, (b"content-length", b"")]
            self._answer = head_of(200, lines)
        return self._answer


class DirectWay:
    """
    The direct way of one connection.

    It is to `take` what comes while the parser has no request.
    """

    __slots__ = (
        "_answered_at",
        "_begun",
        "_busy",
        "_heads",
        "_held",
        "_last",
        "_learning",
        "_plain",
        "_protocol",
    )

    def __init__(self, protocol: StreamProtocol, plain: PlainPublishes) -> None:
        self._protocol: StreamProtocol | None = protocol
        self._plain = plain
        # Of heads that are not plain False, and of those that came once None: they may never come again.
        self._heads: dict[bytes, Known | bool | None] = {}
        self._learning: bytes | None = None  # the head that the parser is about to read
        self._begun = b""  # a request whose body has not come
        self._busy = False  # a publish is under way
        self._held: list[bytes] = []  # what came meanwhile
        self._last = False
        self._answered_at = -math.inf

    @property
    def idle_since(self) -> float:
        """When the last request was answered; now, while there is one."""
        assert self._protocol
        return self._protocol.loop.time() if self._busy or self._begun else self._answered_at

    # -- Requests.

    def take(self, data: bytes) -> bytes:
        """Serve `data`, or wait for what it lacks; return it if it is for the parser."""
        assert self._protocol
        if self._busy:
            self._held.append(data)
            self._protocol.flow.pause_reading()
            return b""
        # A body is waited for once: joined byte by byte it would cost its square.
        wait = not self._begun
        if self._begun:
            self._protocol.await_nothing()
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
            self._begun = data
            self._protocol.await_body()
            return b""
        return data

    def release(self) -> bytes:
        """Return the request whose body has not come: it is waited for elsewhere."""
        begun, self._begun = self._begun, b""
        return begun

    def stop(self) -> bool:
        """Let the publish under way be the last request; return whether there is one."""
        self._last = self._busy
        return self._last

    def lost(self) -> None:
        """Let go of the connection. A publish under way goes on; nobody hears its answer."""
        self._protocol = None
        self._begun = b""
        self._held.clear()

    # -- Heads.

    def _look_up(self, head: bytes) -> Known | None:
        known = self._heads.get(head, False)
        if known is None:
            self._learning = head
        elif known is False and head not in self._heads:
            if len(self._heads) >= MAX_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[head] = None
        return known if isinstance(known, Known) else None

    def learn(self) -> None:
        """Judge the head that the parser has just read, if it is one that came before."""
        head, self._learning = self._learning, None
        if head is not None:
            plain = self._judge(head)
            self._heads[head] = False if plain is None else Known(plain)

    def _judge(self, head: bytes) -> Plain | None:
        assert self._protocol
        scope: Any = self._protocol.scope
        names = {name for name, _ in scope["headers"]}
        # A bare LF might end the head for the parser, and not for us.
        if head.count(b"\n") != head.count(b"\r\n") or not NOT_PLAIN.isdisjoint(names):
            return None
        if scope["http_version"] != "1.1" or not self._protocol.parser.should_keep_alive():
            return None
        return self._plain.judge(scope)

    # -- Publishing.

    def _publish(self, known: Known, body: bytes) -> bool:
        protocol = self._protocol
        assert protocol
        if protocol.flow.write_paused:
            return False
        outcome = self._plain.submit(known.plain, body)
        if outcome is None:
            return False
        protocol.await_nothing()
        self._busy = True
        if outcome.done():
            self._answer(known, outcome)
        else:
            outcome.add_done_callback(partial(self._answer, known))
        return True

    def _answer(self, known: Known, outcome: asyncio.Future[list[Receipt]]) -> None:
        self._busy = False
        protocol = self._protocol
        if protocol is None or protocol.transport.is_closing():
            outcome.cancelled() or outcome.exception()  # nobody is there to hear it
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

    def _problem(self, known: Known, error: BaseException) -> tuple[int, Headers, bytes]:
        if isinstance(error, TidewireError):
            return self._plain.problem(known.plain, error)
        assert self._protocol
        self._protocol.logger.error("Exception in a publish\n", exc_info=error)
        return FAULT


def head_of(status: int, headers: Headers) -> bytes:
    """Return the head of an answer, without the end of its last line."""
    first = b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())
    return b"\r\n".join([first, *(b"%b: %b" % header for header in headers)])


def direct_way(protocol: StreamProtocol, app: Any) -> DirectWay | None:
    """Return the direct way where `app` is a hub and nothing else would see the requests."""
    if isinstance(app, ProxyHeadersMiddleware):
        app = app.app  # it changes what a publish does not look at
    logged = protocol.access_log and protocol.access_logger.isEnabledFor(logging.INFO)
    if not isinstance(app, HubApp) or logged or protocol.limit_concurrency is not None:
        return None
    return DirectWay(protocol, app.plain)
