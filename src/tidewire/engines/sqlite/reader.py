"""
Reading the log in its file while the writer writes to it.

Each query returns one JSON text: rows fetched one by one would each have to
wait for Python's lock (see `log_file`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from ...log.engine import PAGE_BYTES, SCAN_LIMIT
from ...log.entries import Entry
from ...log.last_events import LastEvents
from ...position import Position
from ...topics import Selector
from .database import BLOCK_BITS, connect

# Blocks whose topics are checked for one page: a million entries.
CHECK_BLOCKS = 1_024
# Blocks whose entries are read for one page.
SCAN_BLOCKS = SCAN_LIMIT >> BLOCK_BITS
# Entries read at once to fill a window.
FILL = 1_000

Lives = Sequence[tuple[str, int]]

ROWS = """
SELECT CAST(json_group_array(json_array(offset, topic, data, event, retry, is_end, time)) AS BLOB)
FROM (SELECT * FROM entries WHERE offset BETWEEN ? AND ? AND {condition} ORDER BY offset)
"""
# Of the first N rows, those whose sizes together stay within a limit (or one row, if that is asked for):
# how many fit, the last offset that fits, and how many rows there were to choose from.
CUT = """
SELECT count(*) FILTER (WHERE fits), max(offset) FILTER (WHERE fits), count(*) FROM (
  SELECT offset, sum(size) OVER (ORDER BY offset) <= ? OR row_number() OVER (ORDER BY offset) = ? AS fits
  FROM (SELECT offset, size FROM entries WHERE offset BETWEEN ? AND ? AND {condition} ORDER BY offset LIMIT ?)
)
"""
# Each condition is looked up in each block separately, which is one descent of the tree. Scanning
# what is in between took 0.1 s for one topic among 100,000, and 8 s for a hundred patterns.
BLOCKS = """
WITH RECURSIVE blocks(block) AS (SELECT ? UNION ALL SELECT block + {step} FROM blocks WHERE block != ?)
SELECT json_group_array(block) FROM (SELECT block FROM blocks WHERE {occurs} LIMIT ?)
"""
OCCURS = "EXISTS (SELECT 1 FROM topic_blocks t WHERE t.block = blocks.block AND {})"
OFFSETS = """
SELECT CAST(json_group_array(json_array(offset, topic)) AS BLOB) FROM (
  SELECT offset, topic FROM entries WHERE offset BETWEEN ? AND ? AND NOT is_end AND {condition}
  ORDER BY offset
)
"""


class Filter(NamedTuple):
    """Conditions on `topic`. At least one holds for each topic that a selector matches, and few others do."""

    conditions: tuple[str, ...] = ("1",)
    values: tuple[str, ...] = ()

    def of(self, query: str) -> str:
        return query.format(condition=f"({' OR '.join(self.conditions)})")

    def of_blocks(self, step: int) -> str:
        return BLOCKS.format(step=step, occurs=" OR ".join(map(OCCURS.format, self.conditions)))


EVERYTHING = Filter()


def filter_of(selector: Selector | None) -> Filter:
    """Return what SQLite can check of `selector`: whole topics, and the prefixes of patterns."""
    if selector is None:
        return EVERYTHING
    topics = sorted(selector.topics)
    conditions = [f"topic IN ({', '.join('?' * len(topics))})"] if topics else []
    values = topics
    for pattern in selector.patterns:
        prefix = pattern.partition("*")[0]
        if not prefix:
            return EVERYTHING
        # The prefix ends with the slash before the first star, and the character after a slash is 0.
        conditions.append("topic >= ? AND topic < ?")
        values += [prefix, prefix[:-1] + "0"]
    return Filter(tuple(conditions), tuple(values))


class Reader:
    """A connection that reads. One thread at a time may use it."""

    def __init__(self, path: str) -> None:
        self._db = connect(path)
        self._db.execute("PRAGMA query_only = ON")

    def close(self) -> None:
        self._db.close()

    # -- pages

    def page(
        self, after: int, head: int, limit: int, selector: Selector | None, lives: Lives
    ) -> tuple[list[Entry], int]:
        """Return entries after `after` up to `head`, and the offset through which they are complete."""
        if after >= head:
            return [], head
        wanted = filter_of(selector)
        if wanted is EVERYTHING:
            last = min(head, after + SCAN_LIMIT)
            entries, through = self._entries(after + 1, last, limit, PAGE_BYTES, wanted, lives)
        else:
            entries, through = self._sparse(after, head, limit, wanted, lives)
        if selector is not None:
            entries = [entry for entry in entries if selector.matches(entry.topic)]
        return entries, through

    def _sparse(
        self, after: int, head: int, limit: int, wanted: Filter, lives: Lives
    ) -> tuple[list[Entry], int]:
        """Read only blocks where the topics occur: a reader of a quiet topic skips its busy neighbours."""
        first = (after + 1) >> BLOCK_BITS
        last = min(head >> BLOCK_BITS, first + CHECK_BLOCKS - 1)
        blocks = self._blocks(first, last, wanted)
        if len(blocks) == SCAN_BLOCKS:
            last = blocks[-1]
        entries: list[Entry] = []
        room = PAGE_BYTES
        for low, high in runs(blocks):
            start, end = max(low << BLOCK_BITS, after + 1), min(((high + 1) << BLOCK_BITS) - 1, head)
            found, through = self._entries(start, end, limit - len(entries), room, wanted, lives)
            entries += found
            room -= sum(entry.size for entry in found)
            if through < end or len(entries) == limit:
                return entries, through
        return entries, min(((last + 1) << BLOCK_BITS) - 1, head)

    def _entries(
        self, first: int, last: int, limit: int, room: int, wanted: Filter, lives: Lives
    ) -> tuple[list[Entry], int]:
        # The first entry of a page is included whatever its size.
        always = 1 if room == PAGE_BYTES else 0
        fit, through, found = self._one(wanted.of(CUT), room, always, first, last, *wanted.values, limit)
        if fit == found < limit:
            through = last
        elif not fit:
            return [], first - 1
        return (self._rows(first, through, wanted, lives) if fit else []), through

    def _rows(self, first: int, last: int, wanted: Filter, lives: Lives) -> list[Entry]:
        (text,) = self._one(wanted.of(ROWS), first, last, *wanted.values)
        return [
            Entry(position_in(lives, offset), topic, data, event or "message", retry, bool(is_end), time)
            for offset, topic, data, event, retry, is_end, time in orjson.loads(text)
        ]

    def _blocks(self, start: int, end: int, wanted: Filter) -> list[int]:
        """Return the first blocks where the topics occur, from `start` to `end` in either direction."""
        query = wanted.of_blocks(1 if start <= end else -1)
        (text,) = self._one(query, start, end, *wanted.values, SCAN_BLOCKS)
        found: list[int] = orjson.loads(text)
        return sorted(found)

    def newest(self, count: int, size: int, head: int, lives: Lives) -> list[Entry]:
        """Return the newest entries, at most `count` and at most `size` bytes in all."""
        (first,) = self._one(
            "SELECT min(offset) FROM entries WHERE offset > ?"
            " AND bytes > (SELECT bytes FROM entries WHERE offset = ?) - ?",
            head - count,
            head,
            size,
        )
        entries: list[Entry] = []
        for start in range(head + 1 if first is None else first, head + 1, FILL):
            entries += self._rows(start, min(start + FILL - 1, head), EVERYTHING, lives)
        return entries

    # -- finding an offset

    def before(self, time: float, floor: int, head: int) -> int:
        """Return the last offset whose entry is older than `time`."""
        low, high = floor, head + 1
        while low < high:
            middle = (low + high) // 2
            found = self._one("SELECT time FROM entries WHERE offset = ?", middle)
            # An entry that was trimmed in the meantime is older than all that are kept.
            if found is None or found[0] < time:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def before_last(self, count: int, selector: Selector, floor: int, head: int) -> int:
        """Return the offset before the `count` newest events that `selector` matches."""
        search = LastEvents(count, floor, head)
        while not search.done:
            search.look(*self.newest_matching(selector, floor, search.last))
        return search.before

    def newest_matching(self, selector: Selector, floor: int, head: int) -> tuple[list[int], int]:
        """
        Return the offsets of the newest events that `selector` matches, and the lowest offset searched.

        It reads a few thousand entries at most; there may be more matches below.
        """
        wanted = filter_of(selector)
        blocks = self._blocks(head >> BLOCK_BITS, floor >> BLOCK_BITS, wanted) if floor <= head else []
        found: list[int] = []
        for low, high in runs(blocks):
            start, end = max(low << BLOCK_BITS, floor), min(((high + 1) << BLOCK_BITS) - 1, head)
            (text,) = self._one(wanted.of(OFFSETS), start, end, *wanted.values)
            found += [offset for offset, topic in orjson.loads(text) if selector.matches(topic)]
        return found, max(blocks[0] << BLOCK_BITS, floor) if blocks else floor

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()


def position_in(lives: Lives, offset: int) -> Position:
    index = bisect_right(lives, offset, key=lambda life: life[1]) - 1
    return Position(lives[max(index, 0)][0], offset)


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last number of each run without holes in ascending `numbers`."""
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[start], numbers[index - 1]
            start = index
