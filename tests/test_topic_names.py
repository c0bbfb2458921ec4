from __future__ import annotations

import pytest

from tidewire import REST, pattern, topic
from tidewire.errors import InvalidInput, Reserved


def test_parts_become_levels() -> None:
    assert topic("users", "ada") == "users/ada"
    assert topic("users", "Ada Lovelace ✓", "x.y") == "users/Ada Lovelace ✓/x.y"
    assert pattern("users", "ada", REST) == "users/ada/**"
    assert pattern(REST) == "**"
    assert pattern("users", "ada") == "users/ada"


@pytest.mark.parametrize("name", ["*", "**", "a*", "", "a/b", "/", "a\r\nb", "\u202e", "\ud800", "x" * 513])
def test_a_name_never_becomes_something_else(name: str) -> None:
    for build in (topic, pattern):
        with pytest.raises(InvalidInput):
            build("users", name)


def test_no_parts_are_refused() -> None:
    for build in (topic, pattern):
        with pytest.raises(InvalidInput):
            build()


def test_reserved_topics_are_refused() -> None:
    for build in (topic, pattern):
        with pytest.raises(Reserved):
            build("$sys", "a")


def test_the_rest_comes_last() -> None:
    with pytest.raises(InvalidInput) as refusal:
        pattern("users", REST, "a")
    assert refusal.value.code == "invalid_pattern"


def test_only_text_is_a_part() -> None:
    for build in (topic, pattern):
        with pytest.raises(TypeError, match="must be a str, not int"):
            build("users", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        topic("users", REST)  # type: ignore[arg-type]
