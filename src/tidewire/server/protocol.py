"""
uvicorn's HTTP protocol with what it lacks: deadlines, limits, and the takeover of streams.

Rule 1: a connection that owes us a head or a body has exactly one deadline.
Rule 2: after something that breaks the rules of HTTP, nothing on that
        connection is read as a request any more.
Rule 3: a stream is taken over only while its request is alone on its
        connection; otherwise it stays with uvicorn, and stays whole.

Any program gets it by `uvicorn main:app --http tidewire.server.protocol:StreamProtocol`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NoReturn, Self, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..delivery.subscriber import END_TIMEOUT
from ..settings import Settings
from .direct import DirectWay, direct_way
from .lingering import Lingering
from .socket_wire import SWALLOW_LIMIT
from .takeover import StreamOffer

logger = logging.getLogger("tidewire.server")

# The takeover reaches into the bookkeeping of one request, which is nobody's
# public interface: it is done only on the minor versions it was tested with.
TESTED_UVICORN = {"0.54"}

DEFAULTS = Settings()
LIMITS = ("head_timeout", "body_timeout", "max_head_bytes", "max_headers", "max_url_bytes")

# Bytes per second below which a body is a slow attack and not a slow network.
MIN_BODY_RATE = 500

# Requests of one connection that may wait for their turn. uvicorn stops reading at
# the first of them, but the 256 KB read until then hold 9,000, each some KB of objects.
MAX_PIPELINE = 256

# Spaces and line ends of a head are counted only while it is not complete.
HEAD_SLACK = 1024

UPGRADE = {b"upgrade", b"http2-settings"}

HEAD = object()  # in place of a cycle: what is awaited belongs to none yet


def tested(version: str) -> bool:
    """Whether the takeover was tested on this version of uvicorn."""
    return ".".join(version.split(".")[:2]) in TESTED_UVICORN


TAKEOVER = tested(uvicorn.__version__)
if not TAKEOVER:
    logger.warning("uvicorn %s is untested here: streams stay on the portable way", uvicorn.__version__)


class RefusedRequest(Exception):
    """The request gets this answer, and its connection is closed."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class StreamProtocol(HttpToolsProtocol):
    """
    A connection of our own server.

    Every request finds `scope["extensions"]["tidewire.stream"]`, a `StreamOffer`.
    The limits are rows of `settings`.
    """

    head_timeout: float = DEFAULTS.head_timeout
    body_timeout: float = DEFAULTS.body_timeout
    max_head_bytes: int = DEFAULTS.max_head_bytes
    max_headers: int = DEFAULTS.max_headers
    max_url_bytes: int = DEFAULTS.max_url_bytes

    @classmethod
    def configured(cls, settings: Settings) -> type[Self]:
        """Return this protocol with the limits of `settings`."""
        return type(cls.__name__, (cls,), {name: getattr(settings, name) for name in LIMITS})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A parser of our own, without uvicorn's leniency: what follows a request
        # that said `Connection: close` is not read as another one.
        self.parser = httptools.HttpRequestParser(self)
        self._inner: Any = self.app
        self._direct: DirectWay | None = None
        if TAKEOVER:
            self._direct = direct_way(self, self.app)
            self.app = cast(Any, self._run)
        self._offer: StreamOffer | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited: object = None  # HEAD, the cycle whose body has not come, or None
        self._refused: RefusedRequest | None = None
        self._deaf = False  # reads nothing any more; what it has read is still answered
        self._swallowed = 0
        self._unparsed = 0  # bytes of a head that is not complete
        self._in_head = False
        self._head_bytes = 0
        self._hosts = 0
        self._upgrade_ignored = False
        self._ingest = False
        self._body_bytes = 0
        self._body_judged = 0

    # -- The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.await_nothing()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._offer = None
        self._forget_direct()
        self.app = self._inner

    def shutdown(self) -> None:
        if self._direct is not None:
            if self._direct.stop():
                return
            if begun := self._direct.release():
                self._parse(begun)
        if self._idle:
            self._close()
            return
        super().shutdown()
        if self._offer is not None:
            self._offer.stop()

    def timeout_keep_alive_handler(self) -> None:
        # On the direct way the timer is not set anew with every request: that costs more than the publish.
        since = -math.inf if self._direct is None else self._direct.idle_since
        left = since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            self._close()

    def only(self, cycle: Any) -> bool:
        """Whether the request of `cycle` is complete, alive, and alone on the connection."""
        return (
            self.cycle is cycle
            and not (cycle.more_body or cycle.disconnected)
            and not (self.pipeline or self._in_head or self._deaf)
            and not self.transport.is_closing()
        )

    def hand_over(self) -> None:
        """Count the request as done and leave the connection to another protocol."""
        self.server_state.total_requests += 1
        self.cycle.response_complete = True
        self._leave()

    def _leave(self) -> None:
        """Let go of the connection and of the request: the parser and the task are freed."""
        self.await_nothing()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.pipeline.clear()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # A paused transport never reports the peer's close.
        self.flow.resume_reading()
        self.flow.resume_writing()
        self.parser = cast(Any, None)
        self._forget_direct()
        self.app = self._inner

    def _forget_direct(self) -> None:
        if self._direct is not None:
            self._direct.lost()
            self._direct = None

    def _close(self) -> None:
        self.await_nothing()
        self.transport.close()
        self.loop.call_later(END_TIMEOUT, self.transport.abort)  # TLS would wait 30 s for the peer's goodbye

    def _linger(self) -> None:
        self._leave()
        Lingering(self.transport, self.connections)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    # -- The request.

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        """The app, as uvicorn calls it: what `send` passes on is seen after all middleware."""
        # Its own cycle: `self.cycle` may be that of a pipelined request by now.
        cycle = send.__self__
        offer = self._offer = StreamOffer(self, cycle, send)
        scope.setdefault("extensions", {})["tidewire.stream"] = offer
        try:
            await self._inner(scope, receive, offer.send if offer.needed else send)
        finally:
            offer.close()
            if self._offer is offer:
                self._offer = None
            if cycle.response_started and not cycle.response_complete:
                # uvicorn closes now, and would wait for a reader that takes nothing any more.
                self.loop.call_later(END_TIMEOUT, self.transport.abort)

    def on_response_complete(self) -> None:
        last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            self.await_nothing()
        elif last and (self._deaf or self.cycle.more_body):
            self._linger()
        elif self.timeout_keep_alive_task is not None and not self._in_head:
            self.await_nothing()  # uvicorn's own timer runs between requests
        else:
            self._unset_keepalive_if_required()
            self._watch()

    # -- The direct way.

    def await_body(self) -> None:
        """Have the deadline of a body that the direct way waits for."""
        self.await_nothing()
        self._deadline = self.loop.call_later(self.body_timeout, self._direct_body_late)

    def answered(self, last: bool) -> None:
        """Count a request of the direct way, and wait for the next one unless it was the last."""
        self.server_state.total_requests += 1
        if last:
            self._close()
        elif self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _direct_body_late(self) -> None:
        """Let the late body be refused where all late ones are."""
        if self._direct is not None:
            self._parse(self._direct.release())
            self.await_nothing()
            self._body_late()

    # -- Deadlines.

    def _watch(self) -> None:
        """Have the one deadline that is needed now. It does not begin anew with every byte."""
        if self._idle:
            awaited: object = HEAD
        else:
            awaited = self.cycle if self.cycle.more_body else None
        if awaited is self._awaited:
            return
        self.await_nothing()
        self._awaited = awaited
        if awaited is HEAD:
            self._deadline = self.loop.call_later(self.head_timeout, self._head_late)
        elif awaited is not None:
            self._body_judged = 0
            self._deadline = self.loop.call_later(self.body_timeout, self._body_late)

    def await_nothing(self) -> None:
        """End the deadline: what it was for has come."""
        self._awaited = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_late(self) -> None:
        if self._in_head:
            self._refuse(RefusedRequest(408, "request_timeout", "the head took too long"))
        else:
            self._close()

    def _body_late(self) -> None:
        came = self._body_bytes - self._body_judged
        self._body_judged = self._body_bytes
        # An ingest may be as slow as its events: there the app judges each line.
        enough = 1 if self._ingest else MIN_BODY_RATE * self.body_timeout
        if came >= enough or self.flow.read_paused:
            self._deadline = self.loop.call_later(self.body_timeout, self._body_late)
        else:
            self._refuse(RefusedRequest(408, "request_timeout", "the body took too long"))

    # -- Parsing.

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._swallow(data)
            return
        if self._direct is not None and self._idle and not self._in_head:
            data = self._direct.take(data)
            if not data:
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        # If a head goes on beyond `data`, all of that belongs to it, unless another request ends there.
        begun = self._in_head or self._idle
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(
                self._refused or RefusedRequest(400, "invalid_request", "malformed HTTP/1.1 request")
            )
            return
        if self.transport.get_protocol() is not self:
            return  # a WebSocket of the program's by now
        self._unparsed = self._unparsed + len(data) if self._in_head and begun else 0
        if self._unparsed > self.max_head_bytes + HEAD_SLACK:
            self._refuse(self._head_too_large())
        else:
            self._watch()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.await_nothing()
                self.handle_websocket_upgrade()
            else:
                # A server may ignore an upgrade it does not know; Java's client asks for h2c
                # with every request. The parser cannot: it would skip the body.
                data = self._without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.feed_data(data)

    def _without_upgrade(self) -> bytes:
        """Return the head just parsed, as if it had not asked for an upgrade."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in UPGRADE)
            if name not in UPGRADE:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINE:
            self._fail(400, "too_many_requests", f"more than {MAX_PIPELINE} requests wait on this connection")
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._hosts = self._body_bytes = 0
        self._upgrade_ignored = self._ingest = False

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head_bytes += len(url)
        if len(self.url) > self.max_url_bytes:
            self._fail(414, "url_too_long", f"a URL may have {self.max_url_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.max_head_bytes or len(self.headers) >= self.max_headers:
            raise self._note(self._head_too_large())
        # Else it is a trailer. uvicorn has those join the headers, after they were judged.
        if self._in_head:
            self.headers.append((name, value))
            if name in HEADER_CHECKS:
                HEADER_CHECKS[name](self, value.strip().lower())

    def _check_host(self, value: bytes) -> None:
        self._hosts += 1

    def _check_expect(self, value: bytes) -> None:
        if value != b"100-continue":
            self._fail(417, "unknown_expectation", "only 100-continue can be expected")
        self.expect_100_continue = True

    def _check_transfer_encoding(self, value: bytes) -> None:
        # The parser lets `gzip, chunked` pass, and any on HTTP/1.0, where RFC 9112 calls it faulty.
        if value != b"chunked" or self.parser.get_http_version() != "1.1":
            self._fail(400, "invalid_request", "the one transfer coding is chunked, on HTTP/1.1")

    def _check_content_type(self, value: bytes) -> None:
        self._ingest = value.startswith(b"application/x-ndjson")

    def on_headers_complete(self) -> None:
        self._in_head = False
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._fail(505, "version_not_supported", "this server speaks HTTP/1.1 and HTTP/1.0")
        if self._hosts > 1 or (version == "1.1" and not self._hosts):
            self._fail(400, "invalid_host", "an HTTP/1.1 request has one Host header")
        if self.parser.get_method() == b"CONNECT":
            self._fail(405, "method_not_allowed", "this is no proxy")
        self._upgrade_ignored = self.parser.should_upgrade() and not self._should_upgrade()
        if not self._upgrade_ignored:
            super().on_headers_complete()
        if self._direct is not None:
            self._direct.learn()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._upgrade_ignored:
            super().on_message_complete()

    # -- Refusing.

    def _note(self, refused: RefusedRequest) -> RefusedRequest:
        """Keep what a callback raises: the parser passes on only that something was raised."""
        self._refused = refused
        return refused

    def _fail(self, status: int, code: str, detail: str) -> NoReturn:
        raise self._note(RefusedRequest(status, code, detail))

    def _head_too_large(self) -> RefusedRequest:
        what = f"a head may have {self.max_head_bytes} bytes and {self.max_headers} headers"
        return RefusedRequest(431, "head_too_large", what)

    def _refuse(self, refused: RefusedRequest) -> None:
        """Answer, if an answer can still be given, and read no request on this connection any more."""
        logger.debug("refused: %d %s", refused.status, refused.code)
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if not self._idle and (self.pipeline or not cycle.more_body):
            self._go_deaf()
            return
        if self._idle or not cycle.response_started:
            self.transport.write(self._answer(refused))
        self._linger()

    def _go_deaf(self) -> None:
        """Answer the requests that came whole, and then close."""
        if self.cycle.more_body:  # half a request, and not its turn yet
            self.pipeline.popleft()
            self.cycle.response_complete = True
        self._deaf = True
        self.await_nothing()

    def _answer(self, refused: RefusedRequest) -> bytes:
        title = HTTPStatus(refused.status).phrase
        problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": refused.status}
        problem |= {"code": refused.code, "detail": refused.detail}
        if self.parser.get_method() == b"POST" and not self._ingest:
            problem["stored"] = False
        body = json.dumps(problem).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        head = [b"HTTP/1.1 %d %b" % (refused.status, title.encode())]
        head += [b"%b: %b" % header for header in headers]
        return b"\r\n".join([*head, b"", body])

    def _swallow(self, data: bytes) -> None:
        self._swallowed += len(data)
        if self._swallowed > SWALLOW_LIMIT:
            self.transport.abort()


HEADER_CHECKS: dict[bytes, Callable[[StreamProtocol, bytes], None]] = {
    b"host": StreamProtocol._check_host,
    b"expect": StreamProtocol._check_expect,
    b"transfer-encoding": StreamProtocol._check_transfer_encoding,
    b"content-type": StreamProtocol._check_content_type,
}
