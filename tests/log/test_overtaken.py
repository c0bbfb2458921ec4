from __future__ import annotations

import random

import pytest

from tidewire.log.entries import Marks
from tidewire.log.overtaken import Overtaken
from tidewire.topics import Selector

TOPICS = [f"{first}/{second}" for first in "abc" for second in "xyz"]
TERMS = ["a/x", "b/y", "a/*", "*/z", "c/**", "**"]


def expected(marks: Marks, selector: Selector, offset: int) -> tuple[str, ...]:
    def lost(term: str) -> bool:
        return any(mark > offset and Selector([term]).matches(topic) for topic, mark in marks.items())

    return tuple(term for term in selector.terms if lost(term) or marks.dropped > offset)


@pytest.mark.parametrize("seed", range(30))
def test_a_search_in_steps_finds_what_one_look_finds(seed: int) -> None:
    """Marks are set between its steps, and some are dropped."""
    rng = random.Random(seed)
    marks, offset = Marks(limit=rng.choice([5, 100])), 0
    for _ in range(rng.randrange(40)):
        offset += rng.randrange(1, 4)
        marks.set(rng.choice(TOPICS), offset)
    selector = Selector(rng.sample(TERMS, rng.randrange(1, len(TERMS))))
    search = Overtaken(selector, rng.randrange(offset + 2))
    while not search.step(marks, most=rng.randrange(1, 4)):
        for _ in range(rng.randrange(3)):
            offset += 1
            marks.set(rng.choice(TOPICS), offset)
    assert search.terms == expected(marks, selector, search.offset)


class Counted(Marks):
    """Counts the marks that are looked at."""

    __slots__ = ("looks",)

    def newest_first(self):  # type: ignore[no-untyped-def]
        for item in super().newest_first():
            self.looks += 1
            yield item


def test_the_work_of_a_step_has_a_limit_and_all_patterns_share_it() -> None:
    marks = Counted()
    marks.looks = 0
    for offset in range(1, 100_001):
        marks.set(f"news/{offset}", offset)
    search = Overtaken(Selector([f"nothing/{n}/*" for n in range(100)]), 0)
    steps = 1
    while not search.step(marks, most=1000):
        steps += 1
    assert search.terms == ()
    # Passing over the marks of earlier steps is quick, and looking is done once for each mark.
    assert steps <= 101


def test_only_marks_beyond_the_position_are_looked_at() -> None:
    marks = Counted()
    marks.looks = 0
    for offset in range(1, 1001):
        marks.set(f"news/{offset}", offset)
    assert Overtaken(Selector(["x/*"]), 990).step(marks)
    assert marks.looks == 11
