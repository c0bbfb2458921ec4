"""Fault F28, for a few seconds: random inputs, and changed seeds, for each target of `fuzz`."""

from __future__ import annotations

import pytest
from fuzz.running import TARGETS, load, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = 200

# What the parsers look for.
WORDS = [
    *(
        b"data",
        b"id",
        b"event",
        b"retry",
        b": ",
        b":",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\0",
        b"\xef\xbb\xbf",
    ),
    *(b"*", b"**", b"/", b"$", b".", b"a", b"q7Zp2K.", b"9" * 20, b"last:", b"T", b"&", b"=", b"%", b"+"),
    *(b'{"topic":"a","data":', b'"', b"{", b"}", b"[", b"]", b",", b"null", b"1e400", b"-0", b"\\ud800"),
    *(b"\xff", b"\xed\xa0\x80", "\u202e".encode(), "\U0001f30a".encode(), b"Bearer ", b"eyJ", b'"exp":'),
]
PIECES = st.one_of(st.sampled_from(WORDS), st.binary(max_size=8))


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed in which some parts are replaced."""
    data = draw(st.sampled_from([b"", *seeds]))
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(data)))
        last = draw(st.integers(first, len(data)))
        data = data[:first] + b"".join(draw(st.lists(PIECES, max_size=6))) + data[last:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_parser_or_keeps_it_busy(name: str) -> None:
    target = load(name)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(changed(target.SEEDS))
    def check(data: bytes) -> None:
        run(target.check, data)

    for seed in target.SEEDS:
        run(target.check, seed)
    check()
