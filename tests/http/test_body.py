"""http.body: whole bodies and lines."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.errors import Timeout, TooLarge
from tidewire.http.body import ClientGone, Lines, read_body


def receiving(*messages: dict[str, Any]) -> Any:
    rest = list(messages)

    async def receive() -> dict[str, Any]:
        if not rest:
            await asyncio.Event().wait()
        return rest.pop(0)

    return receive


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_in_parts() -> None:
    assert await read_body(receiving(part(b"a"), part(b""), part(b"b", False)), None, 2, 1) == b"ab"
    assert await read_body(receiving(part(b"", False)), "0", 2, 1) == b""


async def test_a_body_that_declares_too_large_a_size_is_not_read() -> None:
    with pytest.raises(TooLarge) as caught:
        await read_body(receiving(), "3", 2, 1)
    assert caught.value.code == "body_too_large"


@pytest.mark.parametrize("declared", ["9" * 4301, "0003", "9" * 19])
async def test_a_declared_size_may_have_any_number_of_digits(declared: str) -> None:
    with pytest.raises(TooLarge):
        await read_body(receiving(), declared, 2, 1)


@pytest.mark.parametrize("declared", ["\u00b2", "-1", "0x10", "1e9", "", "0" * 5000 + "1"])
async def test_a_declared_size_that_is_not_a_larger_number_is_not_judged(declared: str) -> None:
    assert await read_body(receiving(part(b"a", False)), declared, 2, 1) == b"a"


async def test_an_undeclared_body_is_read_up_to_the_limit() -> None:
    with pytest.raises(TooLarge):
        await read_body(receiving(part(b"ab"), part(b"c")), None, 2, 1)


async def test_the_timeout_and_a_disconnect() -> None:
    with pytest.raises(Timeout):
        await read_body(receiving(part(b"a")), None, 10, 0.05)
    with pytest.raises(ClientGone):
        await read_body(receiving(part(b"a"), {"type": "http.disconnect"}), None, 10, 1)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_lines_do_not_depend_on_how_the_body_is_split(body: bytes, cuts: list[int]) -> None:
    lines = Lines(1000)
    found = []
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for start, end in pairwise(places):
        found += lines.feed(body[start:end])
    found += lines.end()
    expected = body.split(b"\n")
    assert found == (expected if expected[-1] else expected[:-1])


def test_an_endless_line_is_not_kept() -> None:
    lines = Lines(10)
    for _ in range(1000):
        assert lines.feed(b"x" * 100) == []
    assert lines.too_long
    assert len(lines.feed(b"\n")[0]) <= 110
