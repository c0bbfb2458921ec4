"""
Reading the log in its file while the writer writes to it.

Each query returns one JSON text: rows fetched one by one would each have to
wait for Python's lock (see `log_file`).
"""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from ...log.engine import PAGE_BYTES, SCAN_LIMIT, LookBack
from ...log.entries import Entry
from ...position import Position
from ...topics import Selector
from .database import BLOCK_BITS, connect
from .empty_blocks import EmptyBlocks
from .occurrences import Occurrences, find
from .retention import Retention, retention_since
from .staging import HEAD

# Blocks whose entries are read for one page.
SCAN_BLOCKS = SCAN_LIMIT >> BLOCK_BITS
# Entries read at once to fill a window.
FILL = 1_000

Lives = Sequence[tuple[str, int]]

ROWS = """
SELECT CAST(json_group_array(
  json_array(offset, topic, data, event, retry, is_end, time, traceparent)
) AS BLOB)
FROM (SELECT * FROM entries WHERE offset BETWEEN ? AND ? AND {condition} ORDER BY offset)
"""
# The first N rows: their sizes together, the last offset, and how many there are.
SIZE = """
SELECT sum(size), max(offset), count(*) FROM (
  SELECT offset, size FROM entries WHERE offset BETWEEN ? AND ? AND {condition} ORDER BY offset LIMIT ?
)
"""
# Of these, those whose sizes together stay within a limit (or one row, if that is asked for): how many fit,
# and the last offset that fits. It takes four times as long, and is needed for large events only.
CUT = """
SELECT count(*) FILTER (WHERE fits), max(offset) FILTER (WHERE fits) FROM (
  SELECT offset, sum(size) OVER (ORDER BY offset) <= ? OR row_number() OVER (ORDER BY offset) = ? AS fits
  FROM (SELECT offset, size FROM entries WHERE offset BETWEEN ? AND ? AND {condition} ORDER BY offset LIMIT ?)
)
"""
OFFSETS = """
SELECT CAST(json_group_array(json_array(offset, topic)) AS BLOB) FROM (
  SELECT offset, topic FROM entries WHERE offset BETWEEN ? AND ? AND NOT is_end AND {condition}
  ORDER BY offset
)
"""


class Filter(NamedTuple):
    """A condition on entries, as SQL, and its values."""

    condition: str
    values: tuple[str, ...]

    def of(self, query: str) -> str:
        return query.format(condition=self.condition)


EVERYTHING = Filter("1", ())


def filter_of(topics: Sequence[str]) -> Filter:
    if len(topics) == 1:
        # A tenth faster than the other way.
        return Filter("topic = ?", (topics[0],))
    # One value for all of them, so that statements stay prepared.
    return Filter("topic IN (SELECT value FROM json_each(?))", (orjson.dumps(topics).decode(),))


def wants_everything(selector: Selector | None) -> bool:
    return selector is None or "**" in selector.patterns


class FoundPage(NamedTuple):
    entries: list[Entry]
    through: int
    """The offset through which they are complete."""
    retention: Retention


