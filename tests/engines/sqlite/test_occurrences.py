"""Where topics occur: compared with looking at every name, and the work that a step may take."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence

import pytest

from tidewire.engines.sqlite import empty_blocks
from tidewire.engines.sqlite.empty_blocks import EmptyBlocks
from tidewire.engines.sqlite.occurrences import (
    END,
    GLOBS,
    NAMES,
    QUERIES,
    Occurrences,
    find,
    ranges_of,
)
from tidewire.topics import MAX_TERMS, Selector

LEVELS = ["a", "b", "c", "é", "", "z!", "a0", "a-", "[b]", "?", "]"]
TERMS = [
    "[b]/*",
    "?/*/b",
    "*/]",
    "a",
    "a/*",
    "*/b",
    "**",
    "a/**",
    "a/*/b",
    "*",
    "é/*",
    "a-/**",
    "c/b",
    "a0",
    "z!/*",
]


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute(
        "CREATE TABLE topic_blocks (block INTEGER, topic TEXT, PRIMARY KEY (block, topic)) WITHOUT ROWID"
    )
    yield db
    db.close()


def fill(db: sqlite3.Connection, blocks: Sequence[set[str]]) -> None:
    db.executemany(
        "INSERT INTO topic_blocks VALUES (?, ?)",
        [(number, topic) for number, topics in enumerate(blocks) for topic in topics],
    )


def everything(
    db: sqlite3.Connection, start: int, end: int, selector: Selector, most: int, known: EmptyBlocks, full: int
) -> list[int]:
    """Return all blocks with a match, step by step."""
    found: list[int] = []
    step = 1 if start <= end else -1
    while (end - start) * step >= 0:
        blocks, _, through = find(db, start, end, selector, most, known, full)
        assert len(blocks) <= most
        assert (through - start) * step >= 0, "each step advances"
        found += blocks[::step]
        start = through + step
    return found


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_looking_at_every_name_finds(db: sqlite3.Connection, seed: int) -> None:
    rng = random.Random(seed)
    blocks: list[set[str]] = []
    for _ in range(40):
        size = rng.choice([0, 1, 3, 30])
        blocks.append({"/".join(rng.choices(LEVELS, k=rng.randint(1, 4))) or "x" for _ in range(size)})
    fill(db, blocks)
    known, full = EmptyBlocks(), rng.choice([0, 20, 40])
    for _ in range(10):
        selector = Selector(rng.sample(TERMS, rng.choice([1, 1, 2, 5, GLOBS + 1])))
        expected = [n for n, topics in enumerate(blocks) if any(map(selector.matches, topics))]
        most = rng.choice([1, 3, 100])
        for _ in range(2):  # the second time, some are known to be empty
            assert everything(db, 0, 39, selector, most, known, full) == expected
            assert everything(db, 39, 0, selector, most, known, full) == expected[::-1]
        (_, topics, through) = find(db, 0, 39, selector, 100, known, full)
        looked = set().union(*blocks[: through + 1])
        assert set(topics) >= {topic for topic in looked if selector.matches(topic)}


def steps_of(
    db: sqlite3.Connection, selector: Selector, blocks: int, known: EmptyBlocks | None = None, full: int = 0
) -> tuple[int, Occurrences]:
    """Return the steps that SQLite took for one `find`: a reliable measure of work, which time is not."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 100
        return 0

    db.set_progress_handler(count, 100)
    found = find(db, 0, blocks - 1, selector, 16, known or EmptyBlocks(), full)
    db.set_progress_handler(None, 0)
    return taken, found


def test_the_work_of_one_step_has_a_limit(db: sqlite3.Connection) -> None:
    """Whatever is asked for: names that a hundred patterns do not match, and many blocks."""
    fill(db, [{f"user/{block}/{n}" for n in range(1024)} for block in range(40)])
    hundred = [f"user/*/no{n}" for n in range(MAX_TERMS)]
    for terms in (
        ["user/*/x"],
        hundred,
        [f"a{n}/*" for n in range(MAX_TERMS)],
        [f"a{n}" for n in range(MAX_TERMS)],
    ):
        taken, found = steps_of(db, Selector(terms), 40)
        assert found.blocks == []
        queries = QUERIES if len(terms) <= GLOBS else 1
        assert taken < 60 * NAMES * queries, terms[0]
        assert found.through >= 0
    # Names outside the prefixes of the patterns are not looked at.
    taken, found = steps_of(db, Selector(["user/7/*"]), 40)
    assert (found.blocks, found.through) == ([7], 39)
    assert taken < 40 * NAMES


def test_names_that_match_none_of_a_few_patterns_are_left_out_by_sqlite(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Python compares, it compares with the GIL, for which each publish then waits."""
    fill(db, [{f"user/{block}/{n}" for n in range(1024)} for block in range(40)])
    compared: list[str] = []
    monkeypatch.setattr(Selector, "matches", lambda selector, topic: compared.append(topic))
    found = find(db, 0, 39, Selector(["user/*/x", "user/[2]/*"]), 16, EmptyBlocks(), 0)
    assert found == ([], [], QUERIES - 1)
    assert compared == []


def test_a_search_looks_once_through_blocks_that_change_no_more(db: sqlite3.Connection) -> None:
    fill(db, [{f"user/{block}/{n}" for n in range(1024)} for block in range(QUERIES)])
    known, last = EmptyBlocks(), QUERIES - 1
    first, found = steps_of(db, Selector(["user/*/x"]), QUERIES, known, full=last)
    assert found == ([], [], last)
    # The last one may still get more topics.
    db.execute("INSERT INTO topic_blocks VALUES (?, 'user/7/x')", (last,))
    again, found = steps_of(db, Selector(["user/*/x"]), QUERIES, known, full=last)
    assert found == ([last], ["user/7/x"], last)
    assert again < first / (QUERIES - 1)
    # It is another question what another selector finds there.
    assert steps_of(db, Selector(["user/*/7"]), QUERIES, known, full=last)[1].blocks == [0]


def test_what_is_known_of_blocks_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    known = EmptyBlocks()
    for n in range(empty_blocks.SELECTORS + 1):
        known.add(Selector([f"a/{n}"]), [n])
    assert known.of(Selector(["a/0"])) == set()
    assert known.of(Selector(["a/1"])) == {1}
    monkeypatch.setattr(empty_blocks, "MOST", 100)
    known.add(Selector(["a/1"]), range(90))
    assert known.of(Selector(["a/1"])) == set(range(90))
    known.add(Selector(["b"]), range(101))
    assert known.of(Selector(["a/1"])) == known.of(Selector(["b"])) == set()


@pytest.mark.parametrize(
    ("terms", "ranges"),
    [
        (["a"], [("a", "a\x01")]),
        (["a/*"], [("a/", "a0")]),
        (["*"], [("", END)]),
        (["a/*", "a/b/*", "a/b", "b"], [("a/", "a0"), ("b", "b\x01")]),
        (["x", "*/y", "a/*"], [("", END)]),
    ],
)
def test_the_ranges_of_names_do_not_overlap(terms: list[str], ranges: list[tuple[str, str]]) -> None:
    assert ranges_of(Selector(terms)) == ranges
