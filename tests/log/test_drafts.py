from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from tidewire.errors import TidewireError
from tidewire.log.drafts import draft, draft_of, drafts_of, end_draft
from tidewire.log.entries import Draft

LIMIT = 1000


@dataclass
class Sample:
    value: float


SAMPLE = Sample(0.5)


def refused(code: str, status: int, call: Any, *args: Any, **fields: Any) -> None:
    with pytest.raises(TidewireError) as refusal:
        call(*args, max_event=LIMIT, **fields)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert refusal.value.stored is False
    assert isinstance(refusal.value, ValueError)


def test_the_fewest_and_the_most_fields() -> None:
    assert draft("a", max_event=LIMIT) == Draft("a", "", "message", None, None)
    full = draft("a/b", "x", event="news", retry=700, key="k 1", max_event=LIMIT)
    assert full == Draft("a/b", "x", "news", 700, "k 1")
    assert draft("a", "x", event="", max_event=LIMIT).event == "message"


DATA: dict[str, tuple[Any, str]] = {
    "text": ("text", "text"),
    "line ends are kept": ("a\r\nb\r", "a\r\nb\r"),
    "NUL and BOM": ("\ufeff\0", "\ufeff\0"),
    "bytes": ("é".encode(), "é"),
    "bytearray": (bytearray(b"x"), "x"),
    "memoryview": (memoryview(b"x"), "x"),
    "dict": ({"status": "paid", "é": [1, None, True]}, '{"status":"paid","é":[1,null,true]}'),
    "None": (None, "null"),
    "number": (1.5, "1.5"),
    "the largest integers": ([2**64 - 1, -(2**63)], "[18446744073709551615,-9223372036854775808]"),
    "17 digits": (0.1 + 0.2, "0.30000000000000004"),
    "null beside numbers": (
        {"a": None, "b": [1.5, None], "c": "null"},
        '{"a":null,"b":[1.5,null],"c":"null"}',
    ),
    "a dataclass": ([SAMPLE, None], '[{"value":0.5},null]'),
    "JSON text stays text": ('{"a": 1}', '{"a": 1}'),
}


@pytest.mark.parametrize("case", DATA)
def test_data(case: str) -> None:
    given, expected = DATA[case]
    assert draft("a", given, max_event=LIMIT).data == expected


