"""
Where the topics that a selector matches occur: in which blocks, and under which names.

Rule 1: one step has a limit: lookups for topics and the prefixes of patterns, and names compared
        with patterns. The caller goes on from where it got to.
Rule 2: a block is looked at completely or not at all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from ...topics import MAX_BYTES, Selector
from .empty_blocks import EmptyBlocks

# Blocks that one step looks at, at most: a million entries.
BLOCKS = 1_024
# Lookups in one step: one for each block and each topic or prefix.
LOOKUPS = 20_480
# Names looked at by one query: more than one block has.
NAMES = 1_100
# Of few patterns SQLite compares the names itself, which it does four times as fast and without the GIL. So
# a publish does not wait for it, and a step may look at more while it finds nothing: this many queries.
GLOBS = 8
QUERIES = 4
# Later than each name that a topic may have.
END = "\U0010ffff" * (MAX_BYTES // 4 + 1)

# The names that may match, and of each other one its block.
# For each block and each range of names, one descent of the tree. Scanning what is in between took
# 0.1 s for one topic among 100,000, and 8 s for a hundred patterns.
NAMES_IN = """
WITH ranges(low, high) AS MATERIALIZED (
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
)
SELECT json_group_array(CASE WHEN {condition} THEN json_array(block, topic) ELSE block END) FROM (
  SELECT t.block, t.topic FROM json_each(?) b CROSS JOIN ranges r CROSS JOIN topic_blocks t
  WHERE t.block = b.value AND t.topic >= r.low AND t.topic < r.high LIMIT ?
)
"""

Ranges = list[tuple[str, str]]


class Occurrences(NamedTuple):
    """What one step found between two blocks."""

    blocks: list[int]
    """The blocks with a match, in ascending order."""
    topics: list[str]
    """The names that match in them."""
    through: int
    """The last block looked at, in the direction of the search."""


def find(
    db: sqlite3.Connection,
    start: int,
    end: int,
    selector: Selector,
    most: int,
    known: EmptyBlocks,
    full: int,
) -> Occurrences:
    """
    Return the first `most` blocks, from `start` to `end` in either direction, with a topic that matches.

    Those that are `known` to be empty are not looked at; the blocks below `full` get no more entries.
    Raises `sqlite3.Error`.
    """
    ranges = ranges_of(selector)
    step = 1 if start <= end else -1
    count = min(abs(end - start) + 1, BLOCKS, max(LOOKUPS // len(ranges), 1))
    through = start + (count - 1) * step
    empty = known.of(selector)
    blocks = left = [block for block in range(start, through + step, step) if block not in empty]
    if not blocks:
        return Occurrences([], [], through)
    globs = globs_of(selector)
    for _ in range(QUERIES if globs else 1):
        found, last = names_in(db, left, ranges, selector, globs, most)
        if found or last == left[-1]:
            break
        left = left[left.index(last) + 1 :]
    occurrences = matching(found, selector, most, last)
    looked = blocks[: blocks.index(occurrences.through) + 1]
    known.add(selector, {block for block in looked if block < full}.difference(occurrences.blocks))
    # What is known to be empty after the last block is looked at too.
    return occurrences._replace(through=through) if looked == blocks else occurrences


def names_in(
    db: sqlite3.Connection,
    blocks: Sequence[int],
    ranges: Ranges,
    selector: Selector,
    globs: Sequence[str],
    most: int,
) -> tuple[list[list[Any]], int]:
    """Return names, with their blocks, that may match, and the last block looked at."""
    # Of plain topics, no more are needed than the blocks have in which they occur.
    limit = NAMES if selector.patterns else most * len(ranges)
    values = orjson.dumps(ranges).decode(), *globs, orjson.dumps(blocks).decode(), limit + 1
    condition = " OR ".join(["topic GLOB ?"] * len(globs)) or "TRUE"
    (text,) = db.execute(NAMES_IN.format(condition=condition), values).fetchone()
    looked: list[Any] = orjson.loads(text)
    found, through = [item for item in looked if isinstance(item, list)], blocks[-1]
    if len(looked) > limit:
        # The last block may have more names than there was room for.
        partial = looked[-1][0] if isinstance(looked[-1], list) else looked[-1]
        found = [item for item in found if item[0] != partial]
        through = blocks[blocks.index(partial) - 1]
    return found, through


def globs_of(selector: Selector) -> list[str]:
    """
    Return globs of SQLite, at least one of which matches each topic that `selector` matches.

    A star of a glob matches slashes too. There are none if the selector has too many terms.
    """
    if not selector.patterns or len(selector.terms) > GLOBS:
        return []
    return [term.replace("[", "[[]").replace("?", "[?]") for term in selector.terms]


def matching(found: list[list[Any]], selector: Selector, most: int, through: int) -> Occurrences:
    matches: dict[str, bool] = {}
    blocks: dict[int, None] = {}
    for block, topic in found:
        if topic not in matches:
            matches[topic] = selector.matches(topic)
        if matches[topic] and block not in blocks:
            if len(blocks) == most:
                through = next(reversed(blocks))
                break
            blocks[block] = None
    return Occurrences(sorted(blocks), [topic for topic, matched in matches.items() if matched], through)


def ranges_of(selector: Selector) -> Ranges:
    """Return ranges of names, without overlaps, that hold all topics that `selector` matches."""
    # No name has a control character.
    wanted = [(topic, topic + "\x01") for topic in selector.topics]
    for pattern in selector.patterns:
        prefix = pattern.partition("*")[0]
        # The prefix ends with the slash before the first star, and the character after a slash is 0.
        wanted.append((prefix, prefix[:-1] + "0") if prefix else ("", END))
    ranges: Ranges = []
    # Of two ranges, one lies in the other, or they have no name in common. The larger one comes first.
    for low, high in sorted(sorted(wanted, reverse=True), key=itemgetter(0)):
        if not ranges or low >= ranges[-1][1]:
            ranges.append((low, high))
    return ranges
