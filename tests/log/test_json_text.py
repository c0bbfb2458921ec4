"""log.json_text: numbers in JSON are stored as they were sent (attack F20)."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random
from typing import Any

import orjson
import pytest

from tidewire.errors import InvalidInput
from tidewire.log.drafts import draft_of, drafts_of
from tidewire.log.json_text import read_json

LIMIT = 1000

# What orjson would change.
EXACT = [
    "18446744073709551616",
    "-9223372036854775809",
    "12345678901234567890123",
    "9" * 300,
    "-0",
    "0.1000000000000000055511151231257827",
    "12345678901234567.0",
    "1e-400",
    "-1E-324",
    "2.2250738585072011e-308",
    "4.9406564584124654E-324",
    "9007199254740993e10",
    "0.00000000000000000000000000000001",
]

# What is the same in orjson's spelling.
SAME = {
    "18446744073709551615": "18446744073709551615",
    "-9223372036854775808": "-9223372036854775808",
    "9223372036854775808": "9223372036854775808",
    "1760000000000000000": "1760000000000000000",
    "0.30000000000000004": "0.30000000000000004",
    "1.10": "1.1",
    "1E5": "100000.0",
    "-0.0": "-0.0",
    "1.5e-7": "1.5e-7",
    "1e22": "1e+22",
    "-5": "-5",
    "0": "0",
}


def stored(number: str, *, beside: str = "") -> str:
    """Return what is stored of `number` in an event's data, in a body with something `beside` it."""
    text = f'{{"topic": "a", "data": {{"x": [{number}]}}{beside}}}'.encode()
    data = draft_of(read_json(text), max_event=LIMIT).data
    assert data.startswith('{"x":['), data
    assert data.endswith("]}"), data
    return data[6:-2]


@pytest.mark.parametrize("number", EXACT)
def test_a_number_that_would_change_is_kept_as_it_is_spelled(number: str) -> None:
    assert stored(number) == number
    assert draft_of(read_json(b'{"topic":"a","data":%b}' % number.encode()), max_event=LIMIT).data == number


@pytest.mark.parametrize("number", SAME)
def test_other_numbers(number: str) -> None:
    assert stored(number) == SAME[number]


def test_a_number_means_the_same_whatever_is_beside_it() -> None:
    for number in [*EXACT, *SAME]:
        assert stored(f"{number},12345678901234567890123") == f"{stored(number)},12345678901234567890123"


def test_no_number_changes() -> None:
    random = Random(1)
    for _ in range(20_000):
        digits = "".join(random.choices("0123456789", k=random.randint(1, 25)))
        number = random.choice(["", "-"]) + (digits.lstrip("0") or "0")
        if random.random() < 0.6:
            number += "." + "".join(random.choices("0123456789", k=random.randint(1, 25)))
        if random.random() < 0.4:
            number += random.choice("eE") + random.choice(["", "+", "-"]) + str(random.randint(0, 280))
        try:
            orjson.loads(number)
        except orjson.JSONDecodeError:
            continue  # too large
        found = stored(number)
        assert Decimal(found) == Decimal(number), number
        assert Decimal(found).is_signed() == Decimal(number).is_signed(), number


def test_numbers_in_a_batch_and_in_lines() -> None:
    numbers = [*EXACT, *SAME]
    texts = [b'{"topic":"a","data":[%b]}' % number.encode() for number in numbers]
    expected = [f"[{stored(number)}]" for number in numbers]
    batch = read_json(b"[%b]" % b",".join([b'{"topic":"a","data":"text"}', *texts]))
    assert [draft_of(fields, max_event=LIMIT).data for fields in batch[1:]] == expected
    lines = drafts_of([b'{"topic":"a","data":"text","event":"e"}', *texts], max_event=LIMIT)
    assert [draft.data for draft in lines[1:]] == expected


def test_text_is_not_a_number() -> None:
    fields = {"topic": "a", "data": {"text": '12345678901234567890123, -0, 1e-400 \\ " é 𝄞'}}
    for text in (orjson.dumps(fields), json.dumps(fields).encode()):
        assert json.loads(draft_of(read_json(text), max_event=LIMIT).data) == fields["data"]


def test_the_other_fields_are_read_as_ever() -> None:
    text = b'{"topic":"a","data":[12345678901234567890123],"retry":700,"key":"k","event":"e"}'
    assert draft_of(read_json(text), max_event=LIMIT)[1:5] == ("[12345678901234567890123]", "e", 700, "k")


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("topic", "invalid_topic"),
        ("event", "invalid_type"),
        ("retry", "invalid_retry"),
        ("key", "invalid_key"),
    ],
)
def test_such_a_number_in_another_field_is_refused(field: str, code: str) -> None:
    text = b'{"topic":"a","data":[1],"%b":12345678901234567890123}' % field.encode()
    with pytest.raises(InvalidInput) as refused:
        draft_of(read_json(text), max_event=LIMIT)
    assert refused.value.code == code


@pytest.mark.parametrize("text", [b"1e400", b"-1e400", b"9" * 4301, b'{"topic":"a","data":[1e999999999]}'])
def test_a_number_beyond_all_floats_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="send it as text") as refused:
        read_json(text)
    assert refused.value.code == "invalid_json"


@pytest.mark.parametrize("number", ["1", "12345678901234567890123"])
def test_the_deepest_data(number: str) -> None:
    deepest = "[" * 254 + number + "]" * 254
    text = b'{"topic":"a","data":%b}' % deepest.encode()
    assert draft_of(read_json(text), max_event=LIMIT).data == deepest
    (fields,) = read_json(b"[%b]" % text)
    assert draft_of(fields, max_event=LIMIT).data == deepest


@pytest.mark.parametrize("depth", [255, 300, 1020])
@pytest.mark.parametrize("number", [b"1", b"12345678901234567890123"])
def test_data_that_is_nested_too_deeply(depth: int, number: bytes) -> None:
    text = b'{"topic":"a","data":%b}' % (b"[" * depth + number + b"]" * depth)
    with pytest.raises(InvalidInput):
        draft_of(read_json(text), max_event=100_000)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"NaN", b"[Infinity]", b'{"data":[-0],}', b"\xff", b"\xef\xbb\xbf1", b'"\\ud800"']
)
def test_what_is_not_json(text: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_json(text)
    assert refused.value.code in ("invalid_json", "invalid_utf8")


@pytest.mark.parametrize("value", [None, 7, "topic", [], [[]], [7], {}, {"data": None}])
def test_json_that_is_not_an_event(value: Any) -> None:
    assert read_json(orjson.dumps(value)) == value
