"""
What a request asks for. No I/O: an ASGI scope in, values out.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

from ..errors import (
    HeadTooLarge,
    InvalidInput,
    InvalidPosition,
    NotAcceptable,
    NotFound,
    UnsupportedMediaType,
)
from ..event_stream import check_publish_type, check_retry
from ..log.drafts import check_key
from ..log.entries import Since
from ..position import Position, parse_position
from ..topics import Selector, check_publish_topic
from .asgi import address_in

MAX_HISTORY = 1_000
# No position of any hub is longer. Beyond this limit the head itself is refused.
MAX_LAST_EVENT_ID = 4 * 1024
# How clients that cannot set the header call it: ours, Yaffle's polyfill, those of Mercure.
LAST_EVENT_ID_PARAMETERS = ("last_event_id", "lastEventId", "lastEventID", "Last-Event-ID")
DURATION = re.compile(r"([0-9]{1,9})([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Request:
    """One HTTP request, read from an ASGI scope. Raises `InvalidInput` if path or query are not UTF-8."""

    __slots__ = ("client", "headers", "http_version", "method", "path", "query", "scheme")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.method: str = scope["method"]
        self.scheme: str = scope.get("scheme", "http")
        self.client: str | None = address_in(scope)
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
        """Return the query parameter `name`. Raises `InvalidInput` if it was given more than once."""
        values = [value for key, value in self.query if key == name]
        if len(values) > 1:
            raise InvalidInput(f"the parameter {name} was given twice", code="invalid_query")
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]

    @property
    def native(self) -> bool:
        """Whether this may be a browser's own EventSource: any status but 200 makes it give up forever."""
        return b"tidewire-client" not in self.headers


def path_below_mount(scope: Mapping[str, Any]) -> str:
    """
    Return the path below the mount point, percent-decoded once.

    Middleware may rewrite `path` and leave `raw_path` as the client sent it. So `raw_path` counts only
    where it is `root_path` and `path`.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    raw = scope.get("raw_path")
    if raw is not None:
        try:
            sent = unquote_to_bytes(raw.partition(b"?")[0]).decode()
        except UnicodeDecodeError:
            raise InvalidInput("the path is not UTF-8", code="invalid_utf8") from None
        if sent == root + path:
            return path
        # Litestar ends the path of a mounted app with a slash that the client did not send.
        if path != sent and path.endswith("/") and sent.endswith(path[:-1]):
            path = path[:-1]
    return path[len(root) :] if root and path.startswith(root + "/") else path


def topic_of(request: Request) -> str | None:
    """Return the topic in `/events/{topic}`; None for `/events`. Raises `NotFound` if it is neither."""
    if request.path == "/events":
        return None
    topic = request.path.removeprefix("/events/")
    if topic == request.path:
        raise NotFound("nothing here; streams are at /events")
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


class SubscribeRequest(NamedTuple):
    selector: Selector
    claim: Since | Position
    wants_hub_open: bool
    plain: bool = False
    run: str | None = None
    """The name of the record of a run: only the events of this run, which is its topic's."""


class HistoryRequest(NamedTuple):
    selector: Selector
    claim: Since | Position
    limit: int


def read_subscription(
    request: Request, topic: str | None, max_topics: int
) -> SubscribeRequest | HistoryRequest:
    """Read a GET of `/events` or `/events/{topic}`."""
    as_json = wants_json(request)
    selector = Selector(([] if topic is None else [topic]) + request.all("topic"), limit=max_topics)
    claim = read_claim(request, "start" if as_json else "now")
    if as_json:
        return HistoryRequest(selector, claim, read_limit(request.one("limit")))
    control = read_control(request)
    return SubscribeRequest(selector, claim, control == "open", control == "none")


def read_ticket(request: Request) -> str | None:
    """Return the ticket of a GET. Of a ticket and an `Authorization` header, the header counts."""
    if request.method != "GET" or b"authorization" in request.headers:
        return None
    return request.one("ticket")


def asks_for_stream(request: Request) -> bool:
    """Whether a request, which may have other faults, asks for a stream."""
    if request.method != "GET" or not (request.path + "/").startswith("/events/"):
        return False
    try:
        return not wants_json(request)
    except NotAcceptable:
        return True


def topics_in(request: Request) -> int:
    """Return how many topics and patterns a request names."""
    return (request.path != "/events") + len(request.all("topic"))


def read_control(request: Request) -> str | None:
    """Return which `hub.*` events the client wants: `open` (one more), `none`, or None for the usual ones."""
    control = request.one("control")
    if control not in (None, "open", "none"):
        raise InvalidInput("control must be: open or none", code="invalid_query")
    return control


def wants_json(request: Request) -> bool:
    accept = request.header(b"accept")
    if accept is None:
        return False
    types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if "application/json" in types:
        return "text/event-stream" not in types
    if types & {"text/event-stream", "text/*", "*/*", ""}:
        return False
    raise NotAcceptable("accept text/event-stream for a stream, or application/json for a page of history")


