"""
Reading pages of the log, and finding where a subscription starts.

Rule 1: plain topics are found by their index. For patterns, a limited number of entries is compared with
        them: roughly in the server, exactly here.
Rule 2: a page is read in the snapshot in which the floor and the marks are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...log.engine import PAGE_BYTES, SCAN_LIMIT, LookBack
from ...log.entries import Entry
from ...topics import Selector
from .link import Connection
from .rows import COLUMNS, Lives, stored_of
from .state import META, Meta, meta_of

SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
NEW_MARKS = 'SELECT topic, "offset" FROM tidewire.marks WHERE "offset" >= %s ORDER BY "offset"'

# Matching entries of one topic that one step back looks at.
LOOK_BACK = 1_000

# Of the first N rows that match, those whose sizes together stay within a limit, or one row.
CUT = f"""
SELECT {COLUMNS}, matching FROM (
  SELECT *, sum(size) OVER (ORDER BY "offset") AS room, row_number() OVER (ORDER BY "offset") AS number,
    count(*) OVER () AS matching
  FROM ({{matching}}) AS matching
) AS cut WHERE room <= {PAGE_BYTES} OR number = 1 ORDER BY "offset"
"""
BY_OFFSET = """
SELECT * FROM tidewire.entries WHERE "offset" > %(after)s AND "offset" <= %(last)s {condition}
ORDER BY "offset" LIMIT %(limit)s
"""
BY_TOPIC = """
SELECT e.* FROM unnest(%(topics)s::text[]) AS t (name) CROSS JOIN LATERAL (
  SELECT * FROM tidewire.entries WHERE topic = t.name AND "offset" > %(after)s AND "offset" <= %(last)s
  ORDER BY "offset" LIMIT %(limit)s
) AS e ORDER BY e."offset" LIMIT %(limit)s
"""
LIKE = "AND (topic = ANY (%(topics)s::text[]) OR topic LIKE ANY (%(patterns)s::text[]))"

BACK_BY_OFFSET = """
SELECT "offset", topic FROM tidewire.entries
WHERE "offset" >= %(first)s AND "offset" <= %(last)s AND NOT is_end {condition} ORDER BY "offset"
"""
BACK_BY_TOPIC = """
SELECT e."offset", e.topic FROM unnest(%(topics)s::text[]) AS t (name) CROSS JOIN LATERAL (
  SELECT "offset", topic FROM tidewire.entries WHERE topic = t.name AND "offset" <= %(last)s AND NOT is_end
  ORDER BY "offset" DESC LIMIT %(limit)s
) AS e ORDER BY e."offset"
"""


class FoundPage(NamedTuple):
    entries: list[Entry]
    through: int
    """The offset through which they are complete."""
    meta: Meta
    marks: Sequence[tuple[str, int]]
    """Those that were set since the floor was where the caller knew it."""


async def page(
    connection: Connection,
    after: int,
    head: int,
    limit: int,
    selector: Selector | None,
    lives: Lives,
    floor: int,
) -> FoundPage:
    """Return entries after `after` up to `head`. Raises `LogChanged` and `psycopg.Error`."""
    after = min(max(after, floor - 1), head)
    last, query = head, BY_TOPIC
    if selector is None or selector.patterns:
        last = min(head, after + scan_of(selector))
        query = BY_OFFSET.format(condition=condition_of(selector))
    values = {**terms_of(selector), "after": after, "last": last, "limit": limit}
    async with connection.pipeline():
        await connection.execute(SNAPSHOT)
        found = await connection.execute(CUT.format(matching=query), values, binary=True)
        found_meta = await connection.execute(META, binary=True)
        marks = await connection.execute(NEW_MARKS, (floor,), binary=True)
        await connection.execute("COMMIT")
    rows = await found.fetchall()
    matching = rows[0][-1] if rows else 0
    # As many as asked for, or more than there was room for: there may be more after them.
    through = rows[-1][0] if rows and (matching == limit or len(rows) < matching) else last
    entries = [stored_of(row[:-1], lives).entry for row in rows]
    if selector is not None:
        entries = [entry for entry in entries if selector.matches(entry.topic)]
    return FoundPage(entries, through, meta_of(await found_meta.fetchone()), await marks.fetchall())


async def look_back(connection: Connection, last: int, selector: Selector, floor: int) -> LookBack:
    """Return the newest events from `floor` to `last` that match, as far as one step goes."""
    if last < floor:
        return LookBack([], 1)
    if not selector.patterns:
        return await _look_back_by_topic(connection, last, selector)
    first = max(floor, last - scan_of(selector) + 1)
    query = BACK_BY_OFFSET.format(condition=condition_of(selector))
    values = {**terms_of(selector), "first": first, "last": last}
    rows = await (await connection.execute(query, values, binary=True)).fetchall()
    return LookBack(matching(rows, selector), first if first > floor else 1)


async def _look_back_by_topic(connection: Connection, last: int, selector: Selector) -> LookBack:
    values = {**terms_of(selector), "last": last, "limit": LOOK_BACK}
    rows = await (await connection.execute(BACK_BY_TOPIC, values, binary=True)).fetchall()
    oldest: dict[str, int] = {}
    counts: dict[str, int] = {}
    for offset, topic in rows:
        oldest.setdefault(topic, offset)
        counts[topic] = counts.get(topic, 0) + 1
    # A topic with as many as one step looks at may have older ones.
    lowest = max((oldest[topic] for topic, count in counts.items() if count == LOOK_BACK), default=1)
    return LookBack([offset for offset, _ in rows if offset >= lowest], lowest)


async def before(connection: Connection, time: float, floor: int, head: int) -> int:
    """Return the last offset whose entry is older than `time`."""
    query = "SELECT tidewire.before(%s, %s, %s)"
    row = await (await connection.execute(query, (time, floor, head))).fetchone()
    return int(row[0]) if row else head


def matching(rows: Sequence[tuple[int, str]], selector: Selector) -> list[int]:
    return [offset for offset, topic in rows if selector.matches(topic)]


def scan_of(selector: Selector | None) -> int:
    """Return how many entries one step may compare with the patterns of `selector`."""
    return SCAN_LIMIT if selector is None else selector.scan


def condition_of(selector: Selector | None) -> str:
    return "" if selector is None or "**" in selector.patterns else LIKE


def terms_of(selector: Selector | None) -> dict[str, Any]:
    if selector is None:
        return {}
    return {"topics": list(selector.topics), "patterns": [like_of(term) for term in selector.patterns]}


def like_of(pattern: str) -> str:
    """Return a LIKE pattern for all topics that `pattern` matches, and others: a star is any text there."""
    for special in "\\%_":
        pattern = pattern.replace(special, "\\" + special)
    return pattern.replace("**", "*").replace("*", "%")
