"""Whether one pattern lies inside another is compared with all topics of a small alphabet."""

from __future__ import annotations

import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.auth.grants import MAX_GRANTS, Grant
from tidewire.errors import InvalidInput, Reserved
from tidewire.topics import Selector

# `z` stands for every name that no pattern here has, so the topics below tell all patterns apart.
NAMES = ["a", "b", ""]
TOPICS = ["/".join(levels) for n in range(1, 6) for levels in product([*NAMES, "z"], repeat=n)]
TOPICS = [topic for topic in TOPICS if topic]


@st.composite
def terms(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.sampled_from([*NAMES, "*"]), max_size=3))
    return "/".join([*levels, draw(st.sampled_from([*NAMES, "*", "**"]))]) or "a"


def covered(term: str) -> set[str]:
    selector = Selector([term])
    return {topic for topic in TOPICS if selector.matches(topic)}


@given(st.lists(terms(), max_size=5), terms())
def test_a_term_lies_inside_one_granted_term(granted: list[str], asked: str) -> None:
    expected = any(covered(asked) <= covered(term) for term in granted)
    assert Grant(subscribe=granted).may_subscribe(asked) == expected


@given(st.lists(terms(), max_size=5), st.sampled_from(TOPICS))
def test_who_may_publish_is_who_the_patterns_match(granted: list[str], topic: str) -> None:
    expected = bool(granted) and Selector(granted).matches(topic)
    assert Grant(publish=granted).may_publish(topic) == expected


INSIDE = [
    ("a/**", "a/*"),
    ("a/**", "a/b/**"),
    ("a/**", "a/**"),
    ("**", "**"),
    ("**", "a"),
    ("*/b", "*/b"),
    ("a/*", "a/"),
    ("*/**", "a/b/**"),
]
OUTSIDE = [
    ("a/b", "a/*"),
    ("a/*", "a/**"),
    ("*", "**"),
    ("*/**", "**"),
    ("a/**", "a"),
    ("a/**", "**"),
    ("a/*/**", "a/**"),
    # attack C04
    ("acme/*", "acme"),
    ("acme/*", "acmeX/1"),
    ("acme/*", "ACME/1"),
    ("acme/*", "acme/1/2"),
]


@pytest.mark.parametrize(("granted", "asked"), INSIDE)
def test_inside(granted: str, asked: str) -> None:
    assert Grant(subscribe=[granted]).may_subscribe(asked)


@pytest.mark.parametrize(("granted", "asked"), OUTSIDE)
def test_outside(granted: str, asked: str) -> None:
    assert not Grant(subscribe=[granted]).may_subscribe(asked)


def test_grants_are_not_added_up() -> None:
    assert not Grant(subscribe=["*", "*/**"]).may_subscribe("**")


def test_subscribing_and_publishing_are_granted_apart() -> None:
    grant = Grant(subscribe=["a"], publish=["b"])
    assert [grant.may_subscribe("a"), grant.may_publish("a")] == [True, False]
    assert [grant.may_subscribe("b"), grant.may_publish("b")] == [False, True]
    assert not Grant(admin=True).may_subscribe("a")


def test_a_grant_ends_at_its_time() -> None:
    assert [Grant(until=10.0).is_over(now) for now in (9.9, 10.0)] == [False, True]
    assert not Grant().is_over(1e12)


def test_equal_grants_are_equal() -> None:
    one, other = Grant(subscribe=["a/*"]), Grant(subscribe=("a/*",))
    assert one.may_subscribe("a/b")
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize("bad", ["", "a*", "a/**/b", "a\r\nb", "x" * 513, 7])
def test_what_is_not_a_term_is_refused(bad: str) -> None:
    for kind in ("subscribe", "publish"):
        with pytest.raises(InvalidInput):
            Grant(**{kind: [bad]})  # type: ignore[arg-type]


def test_reserved_topics_cannot_be_granted() -> None:
    with pytest.raises(Reserved):
        Grant(subscribe=["$sys/**"])


def test_a_str_is_not_a_list_of_terms() -> None:
    with pytest.raises(TypeError, match="not a str"):
        Grant(subscribe="ab")  # type: ignore[arg-type]


def test_the_number_of_terms_is_bounded() -> None:
    """Attack C06. Even an endless list is refused after the first 1,001."""

    def endless() -> object:
        while True:
            yield "a"

    Grant(subscribe=["a"] * 500, publish=["a"] * 500)
    for much in ({"subscribe": ["a"] * 500, "publish": ["a"] * 501}, {"publish": endless()}):
        with pytest.raises(InvalidInput) as refusal:
            Grant(**much)  # type: ignore[arg-type]
        assert refusal.value.code == "too_many_grants"


def test_the_number_of_terms_hardly_matters() -> None:
    """The best of many, since other programs run too: 1,000 deep patterns cost less than ten times one."""
    hostile = ["/".join(["*"] * 40 + [f"n{index}"]) for index in range(MAX_GRANTS)]

    def best(granted: list[str]) -> int:
        grant = Grant(subscribe=granted)
        asked = ["/".join(["a"] * 40 + [f"m{index}"]) for index in range(300)]
        grant.may_subscribe("a")
        times = []
        for term in asked:
            before = time.perf_counter_ns()
            grant.may_subscribe(term)
            times.append(time.perf_counter_ns() - before)
        return min(times)

    assert best(hostile) < 10 * best(hostile[:1])


@pytest.mark.parametrize("name", ["iss", "sub", "jti"])
def test_what_could_not_be_revoked_is_refused(name: str) -> None:
    Grant(**{name: "x" * 512})
    for bad in ("x" * 513, 7, None):
        with pytest.raises(InvalidInput, match=f"{name} must be text of at most 512 characters") as refusal:
            Grant(**{name: bad})
        assert refusal.value.code == "invalid_subject"
