"""How the clients ask for a stream and what they make of the answer. No I/O: every client shares it."""

from __future__ import annotations

import functools
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

# With this header a hub answers 503 and `Retry-After` where a native EventSource, which
# would give up for ever, gets an empty stream.
TIDEWIRE_CLIENT = f"python/{__version__}"

# A proxy from the environment is no way to this machine itself. (curl and httpx2 take it all the same.)
DIRECT: dict[str, None] = {"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None}

MAX_REDIRECTS = 20

# We ask for none, but what comes all the same and can be undone bit by bit is undone.
CODINGS = frozenset({"", "identity", "gzip", "deflate"})

# Everything that may go to another origin after a redirect. A list of what may, not of what may not:
# a key can hide in any header (`X-Api-Key`). `Cookie` is httpx2's own by then, from its jar for that host.
CROSSING = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-length content-type cookie"
    b" host last-event-id tidewire-client transfer-encoding user-agent".split()
)

HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HEADER_VALUE = re.compile(rb"(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?")

# More of a refusal than this is read by nobody.
MAX_DETAIL = 500

Headers = Mapping[str, str]
# A function is asked before each request; that of the async client may be a coroutine function.
HeaderSource = Headers | Callable[[], Headers | Awaitable[Headers]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """
    How long to wait for what, in seconds; None is for ever.

    `connect` is for a connection, `head` for the head of the answer, `silence` for the next byte of an open
    stream. Without `silence` two and a half of the heartbeats that a hub announces are waited for, and where
    none are announced for ever: a stream may be silent.
    """

    connect: float | None = 10.0
    head: float | None = 30.0
    silence: float | None = None

    def until_head(self) -> httpx2.Timeout:
        return httpx2.Timeout(self.connect, read=self.head, write=self.head)


# Reading the system's certificates takes 60 ms, 30 times as long as the rest of a client.
@functools.cache
def tls_context() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def http_url(url: str) -> httpx2.URL:
    """Return the URL, or raise before any I/O what the network would only say later."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise InvalidInput(f"not a URL: {url!r} ({error})", code="invalid_url") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(f"not an http:// or https:// URL: {url!r}", code="invalid_url")
    return parsed


def events_url(base: str) -> httpx2.URL:
    """Return where a hub takes and gives events, for where it is mounted; `…/events` stays as it is."""
    url = http_url(base)
    path, mark, query = url.raw_path.partition(b"?")
    path = path.rstrip(b"/")
    path = path if path.endswith(b"/events") else path + b"/events"
    return url.copy_with(raw_path=path + mark + query)


def stream_url(url: str, topics: Iterable[str], since: str | None) -> httpx2.URL:
    """Return the URL to subscribe at: of the hub at `url` if topics are named, else `url` itself."""
    terms = list(topics)
    target = events_url(url) if terms else http_url(url)
    for term in terms:
        target = target.copy_add_param("topic", term)
    if terms:
        # Whoever names topics asks a hub, which knows this. Another server may refuse what it does not know.
        target = target.copy_set_param("control", "open")
    return target if since is None else target.copy_set_param("since", since)


def terms_of(topics: str | Iterable[str]) -> list[str]:
    """Return topics and patterns as a list; one alone may be given as it is."""
    return [topics] if isinstance(topics, str) else list(topics)


def content_of(body: Any) -> tuple[bytes | None, Headers]:
    """Return a body as bytes, and the header that says what it is: JSON unless it is text or bytes."""
    if body is None or isinstance(body, bytes):
        return body, {}
    if isinstance(body, str):
        return body.encode("utf-8"), {}
    try:
        return orjson.dumps(body), {"Content-Type": "application/json"}
    except TypeError as error:
        raise InvalidInput(f"the body cannot be written as JSON: {error}", code="invalid_data") from error


def stream_headers(
    headers: Headers, last_event_id: bytes | None, content: Headers | None = None
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request for a stream; the caller's own replace ours."""
    if any(name.lower() == "last-event-id" for name in headers):
        raise InvalidInput(
            "say `last_event_id=`, not a header: it changes with each event", code="invalid_id"
        )
    ours = {
        "Accept": "text/event-stream",
        "Cache-Control": "no-cache",
        # A compressed stream can hold an event back until the next one pushes it out.
        "Accept-Encoding": "identity",
        **(content or {}),
    }
    # As bytes: the id is UTF-8, and what makes text of it makes something else of it.
    resume = [] if last_event_id is None else [(b"Last-Event-ID", last_event_id)]
    return [*merged(ours, headers), *resume]


def merged(ours: Headers, theirs: Headers) -> list[tuple[bytes, bytes]]:
    """Return our headers with the caller's own in place of those with the same name."""
    given = {name.lower() for name in theirs}
    ours = {"Tidewire-Client": TIDEWIRE_CLIENT, **ours}
    chosen = [(name, value) for name, value in ours.items() if name.lower() not in given]
    return [header(name, value) for name, value in [*chosen, *theirs.items()]]


def header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header as bytes. What HTTP cannot carry is refused without its value, which may be a key."""
    raw = value.encode("utf-8", "surrogatepass")
    if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(raw):
        reason = "a line end in it, or blanks around it?"
        raise InvalidInput(f"the header {name!r} cannot be sent: {reason}", code="invalid_header")
    return name.encode("ascii"), raw


def check_last_event_id(value: str) -> str:
    if any(character in value for character in "\r\n\0"):
        raise InvalidInput("a last event id holds no CR, LF or NUL", code="invalid_id")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput("a last event id is text that UTF-8 can spell", code="invalid_id") from error
    return value


def redirected(request: httpx2.Request, following: httpx2.Request, home: httpx2.Origin) -> httpx2.Request:
    """Return the request after a redirect, without the caller's headers if it leads away from `home`."""
    if following.method != request.method:
        following.headers.pop("content-type", None)  # of a body that is no longer sent
    if following.url.origin != home:
        kept = [(name, value) for name, value in following.headers.raw if name.lower() in CROSSING]
        following.headers = httpx2.Headers(kept)
    elif "cookie" in request.headers and "cookie" not in following.headers:
        # httpx2 takes cookies from its jar alone and drops the caller's own.
        following.headers["cookie"] = request.headers["cookie"]
    return following


def why(error: Exception) -> str:
    """Return what went wrong in a few words: the system's own, if it has said something."""
    cause: BaseException | None = error
    # Not beyond the system's error: what comes behind that was being handled when we were called.
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None and cause.strerror is None:
        # anyio says that all attempts to connect failed, and here how they did.
        cause = first_of(cause.__cause__)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.strerror:
        # asyncio writes its own words there. Of a name that is not found the number means something else.
        number = 0 if isinstance(cause, ssl.SSLError) else cause.errno or 0
        return (os.strerror(number) if number > 0 else cause.strerror).lower()
    return str(error) or type(error).__name__


def first_of(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def failed(url: httpx2.URL, error: Exception) -> Failed:
    """Say how a request ended that got no answer."""
    # These do not depend on the moment: the same request fails the same way for ever.
    final = isinstance(
        error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.TooManyRedirects)
    )
    return Failed(f"no answer from {where(url)}: {why(error)}", final)


def where(url: httpx2.URL) -> str:
    """Return scheme, host and port: no password, and no token that a query may hold."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def readable(response: httpx2.Response) -> bool:
    """Whether an answer is an event stream in a coding that we can undo."""
    content_type = response.headers.get("content-type", "")
    return is_stream(response.status_code, content_type) and coding_of(response) in CODINGS


def coding_of(response: httpx2.Response) -> str:
    coding: str = response.headers.get("content-encoding", "")
    return coding.strip().lower()


def refused(response: httpx2.Response, body: bytes) -> Refused:
    """Say what an answer means that is not readable; `body` is its beginning."""
    retry_after = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    if response.status_code == 200:
        detail = not_a_stream(response)[:MAX_DETAIL]
        return Refused(200, detail, "not_a_stream", None, response.headers)
    problem = parse_problem(body)
    answer = f"{response.status_code} {response.reason_phrase}".strip()
    if response.is_redirect:
        answer += ", a redirect that leads nowhere"
    detail = f"{where(response.url)} answered {answer}"
    if text := str(problem.get("detail") or ""):
        detail += f": {text}"
    code = str(problem.get("code") or "stream_refused")
    return Refused(response.status_code, detail[:MAX_DETAIL], code, retry_after, response.headers)


def not_a_stream(response: httpx2.Response) -> str:
    origin = where(response.url)
    if coding_of(response) not in CODINGS:
        return f"{origin} answered in the coding {coding_of(response)!r}, which nobody asked for"
    kind = response.headers.get("content-type") or "no content type"
    return f"{origin} answered with {kind}, not with text/event-stream: is this the address of a stream?"


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` asks for, given as such or as an HTTP date."""
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
    """Return the members of a problem+json body; none if it is anything else."""
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}
