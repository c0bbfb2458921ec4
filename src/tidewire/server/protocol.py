"""
uvicorn's HTTP protocol with what it lacks: deadlines, limits, and the takeover of streams.

Rule 1: a connection that waits for a head or a body has exactly one deadline.
Rule 2: after a violation of HTTP, nothing more on that connection is read as a
        request.
Rule 3: a stream is taken over only while its request is alone on its connection;
        otherwise it stays with uvicorn and is not affected.

Any program can use it: `uvicorn main:app --http tidewire.server.protocol:StreamProtocol`.
"""

from __future__ import annotations

import asyncio
import functools
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
from ..http.answers import content_head
from ..http.origins import VARY_ORIGIN
from ..settings import Settings
from .crowd import Crowd
from .direct import FastPath, fast_path, hub_app
from .lingering import Lingering
from .socket_wire import SWALLOW_LIMIT, reset
from .takeover import StreamOffer

logger = logging.getLogger("tidewire.server")

# The takeover uses uvicorn's internal bookkeeping of a request, which is not a public
# interface. So it is done only on the minor versions that it was tested with.
TESTED_UVICORN = {"0.54"}

DEFAULTS = Settings()
LIMITS = ("head_timeout", "body_timeout", "max_head_bytes", "max_headers", "max_url_bytes")

# Bytes per second below which a body is taken for a slow attack, not a slow network.
MIN_BODY_RATE = 500

# Requests of one connection that may wait for their turn. uvicorn stops reading at the
# first one, but the 256 KB read before that may hold 9,000, each a few KB of objects.
MAX_PIPELINE = 256

# Extra bytes allowed for an incomplete head or incomplete trailers, in which spaces and line ends count too.
HEAD_SLACK = 1024

UPGRADE = {b"upgrade", b"http2-settings"}

HEAD = object()  # `_awaited` while a head is awaited, which has no cycle yet


def tested(version: str) -> bool:
    """Return whether the takeover was tested with this version of uvicorn."""
    return ".".join(version.split(".")[:2]) in TESTED_UVICORN


