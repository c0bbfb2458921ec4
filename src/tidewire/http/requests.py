"""
What a request asks for, and the heads of the answers. No I/O: an ASGI scope goes in, values come out.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import orjson

from ..errors import (
    Forbidden,
    HeadTooLarge,
    InvalidInput,
    InvalidPosition,
    MethodNotAllowed,
    Misdirected,
    NotAcceptable,
    NotFound,
    TidewireError,
    UnsupportedMediaType,
)
from ..log.entries import Receipt, Since
from ..position import Position, parse_position
from ..topics import Selector, check_publish_topic

Headers = list[tuple[bytes, bytes]]

MAX_HISTORY = 1_000
# Longer ones cannot be positions of any hub; beyond this the head itself is the problem.
MAX_LAST_EVENT_ID = 4 * 1024
DURATION = re.compile(r"([0-9]{1,9})([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}


class Request:
    """One HTTP request, read from an ASGI scope. Raises `InvalidInput` for a path that is no UTF-8."""

    __slots__ = ("headers", "http_version", "method", "path", "query", "scheme")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.method: str = scope["method"]
        self.scheme: str = scope.get("scheme", "http")
        self.http_version: str = scope.get("http_version", "1.1")
        self.path = path_below_mount(scope)
        self.query = parse_query(scope.get("query_string", b""))
        self.headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            self.headers.setdefault(name.lower(), value)

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def one(self, name: str) -> str | None:
        """Return the query parameter `name`, which may stand there once."""
        values = [value for key, value in self.query if key == name]
        if len(values) > 1:
            raise InvalidInput(f"the parameter {name} stands there twice", code="invalid_query")
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]

    @property
    def native(self) -> bool:
        """Whether a browser's own EventSource may be asking: it gives up for ever on any answer but 200."""
        return b"tidewire-client" not in self.headers


def path_below_mount(scope: Mapping[str, Any]) -> str:
    """Return the path below the mount point, percent-decoded once."""
    raw = scope.get("raw_path")
    path: str = scope["path"]
    if raw is not None:
        try:
            path = unquote_to_bytes(raw.partition(b"?")[0]).decode()
        except UnicodeDecodeError:
            raise InvalidInput("the path is not UTF-8", code="invalid_utf8") from None
    root: str = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def topic_of(request: Request) -> str | None:
    """Return the topic that the path `/events` or `/events/{topic}` names; None for the first."""
    if request.path == "/events":
        return None
    topic = request.path.removeprefix("/events/")
    if topic == request.path:
        raise NotFound("there is nothing here; streams are at /events")
    if topic == "":
        raise InvalidInput("the topic is missing", code="missing_topic")
    return topic


def parse_query(query: bytes) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1_000)
    except ValueError:
        raise InvalidInput("the query is not percent-encoded UTF-8", code="invalid_query") from None


# -- subscribing


class Subscribe(NamedTuple):
    selector: Selector
    claim: Since | Position
    opened: bool  # wants a hub.open


class History(NamedTuple):
    selector: Selector
    claim: Since | Position
    limit: int


def read_subscription(request: Request, topic: str | None, max_topics: int) -> Subscribe | History:
    """Read a GET of `/events` or `/events/{topic}`."""
    as_json = wants_json(request)
    selector = Selector(([] if topic is None else [topic]) + request.all("topic"), limit=max_topics)
    claim = read_claim(request, "start" if as_json else "now")
    if as_json:
        return History(selector, claim, read_limit(request.one("limit")))
    return Subscribe(selector, claim, wants_open(request))


def wants_open(request: Request) -> bool:
    """Return whether the client asks for a hub.open."""
    control = request.one("control")
    if control not in (None, "open"):
        raise InvalidInput("control may be: open", code="invalid_query")
    return control == "open"


def wants_json(request: Request) -> bool:
    accept = request.header(b"accept")
    if accept is None:
        return False
    types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if "application/json" in types:
        return "text/event-stream" not in types
    if types & {"text/event-stream", "text/*", "*/*", ""}:
        return False
    raise NotAcceptable("an event stream is text/event-stream; a page of history is application/json")


