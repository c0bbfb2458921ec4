"""How the clients publish, and how they read the receipts. No I/O; both clients share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx2
import orjson

from ... import errors
from ...data import as_text
from ...errors import InvalidInput, TidewireError, TooMany, Unavailable, Unknown
from .requests import MAX_DETAIL, failed, origin_of, parse_problem, parse_retry_after

# Most HTTP clients, httpx2 among them, send the whole body before they read the answer. So long
# streams are cut: receipts come at least this often, and a failure leaves at most this much in doubt.
MAX_LINES = 1000
MAX_REQUEST = 1024 * 1024

BYTES = (bytes, bytearray, memoryview)

Receipt = dict[str, Any]
"""The hub's answer to a publish, as in its JSON: the methods of a publisher say which keys it has."""


def publish_body(topic: str, data: Any, event: str | None, key: str | None, retry: int | None) -> bytes:
    """Return one event as the JSON body of `POST /events`, in which every topic can be written."""
    fields = {"topic": topic, "data": data, "event": event, "key": key, "retry": retry}
    return event_line({name: value for name, value in fields.items() if name == "data" or value is not None})


def event_line(event: Mapping[str, Any] | bytes) -> bytes:
    """Return an event as one line of NDJSON; bytes are such a line already."""
    if isinstance(event, bytes):
        return event.strip()
    fields = dict(event)
    data = fields.get("data", "")
    if not isinstance(data, str):
        text = as_text(data)
        # The hub takes a JSON string as the text itself, so JSON text that is one goes as text too.
        is_text = isinstance(data, BYTES) or text.startswith('"')
        fields["data"] = text if is_text else orjson.Fragment(text)
    try:
        return orjson.dumps(fields)
    except TypeError as error:
        raise InvalidInput(f"cannot write the event as JSON: {error}", code="invalid_data") from error


class Batch(NamedTuple):
    """The lines of one request, and the number of each line in the whole stream."""

    numbers: list[int]
    lines: list[bytes]


class Cutter:
    """Cuts a stream of events into requests. Empty lines are counted but not sent."""

    def __init__(self, first: int = 1) -> None:
        self._next = first
        self._batch, self._size = Batch([], []), 0

    def add(self, event: Mapping[str, Any] | bytes) -> Batch | None:
        """Add one event. Return the batch before it if that is full now."""
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
        """Return the last batch, if there is anything left to send."""
        batch, self._batch, self._size = self._batch, Batch([], []), 0
        return batch if batch.lines else None


def receipts(batch: Batch, body: bytes) -> Iterator[Receipt]:
    """
    Yield the receipts of an ingest, with line numbers that count over the whole stream.

    Raises the error that stopped it before the last line. The lines of earlier receipts are stored.
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
        raise Unknown(f"the answer ended before line {number}: it may or may not be stored", line=number)


def ingest_error(receipt: Receipt, batch: Batch) -> TidewireError:
    number = batch.numbers[int(receipt["line"]) - 1]
    detail = receipt.get("detail") or receipt["code"]
    kind = BY_CODE.get(str(receipt["code"]), InvalidInput)
    return error_for({**receipt, "detail": f"line {number}: {detail}", "line": number}, kind.status)


# By code first: several errors share one status.
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TidewireError)]
BY_CODE = {kind.code: kind for kind in KINDS}
# An error within an ingest has no status. These are transient.
BY_CODE |= dict.fromkeys(("engine_unavailable", "busy", "memory_low"), Unavailable)
BY_CODE["too_many_publishes"] = TooMany
BY_STATUS = {kind.status: kind for kind in reversed(KINDS) if kind.status != TidewireError.status}


def error_for(problem: Mapping[str, Any], status: int, retry_after: float | None = None) -> TidewireError:
    """Return the error of which `problem` is the body."""
    code = problem.get("code")
    kind = BY_CODE.get(str(code)) or BY_STATUS.get(status, TidewireError)
    error = kind(str(problem["detail"])[:MAX_DETAIL], code=code, retry_after=retry_after, **lines_of(problem))
    error.status = status
    error.stored = "unknown" if problem.get("stored") == "unknown" else False
    return error


def lines_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    return {name: problem[name] for name in ("line", "index") if name in problem}


def body_of(response: httpx2.Response) -> bytes:
    """Return the body of a 200 answer. Raises the hub's error for any other."""
    if response.status_code == 200:
        return response.content
    problem = parse_problem(response.content)
    status = response.status_code
    summary = f"{origin_of(response.url)} answered {status} {response.reason_phrase}".strip()
    if response.has_redirect_location:
        # Never followed: an event that is stored elsewhere, or twice, is worse than one that fails.
        problem = {
            "code": "redirected",
            "detail": f"{summary}: publish to {response.headers['location']}",
        }
    elif not problem.get("detail"):
        # The answer is from a proxy, not from a hub. After a 5xx the event may or may not be stored.
        problem = {"detail": summary, "stored": "unknown" if status >= 500 else False}
    raise error_for(
        problem, status, parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    )


def no_answer(url: httpx2.URL, error: Exception) -> TidewireError:
    """Return the error for a publish that got no answer. Unless it cannot have arrived, it is `Unknown`."""
    detail = failed(url, error).detail
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
        return Unavailable(detail, code="unreachable")
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return InvalidInput(detail)
    return Unknown(f"{detail}; the event may or may not be stored", code="no_answer")