class Reader:
    """A connection that reads. One thread at a time may use it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._empty = EmptyBlocks()

    def close(self) -> None:
        self._db.close()

    # -- pages

    def head(self) -> int:
        """Return the newest offset of the log."""
        head: int = self._one(f"SELECT {HEAD}")[0]
        return head

    def page(
        self, after: int, head: int, limit: int, selector: Selector | None, lives: Lives, floor: int
    ) -> FoundPage:
        """Return entries after `after` up to `head`, and what retention did since the floor was `floor`."""
        self._db.execute("BEGIN")
        try:
            entries, through = self.entries(after, head, limit, selector, lives)
            return FoundPage(entries, through, retention_since(self._db, floor))
        finally:
            self._db.execute("COMMIT")

    def entries(
        self, after: int, head: int, limit: int, selector: Selector | None, lives: Lives
    ) -> tuple[list[Entry], int]:
        """Return entries after `after` up to `head`, and the offset through which they are complete."""
        if after >= head:
            return [], head
        if selector is None or wants_everything(selector):
            last = min(head, after + SCAN_LIMIT)
            entries, through = self._entries(after + 1, last, limit, PAGE_BYTES, EVERYTHING, lives)
            if selector is not None:  # `**` does not match reserved topics
                entries = [entry for entry in entries if selector.matches(entry.topic)]
            return entries, through
        return self._sparse(after, head, limit, selector, lives)

    def _sparse(
        self, after: int, head: int, limit: int, selector: Selector, lives: Lives
    ) -> tuple[list[Entry], int]:
        """Read only blocks where the topics occur: a reader of a quiet topic skips its busy neighbours."""
        first, last = (after + 1) >> BLOCK_BITS, head >> BLOCK_BITS
        blocks, topics, through = self._find(first, last, selector, head)
        entries: list[Entry] = []
        room, wanted = PAGE_BYTES, filter_of(topics)
        for low, high in runs(blocks):
            start, end = max(low << BLOCK_BITS, after + 1), min(((high + 1) << BLOCK_BITS) - 1, head)
            found, reached = self._entries(start, end, limit - len(entries), room, wanted, lives)
            entries += found
            room -= sum(entry.size for entry in found)
            if reached < end or len(entries) == limit:
                return entries, reached
        return entries, min(((through + 1) << BLOCK_BITS) - 1, head)

    def _find(self, start: int, end: int, selector: Selector, head: int) -> Occurrences:
        """As `find`, in a log that has all entries through `head`."""
        return find(self._db, start, end, selector, SCAN_BLOCKS, self._empty, full=(head + 1) >> BLOCK_BITS)

    def _entries(
        self, first: int, last: int, limit: int, room: int, wanted: Filter, lives: Lives
    ) -> tuple[list[Entry], int]:
        size, through, found = self._one(wanted.of(SIZE), first, last, *wanted.values, limit)
        fit = found
        if found and size > room:
            # The first entry of a page is included whatever its size.
            always = 1 if room == PAGE_BYTES else 0
            fit, through = self._one(wanted.of(CUT), room, always, first, last, *wanted.values, limit)
        if fit == found < limit:
            through = last
        elif not fit:
            return [], first - 1
        return (self._rows(first, through, wanted, lives) if fit else []), through

    def _rows(self, first: int, last: int, wanted: Filter, lives: Lives) -> list[Entry]:
        (text,) = self._one(wanted.of(ROWS), first, last, *wanted.values)
        return entries_of(text, lives)

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

    def look_back(self, last: int, selector: Selector, floor: int) -> LookBack:
        """Return the newest events from `floor` to `last` that match, as far as one step goes."""
        if last < floor:
            return LookBack([], 1)
        first = floor >> BLOCK_BITS
        if wants_everything(selector):
            through = max((last >> BLOCK_BITS) - SCAN_BLOCKS + 1, first)
            blocks, wanted = list(range(through, (last >> BLOCK_BITS) + 1)), EVERYTHING
        else:
            blocks, topics, through = self._find(last >> BLOCK_BITS, first, selector, last)
            wanted = filter_of(topics)
        offsets: list[int] = []
        for low, high in runs(blocks):
            start, end = max(low << BLOCK_BITS, floor), min(((high + 1) << BLOCK_BITS) - 1, last)
            (text,) = self._one(wanted.of(OFFSETS), start, end, *wanted.values)
            offsets += [offset for offset, topic in orjson.loads(text) if selector.matches(topic)]
        return LookBack(offsets, through << BLOCK_BITS if through > first else 1)

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()


def open_reader(path: str) -> Reader:
    db = connect(path)
    db.execute("PRAGMA query_only = ON")
    return Reader(db)


def entries_of(rows: bytes, lives: Lives) -> list[Entry]:
    """Return the entries that ROWS has read."""
    entries: list[Entry] = []
    life, last = "", -1.0
    for offset, topic, data, event, retry, is_end, time, trace in orjson.loads(rows):
        if offset > last:  # nearly always one life has them all
            life, last = life_at(lives, offset)
        position = Position(life, offset)
        entries.append(Entry(position, topic, data, event or "message", retry, bool(is_end), time, trace))
    return entries


def position_in(lives: Lives, offset: int) -> Position:
    return Position(life_at(lives, offset)[0], offset)


def life_at(lives: Lives, offset: int) -> tuple[str, float]:
    """Return the life that an offset belongs to, and the last offset of it: infinity for the newest life."""
    index = bisect_right(lives, offset, key=lambda life: life[1])
    last = lives[index][1] - 1 if index < len(lives) else math.inf
    return lives[max(index - 1, 0)][0], last


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last number of each run without holes in ascending `numbers`."""
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[start], numbers[index - 1]
            start = index