def read_claim(request: Request, default: str, *, query: bool = True) -> Since | Position:
    """
    Return where the stream begins: by the header (a native reconnect), else `last_event_id=`, else `since=`.

    `query=False`: the program decides about `since`, not the client.
    """
    header = request.headers.get(b"last-event-id")
    if header is not None and len(header) > MAX_LAST_EVENT_ID:
        raise HeadTooLarge("the Last-Event-ID is longer than any position")
    brought = header.decode("utf-8", "replace") if header is not None else request.one("last_event_id")
    if brought:
        return read_position(brought)
    return read_since((query and request.one("since")) or default)


def read_position(text: str) -> Since | Position:
    """Return a position that a client brought. One that cannot be read is a gap, never an error."""
    try:
        return parse_position(text)
    except InvalidPosition:
        return Since("invalid")


def read_since(text: str) -> Since | Position:
    """Read `now`, `start`, `last:N`, `10m`, an ISO 8601 time or a position; raise `InvalidInput`."""
    if text in ("now", "start"):
        return Since(text)  # type: ignore[arg-type]
    if text.startswith("last:") and text[5:].isascii() and text[5:].isdigit() and len(text) < 15:
        return Since("last", int(text[5:]))
    if found := DURATION.fullmatch(text):
        return Since("ago", int(found[1]) * SECONDS[found[2]])
    try:
        return parse_position(text)
    except InvalidPosition:
        pass
    try:
        at = datetime.datetime.fromisoformat(text)
        return Since("at", (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp())
    except (ValueError, OverflowError):
        raise InvalidInput(
            "since is: now, start, a position, last:N, a duration such as 10m, or an ISO 8601 time",
            code="invalid_since",
        ) from None


def read_limit(text: str | None) -> int:
    if text is None:
        return MAX_HISTORY
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_HISTORY):
        raise InvalidInput(f"limit is a number from 1 to {MAX_HISTORY}", code="invalid_limit")
    return int(text)


# -- publishing


class Publish(NamedTuple):
    """A body that is the data of one event."""

    topic: str
    event: str
    retry: int | None
    key: str | None


class PublishJson(NamedTuple):
    """A body that is one JSON object or an array of them."""

    key: str | None


class Ingest(NamedTuple):
    """A body of lines that each are a JSON object."""

    key: str | None
    each: bool  # a receipt for each line


class End(NamedTuple):
    topic: str
    reason: str


def read_publication(request: Request, topic: str | None) -> Publish | PublishJson | Ingest | End:
    """Read a POST or DELETE of `/events` or `/events/{topic}`."""
    named = request.all("topic") if topic is None else [topic]
    if len(named) > 1:
        raise InvalidInput("name one topic", code="invalid_query")
    if request.method == "DELETE":
        if not named:
            raise InvalidInput("name the topic to end", code="missing_topic")
        return End(check_publish_topic(named[0]), request.one("reason") or "ended")
    check_encoding(request)
    key = request.header(b"idempotency-key")
    if named:
        if request.one("id") is not None:
            raise InvalidInput(
                "the hub gives the id; to make a publish repeatable give a key", code="id_not_allowed"
            )
        event = request.one("event") or header_text(request, b"event-type") or "message"
        return Publish(check_publish_topic(named[0]), event, read_retry(request.one("retry")), key)
    return read_batch(request, key)