def read_claim(request: Request, default: str, *, query: bool = True) -> Since | Position:
    """
    Return where to start: `Last-Event-ID` (a native reconnect), else the same by query, else `since=`.

    With `query=False` the program chooses `since`, not the client.
    """
    header = request.headers.get(b"last-event-id")
    if header is not None and len(header) > MAX_LAST_EVENT_ID:
        raise HeadTooLarge("the Last-Event-ID is longer than any position")
    by_query = last_event_id_by_query(request)
    brought = header.decode("utf-8", "replace") if header is not None else by_query
    if brought:
        return read_position(brought)
    return read_since((query and request.one("since")) or default)


def last_event_id_by_query(request: Request) -> str | None:
    """
    Return the last id that a client sent without the header, the last one of several.

    Raises `InvalidInput` if a parameter only resembles the known ones: to ignore it would lose events.
    """
    brought = None
    for name, value in request.query:
        if name in LAST_EVENT_ID_PARAMETERS:
            brought = value
        elif name.lower().replace("-", "").replace("_", "") == "lasteventid":
            known = ", ".join(LAST_EVENT_ID_PARAMETERS)
            raise InvalidInput(f"the last event id may be called: {known}", code="invalid_query")
    return brought


def read_position(text: str) -> Since | Position:
    """Return the position that a client sent. One that cannot be parsed is a gap, never an error."""
    try:
        return parse_position(text)
    except InvalidPosition:
        return Since("invalid")


def read_since(text: str) -> Since | Position:
    """Read `now`, `start`, `last:N`, `10m`, a time or a position. Raises `InvalidInput` if it is none."""
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
        at = read_time(text)
        return Since("at", (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp())
    except (ValueError, OverflowError):
        raise InvalidInput(
            "since must be: now, start, a position, last:N, a duration such as 10m, or an ISO 8601 time",
            code="invalid_since",
        ) from None


def read_time(text: str) -> datetime.datetime:
    """Read an ISO 8601 time. Raises `ValueError` if it is none."""
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        # In a query a "+" that is not escaped is a space. Before the offset of a time it can only be that.
        return datetime.datetime.fromisoformat("+".join(text.rsplit(" ", 1)))


def read_limit(text: str | None) -> int:
    if text is None:
        return MAX_HISTORY
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_HISTORY):
        raise InvalidInput(f"limit must be a number from 1 to {MAX_HISTORY}", code="invalid_limit")
    return int(text)


# -- publishing


class PublishRequest(NamedTuple):
    """A body that is the data of one event. The other fields are checked."""

    topic: str
    event: str
    retry: int | None
    key: str | None


class PublishJsonRequest(NamedTuple):
    """A body that is one JSON object or an array of objects."""

    key: str | None


class IngestRequest(NamedTuple):
    """A body of lines, each a JSON object."""

    key: str | None
    each: bool  # whether each line gets its own receipt
    traceparent: str | None = None


class EndRequest(NamedTuple):
    topic: str
    reason: str


def read_publication(
    request: Request, topic: str | None
) -> PublishRequest | PublishJsonRequest | IngestRequest | EndRequest:
    """Read a POST or DELETE of `/events` or `/events/{topic}`."""
    named = request.all("topic") if topic is None else [topic]
    if len(named) > 1:
        raise InvalidInput("name only one topic", code="invalid_query")
    if request.method == "DELETE":
        if not named:
            raise InvalidInput("name the topic to end", code="missing_topic")
        return EndRequest(check_publish_topic(named[0]), request.one("reason") or "ended")
    check_encoding(request)
    key = request.header(b"idempotency-key")
    if named:
        if request.one("id") is not None:
            raise InvalidInput(
                "the hub assigns the id; to make a publish repeatable, pass a key", code="id_not_allowed"
            )
        return PublishRequest(
            check_publish_topic(named[0]),
            check_publish_type(request.one("event") or header_text(request, b"event-type") or "message"),
            read_retry(request.one("retry")),
            None if key is None else check_key(key),
        )
    return read_batch(request, key)


# The names under which programs send JSON lines.
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")


def read_batch(request: Request, key: str | None) -> PublishJsonRequest | IngestRequest:
    kind = (request.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if kind in NDJSON:
        receipts = request.one("receipts")
        if receipts not in (None, "each"):
            raise InvalidInput("receipts must be: each", code="invalid_query")
        return IngestRequest(key, receipts == "each", request.header(b"traceparent"))
    # curl -d sends everything as form-urlencoded; the body is read as JSON.
    if kind in ("application/json", "application/x-www-form-urlencoded"):
        return PublishJsonRequest(key)
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
        raise InvalidInput("retry must be a whole number of milliseconds", code="invalid_retry")
    return check_retry(int(text))
