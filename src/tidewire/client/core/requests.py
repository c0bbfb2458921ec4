"""The requests of the clients, and how they read the answers. No I/O; both clients share it."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import orjson

from tidewire import __version__

from ...errors import InvalidInput
from .reconnect import Failed, Refused, is_stream

# A client that sends this header gets 503 with `Retry-After`. A native EventSource, which would give up
# forever, gets an empty stream instead.
TIDEWIRE_CLIENT = f"python/{__version__}"

MAX_REDIRECTS = 20

# We ask for no coding, but decode these if a server uses them anyway: they can be decoded as they arrive.
CODINGS = frozenset({"", "identity", "gzip", "deflate"})

# The headers with which a request may follow a redirect to another origin. An allow list, since any other
# header may hold a key (`X-Api-Key`).
HARMLESS_HEADERS = frozenset(
    (
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "host",
        "last-event-id",
        "tidewire-client",
        "user-agent",
    )
)

HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HEADER_VALUE = re.compile(rb"(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?")

# A longer explanation of a refusal is cut.
MAX_DETAIL = 500

Headers = Mapping[str, str]
# A function is called before each request; in the async client it may be a coroutine function.
HeaderSource = Headers | Callable[[], Headers | Awaitable[Headers]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """
    How long to wait, in seconds; None is forever.

    `connect` is for a connection, `head` for the head of the answer, `silence` for the next byte of an open
    stream. If `silence` is None, the client waits for two and a half of the heartbeats that a hub announces;
    if the server announces none, it waits forever, since a stream may be silent.
    """

    connect: float | None = 10.0
    head: float | None = 30.0
    silence: float | None = None

    def until_head(self) -> httpx2.Timeout:
        return httpx2.Timeout(self.connect, read=self.head, write=self.head)


def check_client(client: object, kind: type[httpx2.Client] | type[httpx2.AsyncClient]) -> None:
    """Raises `TypeError` if `client` is of another class, such as those of httpx."""
    if client is not None and not isinstance(client, kind):
        given = type(client)
        name = f"{given.__module__.partition('.')[0]}.{given.__qualname__}"
        raise TypeError(f"client must be an httpx2.{kind.__name__}; this is {name}")


def http_url(url: str) -> httpx2.URL:
    """Return the URL parsed. Raises `InvalidInput` if it is not an http or https URL."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise InvalidInput(f"not a URL: {url!r} ({error})", code="invalid_url") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(f"not an http:// or https:// URL: {url!r}", code="invalid_url")
    return parsed


def events_url(base: str) -> httpx2.URL:
    """Return the events URL of the hub at `base`, which may be that URL already."""
    url = http_url(base)
    path, mark, query = url.raw_path.partition(b"?")
    path = path.rstrip(b"/")
    path = path if path.endswith(b"/events") else path + b"/events"
    return url.copy_with(raw_path=path + mark + query)


def stream_url(url: str, topics: Iterable[str], since: str | None) -> httpx2.URL:
    """Return the URL to subscribe to: that of the hub at `url` if there are topics, else `url` itself."""
    terms = list(topics)
    target = events_url(url) if terms else http_url(url)
    for term in terms:
        target = target.copy_add_param("topic", term)
    if terms:
        # With topics it is a hub, which knows this parameter. Another server may refuse unknown ones.
        target = target.copy_set_param("control", "open")
    return target if since is None else target.copy_set_param("since", since)


def terms_of(topics: str | Iterable[str]) -> list[str]:
    """Return topics and patterns as a list; a single one may be a string."""
    return [topics] if isinstance(topics, str) else list(topics)


def content_of(body: Any) -> tuple[bytes | None, Headers]:
    """Return a body as bytes, and its content type: JSON unless it is text or bytes."""
    if body is None or isinstance(body, bytes):
        return body, {}
    if isinstance(body, str):
        return body.encode("utf-8"), {}
    try:
        return orjson.dumps(body), {"Content-Type": "application/json"}
    except TypeError as error:
        raise InvalidInput(f"cannot write the body as JSON: {error}", code="invalid_data") from error