def read_batch(request: Request, key: str | None) -> PublishJson | Ingest:
    kind = (request.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if kind == "application/x-ndjson":
        receipts = request.one("receipts")
        if receipts not in (None, "each"):
            raise InvalidInput("receipts may be: each", code="invalid_query")
        return Ingest(key, receipts == "each")
    # curl -d says form-urlencoded whatever it sends; JSON is what is read.
    if kind in ("application/json", "application/x-www-form-urlencoded"):
        return PublishJson(key)
    raise UnsupportedMediaType("post application/json or application/x-ndjson, or name a topic in the path")


def check_encoding(request: Request) -> None:
    if (request.header(b"content-encoding") or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("send the body without Content-Encoding")


def header_text(request: Request, name: bytes) -> str | None:
    value = request.headers.get(name)
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{name.decode()} is not UTF-8", code="invalid_utf8") from None


def read_retry(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput("retry is a whole number of milliseconds", code="invalid_retry")
    return int(text)


# -- the browser's boundary


class Cors:
    """
    Which pages of other origins may read and write: none, unless allowed by name.

    A subscription with a cookie is checked too: an EventSource sends no preflight.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = frozenset(check_origin(origin) for origin in allowed)

    def check(self, request: Request) -> None:
        """Refuse what another site's page makes a browser send. No Origin (curl) is fine."""
        origin = request.header(b"origin")
        writes = request.method not in ("GET", "HEAD", "OPTIONS")
        if origin is None:
            foreign = request.header(b"sec-fetch-site") == "cross-site"
        else:
            foreign = not self.own(request, origin) and origin not in self.allowed
        if foreign and (writes or b"cookie" in request.headers):
            raise Forbidden("a page of another origin may not do that; allow its origin at the hub")

    def own(self, request: Request, origin: str) -> bool:
        # The scheme is left out: behind a proxy that ends TLS the hub sees http.
        host = request.header(b"host")
        return host is not None and urlsplit(origin).netloc.lower() == host.lower()

    def headers(self, request: Request | None) -> Headers:
        """Return the headers that every answer carries."""
        headers = [(b"vary", b"origin")]
        origin = request and request.header(b"origin")
        if origin and origin in self.allowed:
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", b"tidewire-heartbeat, retry-after"),
            ]
        return headers

    def preflight(self, request: Request) -> Headers:
        headers = self.headers(request)
        if len(headers) > 1:
            headers += [
                (b"access-control-allow-methods", b"GET, POST, DELETE"),
                (
                    b"access-control-allow-headers",
                    b"authorization, cache-control, content-type, event-type, idempotency-key,"
                    b" last-event-id, tidewire-client",
                ),
                (b"access-control-max-age", b"7200"),
            ]
        return headers


def check_origin(origin: str) -> str:
    parts = urlsplit(origin)
    if (
        parts.scheme not in ("http", "https")
        or not parts.netloc
        or origin != f"{parts.scheme}://{parts.netloc}"
    ):
        raise InvalidInput(
            f"an allowed origin is a scheme and a host, such as https://example.com, not {origin!r}",
            code="invalid_origin",
        )
    return origin


def check_host(request: Request, allowed: Iterable[str]) -> None:
    """Refuse names that are not ours: a page can point its own name at a loopback address (DNS rebinding)."""
    host = (request.header(b"host") or "").lower()
    name = host.rpartition(":")[0] if re.search(r":[0-9]*$", host) else host
    if name not in LOOPBACK_NAMES and name not in allowed and host not in allowed:
        raise Misdirected(
            "this hub does not answer to that name; add it with --allowed-host", code="wrong_host"
        )


# -- heads of answers


def stream_head(http_version: str, heartbeat: float) -> Headers:
    """Return the head of every stream; `heartbeat` is the longest silence in seconds."""
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"x-content-type-options", b"nosniff"),
        (b"tidewire-heartbeat", b"%g" % heartbeat),
    ]
    if http_version.startswith("1"):
        headers.append((b"connection", b"close"))
    return headers


def content_head(kind: bytes, size: int | None) -> Headers:
    """Return the head of an answer that is no stream; `size` is None where it is not known yet."""
    headers = [
        (b"content-type", kind),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return headers if size is None else [*headers, (b"content-length", b"%d" % size)]


def problem(error: TidewireError, publish: bool) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of the answer to `error` (RFC 9457)."""
    body = error.problem()
    if publish:
        body["stored"] = error.stored
    data = orjson.dumps(body)
    headers = content_head(b"application/problem+json", len(data))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.members["allow"].encode()))
    return error.status, headers, data


def refusal(error: TidewireError, common: Headers, *, publish: bool) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of the answer to `error`; `common` is what every answer carries."""
    status, headers, body = problem(error, publish)
    headers += common
    if publish:
        # Part of the body may still be coming, and is not another request.
        headers.append((b"connection", b"close"))
    return status, headers, body


def receipt_fields(receipt: Receipt, durability: str) -> dict[str, Any]:
    """Return the answer to a publish, as JSON shows it."""
    return {"id": str(receipt.position), "duplicate": receipt.duplicate, "durability": durability}