async def in_next_step(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Run the app in the next step of the event loop."""
    await asyncio.sleep(0)
    await app(scope, receive, send)


def announcing_close(cycle: Any, send: Any) -> Any:
    """
    Return a `send` whose head says that the connection ends, if an answer comes before the end of the body.

    A client would send its next request on that connection, where nothing more is read. A stream may outlast
    the body, and says nothing.
    """

    async def announcing(message: Any) -> None:
        if message["type"] == "http.response.start" and cycle.more_body:
            headers = list(message.get("headers", ()))
            if any(name.lower() == b"content-length" for name, _ in headers):
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        await send(message)

    return announcing


TAKEOVER = tested(uvicorn.__version__)
if not TAKEOVER:
    logger.warning("uvicorn %s was not tested with Tidewire; streams stay portable", uvicorn.__version__)


class RefusedRequest(Exception):
    """The request gets this response, and its connection is closed."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class StreamProtocol(HttpToolsProtocol):
    """
    A connection of our own server.

    Each request has `scope["extensions"]["tidewire.stream"]`, a `StreamOffer`.
    The limits are settings.
    """

    head_timeout: float = DEFAULTS.head_timeout
    body_timeout: float = DEFAULTS.body_timeout
    max_head_bytes: int = DEFAULTS.max_head_bytes
    max_headers: int = DEFAULTS.max_headers
    max_url_bytes: int = DEFAULTS.max_url_bytes
    crowd = Crowd(DEFAULTS)

    @classmethod
    def configured(cls, settings: Settings) -> type[Self]:
        """Return this protocol with the limits of `settings`."""
        limits = {name: getattr(settings, name) for name in LIMITS}
        return type(cls.__name__, (cls,), {**limits, "crowd": Crowd(settings)})

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        # The rest waits until the connection may stay: refusing those of a flood must cost little.
        self._arguments: Any = (config, *args), kwargs
        if not config.loaded:
            config.load()
        self._inner: Any = config.loaded_app

    def _admit(self, counted: str | None) -> None:
        """Build what reads requests. `counted`: the name under which the connection is counted, or None."""
        args, kwargs = self._arguments
        self._arguments = None
        super().__init__(*args, **kwargs)
        # Our own parser, without uvicorn's leniency: what follows a request with
        # `Connection: close` is not read as another request.
        self.parser = httptools.HttpRequestParser(self)
        self._fast_path: FastPath | None = None
        if TAKEOVER:
            self._fast_path = fast_path(self, self.app)
            self.app = cast(Any, self._run)
        self._offer: StreamOffer | None = None
        self._counted = counted
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited: object = None  # HEAD, the cycle whose body is awaited, or None
        self._refused: RefusedRequest | None = None
        self._discarding = False  # requests that were read are still served, but no more are read
        self._swallowed = 0
        self._unparsed = 0  # bytes of an incomplete head or incomplete trailers
        self._progressed = False  # a head, part of a body or a message ended in the data being parsed
        self._in_head = False
        self._head_bytes = 0
        self._hosts = 0
        self._upgrade_ignored = False
        self._ingest = False
        self._body_bytes = 0
        self._body_checked = 0

    # -- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("peername")
        name = self.crowd.counted(peer[0] if isinstance(peer, tuple) else None)
        if name is not None and not self.crowd.enter(name):
            # Before anything is read: a browser takes it for a network error, and tries again later.
            self._count_refusal("too_many_connections")
            transport.abort()
            return
        self._admit(name)
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._arguments is not None:
            return  # it was refused
        self.clear_deadline()
        self._leave_crowd()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._offer = None
        self._drop_fast_path()
        self.app = self._inner

    def shutdown(self) -> None:
        if self._fast_path is not None:
            if self._fast_path.stop():
                return
            if partial := self._fast_path.release():
                self._parse(partial)
        if self._idle:
            self._close()
            return
        super().shutdown()
        if self._offer is not None:
            self._offer.stop()

    def timeout_keep_alive_handler(self) -> None:
        # The fast path does not reset the timer for each request, which would cost more than the publish.
        since = -math.inf if self._fast_path is None else self._fast_path.idle_since
        left = since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            self._close()

    def is_alone(self, cycle: Any) -> bool:
        """Return whether the request of `cycle` is complete, connected, and alone on the connection."""
        return (
            self.cycle is cycle
            and not (cycle.more_body or cycle.disconnected)
            and not (self.pipeline or self._in_head or self._discarding)
            and not self.transport.is_closing()
        )

    def hand_over(self) -> None:
        """Count the request as done and release the connection for another protocol."""
        self.server_state.total_requests += 1
        self.cycle.response_complete = True
        self._release()

    def cut(self, cycle: Any, unframed: bool) -> None:
        """Close the connection without ending the body of `cycle`; without chunks only a reset shows that."""
        cycle.disconnected = True  # uvicorn reports a response that is not complete otherwise
        self.pipeline.clear()
        if unframed:
            reset(self.transport)
        else:
            self._close()

    def _release(self) -> None:
        """Release the connection and the request, so that the parser and the task are freed."""
        self.clear_deadline()
        self._leave_crowd()
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
        self._drop_fast_path()
        self.app = self._inner

    def _leave_crowd(self) -> None:
        if self._counted is not None:
            self.crowd.leave(self._counted)
            self._counted = None

    def _drop_fast_path(self) -> None:
        if self._fast_path is not None:
            self._fast_path.lost()
            self._fast_path = None

    def _close(self) -> None:
        self.clear_deadline()
        self.transport.close()
        self.loop.call_later(END_TIMEOUT, self.transport.abort)  # TLS would wait 30 s for close_notify

    def _linger(self) -> None:
        self._release()
        Lingering(self.transport, self.connections)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    # -- the request

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        # An eager task would run the app now, in the middle of the parser's work.
        if self.loop.get_task_factory() is not None:
            app = functools.partial(in_next_step, app)
        super()._start_asgi_task(cycle, app)

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the app. uvicorn calls this, so the offer's `send` comes after that of all middleware."""
        # Not `self.cycle`, which may already belong to a pipelined request.
        cycle = send.__self__
        offer = self._offer = StreamOffer(self, cycle, send)
        scope.setdefault("extensions", {})["tidewire.stream"] = offer
        if offer.needed:
            send = offer.send
        if cycle.more_body:
            send = announcing_close(cycle, send)
        try:
            await self._inner(scope, receive, send)
        finally:
            offer.close()
            if self._offer is offer:
                self._offer = None
            if cycle.response_started and not cycle.response_complete:
                # uvicorn closes now, and would wait for a client that no longer reads.
                self.loop.call_later(END_TIMEOUT, self.transport.abort)

    def on_response_complete(self) -> None:
        last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            self.clear_deadline()
        elif last and (self._discarding or self.cycle.more_body):
            self._linger()
        elif self.timeout_keep_alive_task is not None and not self._in_head:
            self.clear_deadline()  # uvicorn's own timer runs between requests
        else:
            self._unset_keepalive_if_required()
            self._set_deadline()

    # -- the fast path

    def expect_body(self) -> None:
        """Set the deadline for a body that the fast path waits for."""
        self.clear_deadline()
        self._deadline = self.loop.call_later(self.body_timeout, self._fast_path_body_late)

    def answered(self, last: bool) -> None:
        """Count a request of the fast path, and wait for the next one unless it was the last."""
        self.server_state.total_requests += 1
        if last:
            self._close()
        elif self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _fast_path_body_late(self) -> None:
        """Have a late body refused like all others."""
        if self._fast_path is not None:
            self._parse(self._fast_path.release())
            self.clear_deadline()
            self._body_late()

    # -- deadlines

    def _set_deadline(self) -> None:
        """Set the one deadline that is needed now. Further bytes do not restart it."""
        if self._idle:
            awaited: object = HEAD
        else:
            awaited = self.cycle if self.cycle.more_body else None
        if awaited is self._awaited:
            return
        self.clear_deadline()
        self._awaited = awaited
        if awaited is HEAD:
            self._deadline = self.loop.call_later(self.head_timeout, self._head_late)
        elif awaited is not None:
            self._body_checked = 0
            self._deadline = self.loop.call_later(self.body_timeout, self._body_late)

    def clear_deadline(self) -> None:
        """Clear the deadline: nothing is awaited any more."""
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
        received = self._body_bytes - self._body_checked
        self._body_checked = self._body_bytes
        # An ingest may be as slow as its events: the app limits the time for each line.
        enough = 1 if self._ingest else MIN_BODY_RATE * self.body_timeout
        if received >= enough or self.flow.read_paused:
            self._deadline = self.loop.call_later(self.body_timeout, self._body_late)
        else:
            self._refuse(RefusedRequest(408, "request_timeout", "the body took too long"))

    # -- parsing

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            self._swallow(data)
            return
        if self._fast_path is not None and self._idle and not self._in_head:
            data = self._fast_path.take(data)
            if not data:
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._progressed = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(
                self._refused or RefusedRequest(400, "invalid_request", "malformed HTTP/1.1 request")
            )
            return
        if self.transport.get_protocol() is not self:
            return  # it is a WebSocket of the program now
        # The parser keeps an incomplete header or trailer until it ends, however long it gets. Where in
        # `data` it begins is not known if something else ended there, so it counts from the next data on.
        self._unparsed = 0 if self._progressed else self._unparsed + len(data)
        if self._unparsed > self.max_head_bytes + HEAD_SLACK:
            self._refuse(self._head_too_large())
        else:
            self._set_deadline()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.clear_deadline()
                self._leave_crowd()
                self.handle_websocket_upgrade()
            else:
                # A server may ignore an upgrade that it does not support, and Java's client asks for
                # h2c in each request. The parser cannot ignore it: it would skip the body.
                data = self._without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.feed_data(data)

    def _without_upgrade(self) -> bytes:
        """Return the head just parsed, without the request for an upgrade."""
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
            self._fail(414, "url_too_long", f"the URL must not exceed {self.max_url_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.max_head_bytes or len(self.headers) >= self.max_headers:
            raise self._remember(self._head_too_large())
        # Otherwise it is a trailer. uvicorn adds those to the headers, which are already checked.
        if self._in_head:
            self.headers.append((name, value))
            if name in HEADER_CHECKS:
                HEADER_CHECKS[name](self, value.strip().lower())

    def _check_host(self, value: bytes) -> None:
        self._hosts += 1

    def _check_expect(self, value: bytes) -> None:
        if value != b"100-continue":
            self._fail(417, "unknown_expectation", "the only supported expectation is 100-continue")
        self.expect_100_continue = True

    def _check_transfer_encoding(self, value: bytes) -> None:
        # The parser accepts `gzip, chunked`, and any coding on HTTP/1.0, which RFC 9112 treats as faulty.
        if value != b"chunked" or self.parser.get_http_version() != "1.1":
            self._fail(400, "invalid_request", "the only supported transfer coding is chunked, on HTTP/1.1")

    def _check_content_type(self, value: bytes) -> None:
        self._ingest = value.startswith(b"application/x-ndjson")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._progressed = True
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._fail(505, "version_not_supported", "this server supports HTTP/1.1 and HTTP/1.0")
        if self._hosts > 1 or (version == "1.1" and not self._hosts):
            self._fail(400, "invalid_host", "a request must have one Host header")
        if self.parser.get_method() == b"CONNECT":
            self._fail(405, "method_not_allowed", "this server is not a proxy")
        self._upgrade_ignored = self.parser.should_upgrade() and not self._should_upgrade()
        if not self._upgrade_ignored:
            super().on_headers_complete()
        if self._fast_path is not None:
            self._fast_path.learn()

    def on_body(self, body: bytes) -> None:
        self._progressed = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progressed = True
        if not self._upgrade_ignored:
            super().on_message_complete()

    # -- refusing

    def _remember(self, refused: RefusedRequest) -> RefusedRequest:
        """Keep what a callback raises: the parser reports only that something was raised."""
        self._refused = refused
        return refused

    def _fail(self, status: int, code: str, detail: str) -> NoReturn:
        raise self._remember(RefusedRequest(status, code, detail))

    def _head_too_large(self) -> RefusedRequest:
        what = f"the head must not exceed {self.max_head_bytes} bytes or {self.max_headers} headers"
        return RefusedRequest(431, "head_too_large", what)

    def _refuse(self, refused: RefusedRequest) -> None:
        """Respond, if that is still possible, and read no more requests on this connection."""
        logger.debug("refused: %d %s", refused.status, refused.code)
        self._count_refusal(refused.code)
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if not self._idle and (self.pipeline or not cycle.more_body):
            self._finish_pipeline()
            return
        if self._idle or not cycle.response_started:
            self.transport.write(self._response_to(refused))
        self._linger()

    def _count_refusal(self, code: str) -> None:
        if hub := hub_app(self._inner):
            hub.count_refusal(code)

    def _finish_pipeline(self) -> None:
        """Respond to the requests that are complete, then close."""
        if self.cycle.more_body:  # an incomplete request that is waiting for its turn
            self.pipeline.popleft()
            self.cycle.response_complete = True
        self._discarding = True
        self.clear_deadline()

    def _response_to(self, refused: RefusedRequest) -> bytes:
        title = HTTPStatus(refused.status).phrase
        problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": refused.status}
        problem |= {"code": refused.code, "detail": refused.detail}
        if self.parser.get_method() == b"POST" and not self._ingest:
            problem["stored"] = False
        body = json.dumps(problem).encode()
        headers = [
            *self.server_state.default_headers,
            *content_head(b"application/problem+json", len(body)),
            *VARY_ORIGIN,
            (b"connection", b"close"),
        ]
        head = [b"HTTP/1.1 %d %b" % (refused.status, title.encode())]
        head += [b"%b: %b" % header for header in headers]
        return b"\r\n".join([*head, b"", body])

    def _swallow(self, data: bytes) -> None:
        self._swallowed += len(data)
        if self._swallowed > SWALLOW_LIMIT:
            # An end of the connection would take the responses that are not sent yet. Not by `flow`, which
            # reads on after each response.
            self.flow.read_paused = False
            self.transport.pause_reading()


HEADER_CHECKS: dict[bytes, Callable[[StreamProtocol, bytes], None]] = {
    b"host": StreamProtocol._check_host,
    b"expect": StreamProtocol._check_expect,
    b"transfer-encoding": StreamProtocol._check_transfer_encoding,
    b"content-type": StreamProtocol._check_content_type,
}
