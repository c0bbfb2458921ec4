from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from tidewire.client.core.publishing import MAX_LINES, MAX_REQUEST, Batch, Cutter, error_for, event_line
from tidewire.client.core.requests import (
    merged,
    origin_of,
    parse_problem,
    parse_retry_after,
    reason_of,
    refused,
)
from tidewire.errors import Draining, InvalidInput, KeyConflict, StoreFull, TidewireError, TooLarge, TooMany

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 400, 999_999_999),
        ("Sun, 22 Nov 2026 12:00:07 GMT", 7),
        ("Sun, 22 Nov 2026 12:00:07 -0000", 7),
        ("Sunday, 22-Nov-26 12:00:07 GMT", 7),
        ("Sun, 22 Nov 2020 12:00:00 GMT", 0),
        ("-1", None),
        ("1.5", None),
        ("\u0665", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b"{", b"\xff"])
def test_other_bodies_are_not_problems(body: bytes) -> None:
    assert parse_problem(body) == {}


def test_a_long_refusal_is_cut() -> None:
    response = httpx2.Response(400, request=httpx2.Request("GET", "http://user:secret@a:81/b?token=secret"))
    ending = refused(response, b'{"detail": "%s"}' % (b"x" * 100_000))
    assert ending.detail.startswith("http://a:81 answered 400 Bad Request: xxx")
    assert len(ending.detail) == 500


def test_no_password_in_messages() -> None:
    assert origin_of(httpx2.URL("https://user:secret@[::1]:8443/b?token=secret")) == "https://[::1]:8443"


def test_the_reason_is_in_the_systems_words() -> None:
    reset = httpx2.ReadError("[Errno 104]")
    reset.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    assert reason_of(reset) == "connection reset by peer"
    late = httpx2.ReadTimeout("timed out")
    late.__cause__ = TimeoutError("timed out")
    late.__cause__.__context__ = OSError(2, "No such file: what the caller was busy with")
    assert reason_of(late) == "timed out"
    assert reason_of(httpx2.ReadTimeout("")) == "ReadTimeout"
    several = httpx2.ConnectError("All connection attempts failed")
    several.__cause__ = OSError("All connection attempts failed")
    several.__cause__.__cause__ = ExceptionGroup(
        "", [OSError(111, "Connect call failed ('::1')"), OSError(113, "No route")]
    )
    assert reason_of(several) == "connection refused"


def test_the_callers_headers_replace_ours_whatever_their_case() -> None:
    headers = dict(merged({"Accept": "a", "X": "b"}, {"ACCEPT": "c", "tidewire-client": "d"}))
    assert headers == {b"X": b"b", b"ACCEPT": b"c", b"tidewire-client": b"d"}


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("draining", 503, Draining),
        ("key_conflict", 422, KeyConflict),
        ("too_many", 429, TooMany),
        ("event_too_large", 413, TooLarge),
        ("store_full", 507, StoreFull),
        ("invalid_type", 400, InvalidInput),
        ("unheard_of", 418, TidewireError),
        (None, 500, TidewireError),
    ],
)
def test_errors_by_code_and_by_status(code: str | None, status: int, kind: type[TidewireError]) -> None:
    error = error_for({"code": code, "detail": "d", "stored": False, "index": 3}, status)
    assert type(error) is kind
    assert (error.status, error.members) == (status, {"index": 3})
    assert error.code == code or code is None


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"topic": "t", "data": "é\n"}, '{"topic":"t","data":"é\\n"}'.encode()),
        ({"topic": "t", "data": b"\xc3\xa9"}, '{"topic":"t","data":"é"}'.encode()),
        ({"topic": "t", "data": NOW}, b'{"topic":"t","data":"\\"2026-11-22T12:00:00+00:00\\""}'),
        (b'  {"topic": "t"}\r\n', b'{"topic": "t"}'),
    ],
)
def test_an_event_is_one_line(event: Any, line: bytes) -> None:
    assert event_line(event) == line


def cut(lines: list[bytes], first: int = 1) -> list[Batch]:
    cutter = Cutter(first)
    return [batch for batch in [*map(cutter.add, lines), cutter.rest()] if batch]


def test_batches_are_bounded_and_empty_lines_only_count() -> None:
    many = cut([b"{}"] * (MAX_LINES + 1))
    assert [(batch.numbers[0], len(batch.lines)) for batch in many] == [(1, MAX_LINES), (MAX_LINES + 1, 1)]
    large = cut([b"x" * MAX_REQUEST, b"", b"\n", b"x"], first=10)
    assert [batch.numbers for batch in large] == [[10], [13]]
    assert cut([b"", b" "]) == []