BAD_DATA: dict[str, tuple[Any, str, int]] = {
    "not UTF-8": (b"\xff", "invalid_utf8", 400),
    "overlong UTF-8": (b"\xc0\x80", "invalid_utf8", 400),  # attack A11
    "UTF-16": ("x".encode("utf-16"), "invalid_utf8", 400),
    "a lone surrogate": ("\ud800", "invalid_utf8", 400),
    "a lone surrogate inside": ({"a": "\ud800"}, "invalid_data", 400),
    "no JSON type": (object(), "invalid_data", 400),
    "a cycle": ((circle := []).append(circle) or circle, "invalid_data", 400),  # type: ignore[func-returns-value]
    "an integer beyond 64 bits": (2**64, "invalid_data", 400),
    "a negative one": ({"a": [-(2**63) - 1]}, "invalid_data", 400),
    "NaN": (math.nan, "invalid_data", 400),
    "an infinity inside": ({"a": [None, (1.0, -math.inf)]}, "invalid_data", 400),
    "NaN in a dataclass": (Sample(math.nan), "invalid_data", 400),
    "one byte too many": ("x" * (LIMIT + 1), "event_too_large", 413),
    "one byte too many in UTF-8": ("é" * (LIMIT // 2) + "x", "event_too_large", 413),
    "one byte too many as JSON": (["x" * (LIMIT - 3)], "event_too_large", 413),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case: str) -> None:
    given, code, status = BAD_DATA[case]
    refused(code, status, draft, "a", given)


def test_data_of_exactly_the_limit() -> None:
    for data in ("x" * LIMIT, "é" * (LIMIT // 2), ["x" * (LIMIT - 4)]):
        assert len(draft("a", data, max_event=LIMIT).data.encode()) == LIMIT


@pytest.mark.parametrize("event", ["x\nevent: admin", "x\r", "\r\n", "a\0", "\ud800", 7, b"x"])
def test_bad_types(event: Any) -> None:
    refused("invalid_type", 400, draft, "a", event=event)  # attacks A01, A02 and A17


@pytest.mark.parametrize("event", ["hub.gap", "hub.", "hub.anything"])
def test_types_of_the_hub(event: str) -> None:
    refused("reserved_type", 403, draft, "a", event=event)  # attack A14


@pytest.mark.parametrize("event", ["hub", "hubs", "Hub.gap", "my.hub.x"])
def test_types_that_only_look_like_the_hubs(event: str) -> None:
    assert draft("a", event=event, max_event=LIMIT).event == event


@pytest.mark.parametrize("retry", [0, -1, 1, 499, 600_001, 10**12, True, 1.5, "700", "5\nid: x"])
def test_bad_retries(retry: Any) -> None:
    refused("invalid_retry", 400, draft, "a", retry=retry)  # attack A13


@pytest.mark.parametrize("key", ["", "x" * 129, "é" * 65, "a\nb", "a\0", "\x7f", "\ud800", "\u202e", 7, b"x"])
def test_bad_keys(key: Any) -> None:
    refused("invalid_key", 400, draft, "a", key=key)  # attacks A03 and F16


@pytest.mark.parametrize("key", ["x" * 128, "é" * 64, "a b", "2f1c-77#12"])
def test_keys(key: str) -> None:
    assert draft("a", key=key, max_event=LIMIT).key == key


@pytest.mark.parametrize(
    ("topic", "code", "status"),
    [
        ("a/*", "invalid_topic", 400),
        ("", "invalid_topic", 400),
        ("a\n", "invalid_topic", 400),
        ("$sys/x", "reserved_topic", 403),
        ("/.well-known/x", "reserved_topic", 403),
        (7, "invalid_topic", 400),
    ],
)
def test_bad_topics(topic: Any, code: str, status: int) -> None:
    refused(code, status, draft, topic)
    refused(code, status, end_draft, topic, "over")
    refused(code, status, draft_of, {"topic": topic})


def test_json_objects() -> None:
    assert draft_of({"topic": "a"}, max_event=LIMIT) == Draft("a")
    fields = {"topic": "a", "data": {"x": 1}, "event": "e", "retry": 700, "key": "k"}
    assert draft_of(fields, max_event=LIMIT) == Draft("a", '{"x":1}', "e", 700, "k")
    # null means the default, except for data.
    empty = {"topic": "a", "data": None, "event": None, "retry": None, "key": None}
    assert draft_of(empty, max_event=LIMIT) == Draft("a", "null")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([], "invalid_json"),
        ("topic", "invalid_json"),
        (None, "invalid_json"),
        ({}, "missing_topic"),
        ({"topic": "a", "id": "7"}, "id_not_allowed"),  # attack A03
        ({"topic": "a", "id": None}, "id_not_allowed"),
        ({"topic": "a", "typ": "x"}, "invalid_json"),
        ({"topic": "a", 7: "x"}, "invalid_json"),
        ({"topic": "a", "event": 7}, "invalid_type"),
        ({"topic": "a", "retry": "700"}, "invalid_retry"),
        ({"topic": "a", "key": 7}, "invalid_key"),
    ],
)
def test_bad_json_objects(fields: Any, code: str) -> None:
    refused(code, 400, draft_of, fields)


def test_the_name_of_an_unknown_field_is_shortened() -> None:
    with pytest.raises(TidewireError) as refusal:
        draft_of({"topic": "a", "x" * 10_000: 1}, max_event=LIMIT)
    assert len(refusal.value.detail) < 100


def test_the_end_of_a_topic() -> None:
    assert end_draft("a", "sold out", max_event=LIMIT) == Draft("a", "sold out", end=True)
    refused("event_too_large", 413, end_draft, "a", "x" * (LIMIT + 1))
    refused("invalid_utf8", 400, end_draft, "a", "\ud800")


@pytest.mark.parametrize(
    "fields",
    [
        {"topic": "a", "data": "x"},
        {"topic": "a", "data": "é"},
        {"topic": "a", "data": "x" * 101},
        {"topic": "a", "data": "é" * 51},
        {"topic": "a", "data": 1},
        {"topic": "a", "data": [2**64 - 1, 0.1]},
        {"topic": "a", "event": "paid"},
        {"topic": "a", "key": "k"},
        {"topic": "a", "data": "x", "event": "hub.end"},
        {"topic": "a", "retry": 700},
        {"topic": "a", "data": "x", "id": "1"},
        {"topic": "b*", "data": "x"},
        {"topic": ["a"], "data": "x"},
        {"data": "x", "event": "y"},
        ["topic", "data"],
    ],
    ids=range(15),
)
def test_drafts_of_many_agrees_with_draft_of_each(fields: Any) -> None:
    first, line = b'{"topic":"a","data":"first"}', orjson.dumps(fields)
    expected = outcome(lambda: draft_of(fields, max_event=100))
    if isinstance(expected, str):
        assert outcome(lambda: drafts_of([first, line], max_event=100)) == expected
    else:
        assert drafts_of([first, line, first], max_event=100) == [
            Draft("a", "first"),
            expected,
            Draft("a", "first"),
        ]


def outcome(make: Callable[[], Any]) -> Any:
    """Return what `make` returns, or the code of its refusal."""
    try:
        return make()
    except TidewireError as error:
        return error.code
