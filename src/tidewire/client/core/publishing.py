"""How the clients publish and what they make of the receipts. No I/O: every client shares it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx2
import orjson

from ... import errors
from ...errors import InvalidInput, TidewireError, Unavailable, Unknown
from .requests import MAX_DETAIL, failed, parse_problem, parse_retry_after, where

# Most HTTP clients, httpx2 among them, send a whole body before they read the answer, so long
# streams are cut: receipts come this often, and a failure leaves no more than this in doubt.
MAX_LINES = 1000
MAX_REQUEST = 1024 * 1024

Receipt = dict[str, Any]


def publish_body(topic: str, data: Any, event: str | None, key: str | None, retry: int | None) -> bytes:
    """Return one event as the JSON that `POST /events` takes, which can spell every topic."""
    fields = {"topic": topic, "data": data, "event": event, "key": key, "retry": retry}
    return event_line({name: value for name, value in fields.items() if name == "data" or value is not None})


def event_line(event: Mapping[str, Any] | bytes) -> bytes:
    """Return an event as one line of NDJSON; bytes are one already."""
    if isinstance(event, bytes):
        return event.strip()
    fields = dict(event)
    try:
        if isinstance(fields.get("data"), bytes):
            fields["data"] = fields["data"].decode("utf-8")
        return orjson.dumps(fields)
    except UnicodeDecodeError as error:
        raise InvalidInput("data that is bytes must be UTF-8", code="invalid_utf8") from error
    except TypeError as error:
        raise InvalidInput(f"this cannot be written as JSON: {error}", code="invalid_data") from error


class Batch(NamedTuple):
    """The lines of one request, and the number of each in the whole stream."""

    numbers: list[int]
    lines: list[bytes]


class Cutter:
    """Cuts a stream of events into requests. Empty lines count, and are not sent."""

    def __init__(self, first: int = 1) -> None:
        self._next = first
        self._batch, self._size = Batch([], []), 0

    def add(self, event: Mapping[str, Any] | bytes) -> Batch | None:
        """Take one event more; return what is to be sent before it, if that is enough for a request."""
        number, self._next = self._next, self._next + 1
        line = event_line(event)
        if not line:
            return None
        full = len(self._batch.lines) == MAX_LINES or self._size + len(line) > MAX_REQUEST
        batch = self.rest() if full else None
        self._batch.numbers.append(number)
        self._batch.lines.append(line)
        self._size += len(line)
        return batch

    def rest(self) -> Batch | None:
        """Return what is left to be sent, if anything is."""
        batch, self._batch, self._size = self._batch, Batch([], []), 0
        return batch if batch.lines else None


def receipts(batch: Batch, body: bytes) -> Iterator[Receipt]:
    """
    Yield the receipts of an ingest, with the numbers that its lines have in the whole stream.

    Raises what ended it before the last line. What the receipts before that cover is stored.
    """
    through = 0
    for line in filter(None, body.split(b"\n")):
        receipt = parse_problem(line)
        if "code" in receipt:
            raise ingest_error(receipt, batch)
        start, through = receipt["lines"]
        yield {**receipt, "lines": [batch.numbers[start - 1], batch.numbers[through - 1]]}
    if through < len(batch.lines):
        number = batch.numbers[through]
        raise Unknown(
            f"the answer ended before line {number}: whether it is stored is not known", line=number
        )


def ingest_error(receipt: Receipt, batch: Batch) -> TidewireError:
    number = batch.numbers[int(receipt["line"]) - 1]
    detail = receipt.get("detail") or receipt["code"]
    kind = BY_CODE.get(str(receipt["code"]), InvalidInput)
    return error_for({**receipt, "detail": f"line {number}: {detail}", "line": number}, kind.status)


# By code first: it says more than the status, which several share.
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TidewireError)]
BY_CODE = {kind.code: kind for kind in KINDS}
# An error within an ingest has no status, and these pass.
BY_CODE |= dict.fromkeys(("engine_unavailable", "busy"), Unavailable)
BY_STATUS = {kind.status: kind for kind in reversed(KINDS) if kind.status != TidewireError.status}


def error_for(problem: Mapping[str, Any], status: int, retry_after: float | None = None) -> TidewireError:
    """Return the error that the other side meant."""
    code = problem.get("code")
    kind = BY_CODE.get(str(code)) or BY_STATUS.get(status, TidewireError)
    error = kind(str(problem["detail"])[:MAX_DETAIL], code=code, retry_after=retry_after, **lines_of(problem))
    error.status = status
    error.stored = "unknown" if problem.get("stored") == "unknown" else False
    return error


def lines_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    return {name: problem[name] for name in ("line", "index") if name in problem}


def answer(response: httpx2.Response) -> bytes:
    """Return the body of a publish that was accepted; raise what the hub says otherwise."""
    if response.status_code == 200:
        return response.content
    problem = parse_problem(response.content)
    status = response.status_code
    where_and_what = f"{where(response.url)} answered {status} {response.reason_phrase}".strip()
    if response.has_redirect_location:
        # Never followed: a publish that ends up elsewhere, or twice, is worse than one that fails.
        problem = {
            "code": "redirected",
            "detail": f"{where_and_what}: publish to {response.headers['location']}",
        }
    elif not problem.get("detail"):
        # No answer of a hub: a proxy stands between, and cannot say what became of a 502.
        problem = {"detail": where_and_what, "stored": "unknown" if status >= 500 else False}
    raise error_for(
        problem, status, parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    )


def lost(url: httpx2.URL, error: Exception) -> TidewireError:
    """Return the error for a publish that got no answer: whether it arrived depends on when it broke."""
    detail = failed(url, error).detail
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
        return Unavailable(detail, code="unreachable")
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return InvalidInput(detail)
    return Unknown(f"{detail}; whether the event is stored is not known", code="no_answer")
