"""The table is compared with the matcher of one pattern: tests/test_topics.py tests that one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidewire.pattern_table import KNOWN, PatternTable, bits_of
from tidewire.topics import Selector

NAMES = st.sampled_from(["a", "b", "", "news"])
TOPICS = st.lists(NAMES, min_size=1, max_size=5).map("/".join).filter(bool)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.one_of(NAMES, st.just("*")), max_size=4))
    levels.append(draw(st.sampled_from(["*", "**"])))
    return "/".join(levels)


@given(st.lists(patterns(), min_size=1, max_size=12, unique=True), st.lists(TOPICS, min_size=1, max_size=20))
def test_it_finds_what_each_pattern_matches_by_itself(given_patterns: list[str], topics: list[str]) -> None:
    table = PatternTable(given_patterns)
    for topic in topics:
        expected = [n for n, pattern in enumerate(given_patterns) if Selector([pattern]).matches(topic)]
        assert list(bits_of(table.matching(topic))) == expected
        assert table.matches(topic) == bool(expected)


class Counted(dict[str, int]):
    """Counts its lookups."""

    lookups = 0

    def get(self, *args: object) -> int:  # type: ignore[override]
        Counted.lookups += 1
        return super().get(*args)  # type: ignore[call-overload, no-any-return]


def lookups(given_patterns: list[str], topic: str) -> int:
    table = PatternTable(given_patterns)
    table._levels = [level._replace(names=Counted(level.names)) for level in table._levels]
    Counted.lookups = 0
    table.matching(topic)
    return Counted.lookups


def test_the_work_does_not_grow_with_the_number_of_patterns() -> None:
    """The worst case: a hundred patterns that differ at seven levels and all match up to the last one."""
    choices = [["a" if (n >> level) & 1 else "*" for level in range(7)] for n in range(100)]
    hostile = ["/".join([*choice, *["*"] * 240, f"never{n}"]) for n, choice in enumerate(choices)]
    topic = "/".join(["a"] * 248)
    assert lookups(hostile, topic) == lookups(hostile[:1], topic) == 248


def test_no_pattern_matches_nothing() -> None:
    assert not PatternTable([]).matches("a")


def test_what_a_table_remembers_of_topics_is_bounded_and_right() -> None:
    table = PatternTable(["a/*"])
    for number in range(2 * KNOWN):
        assert table.matches(f"a/{number}")
        assert not table.matches(f"b/{number}")
        assert len(table._known) <= KNOWN
    assert table.matches(f"a/{2 * KNOWN - 1}")