def stream_headers(
    headers: Headers, last_event_id: bytes | None, content: Headers | None = None
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request for a stream; the caller's headers replace ours."""
    if any(name.lower() == "last-event-id" for name in headers):
        raise InvalidInput(
            "pass `last_event_id=` instead of a header: it changes with each event", code="invalid_id"
        )
    ours = {
        "Accept": "text/event-stream",
        "Cache-Control": "no-cache",
        # A compressed stream can hold back an event until the next one.
        "Accept-Encoding": "identity",
        **(content or {}),
    }
    # As bytes: the id is UTF-8, and HTTP libraries encode text in another way.
    resume = [] if last_event_id is None else [(b"Last-Event-ID", last_event_id)]
    return [*merged(ours, headers), *resume]


def merged(ours: Headers, theirs: Headers) -> list[tuple[bytes, bytes]]:
    """Return our headers and the caller's; the caller's replace ours of the same name."""
    given = {name.lower() for name in theirs}
    ours = {"Tidewire-Client": TIDEWIRE_CLIENT, **ours}
    chosen = [(name, value) for name, value in ours.items() if name.lower() not in given]
    return [header(name, value) for name, value in [*chosen, *theirs.items()]]


def header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header as bytes. Raises `InvalidInput` if HTTP cannot carry it."""
    raw = value.encode("utf-8", "surrogatepass")
    if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(raw):
        # Without the value, which may be a key.
        raise InvalidInput(
            f"cannot send the header {name!r}: check it for line ends and for blanks around its value",
            code="invalid_header",
        )
    return name.encode("ascii"), raw


def check_last_event_id(value: str) -> str:
    if any(character in value for character in "\r\n\0"):
        raise InvalidInput("a last event id cannot contain CR, LF or NUL", code="invalid_id")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput("a last event id must be text that UTF-8 can encode", code="invalid_id") from error
    return value


def may_leave(request: httpx2.Request, given: Headers) -> bool:
    """
    Whether a request may follow a redirect to another origin: not with a body, credentials or a key.

    `request` is as it was sent, so it has what the client's `auth` added; `given` are the caller's headers.
    """
    # A cookie that is not among `given` is from the client's jar: `redirected` leaves it behind.
    names = (set(request.headers) - {"cookie"}) | {name.lower() for name in given}
    return names <= HARMLESS_HEADERS and request.headers.get("content-length", "0") == "0"


def redirected(request: httpx2.Request, following: httpx2.Request, home: httpx2.Origin) -> httpx2.Request:
    """Return the request after a redirect, corrected: only one to `home` has cookies."""
    if following.method != request.method:
        following.headers.pop("content-type", None)  # the body is no longer sent
    if following.url.origin != home:
        # httpx2 sends a cookie that has no domain, as in `Client(cookies={"a": "b"})`, to every host.
        following.headers.pop("cookie", None)
    elif "cookie" in request.headers and "cookie" not in following.headers:
        # httpx2 sends only the cookies of its jar and drops the caller's.
        following.headers["cookie"] = request.headers["cookie"]
    return following


def reason_of(error: Exception) -> str:
    """Return in a few words what went wrong: the operating system's words if there are any."""
    cause: BaseException | None = error
    # Stop at the system's error: anything after it in the chain was being handled when we were called.
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None and cause.strerror is None:
        # anyio's error says only that all attempts to connect failed; its cause says why.
        cause = first_of(cause.__cause__)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.strerror:
        # asyncio puts its own text there. If a name cannot be resolved, the number is not an errno.
        number = 0 if isinstance(cause, ssl.SSLError) else cause.errno or 0
        return (os.strerror(number) if number > 0 else cause.strerror).lower()
    return str(error) or type(error).__name__


def first_of(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def failed(url: httpx2.URL, error: Exception) -> Failed:
    """Return the `Failed` for a request that got no answer."""
    # These errors do not depend on the moment: the same request always fails the same way.
    final = isinstance(
        error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.TooManyRedirects)
    )
    return Failed(f"no answer from {origin_of(url)}: {reason_of(error)}", final)


def origin_of(url: httpx2.URL) -> str:
    """Return scheme, host and port, without a password and without the query, which may hold a token."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def is_readable(response: httpx2.Response) -> bool:
    """Whether an answer is an event stream in a coding that we can decode."""
    content_type = response.headers.get("content-type", "")
    return is_stream(response.status_code, content_type) and coding_of(response) in CODINGS


def coding_of(response: httpx2.Response) -> str:
    coding: str = response.headers.get("content-encoding", "")
    return coding.strip().lower()


def refused(response: httpx2.Response, body: bytes) -> Refused:
    """Return the `Refused` for an answer that is not readable; `body` is its first part."""
    retry_after = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    if response.status_code == 200:
        detail = why_not_readable(response)[:MAX_DETAIL]
        return Refused(200, detail, "not_a_stream", None, response.headers)
    if response.next_request is not None:
        detail = (
            f"{origin_of(response.url)} redirects to {origin_of(response.next_request.url)}, another origin,"
            " where the headers, body or credentials of this request do not go:"
            " connect to it directly if you trust it"
        )
        return Refused(response.status_code, detail[:MAX_DETAIL], "redirected", None, response.headers)
    problem = parse_problem(body)
    answer = f"{response.status_code} {response.reason_phrase}".strip()
    if response.is_redirect:
        answer += ", a redirect that cannot be followed"
    detail = f"{origin_of(response.url)} answered {answer}"
    if text := str(problem.get("detail") or ""):
        detail += f": {text}"
    code = str(problem.get("code") or "stream_refused")
    return Refused(response.status_code, detail[:MAX_DETAIL], code, retry_after, response.headers)


def why_not_readable(response: httpx2.Response) -> str:
    origin = origin_of(response.url)
    if coding_of(response) not in CODINGS:
        return f"{origin} answered with the unsupported Content-Encoding {coding_of(response)!r}"
    kind = response.headers.get("content-type") or "no content type"
    return f"{origin} answered with {kind} instead of text/event-stream: is this the URL of a stream?"


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After`, which holds a number of them or an HTTP date."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    # "-0000" gives a date without a zone; HTTP dates are GMT.
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def parse_problem(body: bytes) -> dict[str, Any]:
    """Return the members of a problem+json body; an empty dict for any other body."""
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}
