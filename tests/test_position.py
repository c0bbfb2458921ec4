from __future__ import annotations

import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.errors import InvalidPosition
from tidewire.position import MAX_OFFSET, Position, new_checks, parse_position

PLAIN = string.ascii_letters + string.digits

positions = st.builds(
    Position,
    st.text(PLAIN, min_size=6, max_size=6),
    st.integers(0, MAX_OFFSET),
    st.just("") | st.text(PLAIN, min_size=6, max_size=6),
)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("aK3x9Q.1042", Position("aK3x9Q", 1042)),
        ("aK3x9Q.1042.f7Kq2Z", Position("aK3x9Q", 1042, "f7Kq2Z")),
        ("000000.0", Position("000000", 0)),
        ("ZZZZZZ.0.000000", Position("ZZZZZZ", 0, "000000")),
        ("abcdef.9223372036854775807", Position("abcdef", 2**63 - 1)),
    ],
)
def test_spelling(text: str, position: Position) -> None:
    assert parse_position(text) == position
    assert str(position) == f"{position}" == text


@given(positions)
def test_round_trip(position: Position) -> None:
    text = str(position)
    assert parse_position(text) == position
    assert len(text) <= 40
    assert set(text) <= {*PLAIN, "."}
    assert text.count(".") == (2 if position.check else 1)


@given(st.text() | st.text(PLAIN + ".", max_size=32))
def test_any_text_is_refused_or_the_only_spelling_of_a_position(text: str) -> None:
    try:
        position = parse_position(text)
    except InvalidPosition:
        return
    assert str(position) == text


# Attack B03: text that means something to an engine, a database or a formatter.
HOSTILE = ["$", ">", "+", "-", "*", "0-0", "' OR 1=1--", "\x00", "%s", "{}"]

INVALID = [
    "",
    ".",
    "..",
    "aK3x9Q",
    "aK3x9Q.",
    ".1042",
    "aK3x9.1042",
    "aK3x9QQ.1042",
    "aK3x9Q.1042.",
    "aK3x9Q.1042.f7Kq2",
    "aK3x9Q.1042.f7Kq2Zx",
    "aK3x9Q.1042.f7Kq2Z.f7Kq2Z",
    "aK3x9Q.01",
    "aK3x9Q.00",
    "aK3x9Q.+1",
    "aK3x9Q.-1",
    "aK3x9Q.1_000",
    "aK3x9Q.1e3",
    "aK3x9Q.0x10",
    "aK3x9Q.1.0.f7Kq2Z",
    "aK3x9Q.9223372036854775808",
    "aK3x9Q.9999999999999999999",
    "aK3x9Q.10000000000000000000",
    "aK3x9Q." + "9" * 5000,
    "aK3x9Q.\u0661\u0662",
    "aK3x9Q.\uff11",
    "\u00e9K3x9Q.1",
    "aK3x9Q.1\n",
    "aK3x9Q.1.f7Kq2Z\n",
    "\naK3x9Q.1",
    " aK3x9Q.1",
    "aK3x9Q.1 ",
    "aK3x9Q.1\x00",
    "aK3_9Q.1",
    "aK3x9Q-1",
    "aK3x9Q,1",
    "\ufeffaK3x9Q.1",
    "\ud800K3x9Q.1",
    "a" * 1_000_000,
]


@pytest.mark.parametrize(
    "text",
    [*HOSTILE, *(f"aK3x9Q.{text}" for text in HOSTILE), *(f"{text}.1" for text in HOSTILE), *INVALID],
    ids=lambda text: ascii(text)[:40],
)
def test_invalid_positions(text: str) -> None:
    with pytest.raises(InvalidPosition) as refusal:
        parse_position(text)
    assert refusal.value.status == 400
    assert refusal.value.code == "invalid_position"
    assert isinstance(refusal.value, ValueError)


def test_the_error_does_not_repeat_the_text() -> None:
    with pytest.raises(InvalidPosition) as refusal:
        parse_position("<img src=x onerror=alert(1)>")
    assert "img" not in str(refusal.value.problem())


def test_position_is_a_plain_value() -> None:
    position = Position("aK3x9Q", 7, "f7")
    assert position == ("aK3x9Q", 7, "f7")
    assert pickle.loads(pickle.dumps(position)) == position
    assert {position: 1}[Position("aK3x9Q", 7, "f7")] == 1


def test_checks_are_six_characters_each_and_never_twice() -> None:
    checks = new_checks(1000)
    assert len(set(checks)) == 1000
    for check in checks:
        position = Position("aK3x9Q", 1, check)
        assert parse_position(str(position)) == position
    assert new_checks(0) == []
