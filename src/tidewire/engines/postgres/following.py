"""
What has been stored in the log since this node looked, by this node or by others.

Rule 1: everything is read in one snapshot, so that floor, marks and entries fit each other.
Rule 2: a look is limited. If there is more, look again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...log.entries import Record
from .link import Connection
from .rows import COLUMNS, Stored, stored_of
from .state import META_COLUMNS, META_TABLES, LogChanged, LogState, Meta

# Entries in one look, and their bytes, or one larger entry.
LOOK = 1_000
LOOK_BYTES = 4 * 1024 * 1024

# One statement is one snapshot, and one way to the server and back: it is what nodes wait for. The first row
# holds the state as well.
STATE = f"""
SELECT json_build_array({META_COLUMNS},
  (SELECT "check" FROM tidewire.entries WHERE "offset" = %(head)s),
  (SELECT json_agg(json_build_array(kind, encode(name, 'hex'), encode(value, 'hex'), until, "offset")
    ORDER BY "offset") FROM tidewire.records WHERE "offset" > %(head)s AND "offset" <= %(last)s),
  (SELECT count(*) FROM tidewire.keys WHERE "offset" > %(head)s AND "offset" <= %(last)s),
  (SELECT json_agg(json_build_array(topic, "offset") ORDER BY "offset")
    FROM tidewire.marks WHERE "offset" >= %(floor)s))
FROM {META_TABLES}
"""
NEWS = f"""
SELECT {COLUMNS}, CASE WHEN "offset" IS NULL OR "offset" = %(head)s + 1 THEN ({STATE}) END
FROM (SELECT) AS always LEFT JOIN tidewire.entries
ON "offset" > %(head)s AND "offset" <= %(last)s AND (total <= %(size)s OR "offset" = %(head)s + 1)
ORDER BY "offset"
"""


class News(NamedTuple):
    meta: Meta
    entries: list[Stored]
    records: list[Record]
    keys: int
    """How many keys they brought."""
    marks: list[tuple[str, int]]


async def news_after(connection: Connection, state: LogState) -> News:
    """Return what is new. Raises `LogChanged` if the log is not the known one, and `psycopg.Error`."""
    # This node may store entries while it looks.
    head, check, life, lives = state.head, state.check, state.life, state.lives
    size = state.total + LOOK_BYTES
    values = {"head": head, "last": head + LOOK, "size": size, "floor": state.floor}
    cursor = await connection.execute(NEWS, values, binary=True)
    rows = await cursor.fetchall()
    found = rows[0][-1]
    if found is None:
        raise LogChanged  # its rows were deleted, or the next entry is missing
    *fields, held, records, keys, marks = found
    meta = Meta(*fields)
    if not meta.same_server or meta.life != life or meta.head < head:
        raise LogChanged
    if (held is None and head >= meta.floor) or held not in (None, check):
        raise LogChanged
    if meta.floor > head + 1:
        raise LogChanged  # retention has taken what this node never saw
    return News(
        meta,
        [stored_of(row[:-1], lives) for row in rows if row[0] is not None],
        [record_of_json(record) for record in records or ()],
        keys,
        [(topic, offset) for topic, offset in marks or ()],
    )


def record_of_json(fields: Sequence[Any]) -> Record:
    kind, name, value, until, offset = fields
    return Record(kind, bytes.fromhex(name).decode(), bytes.fromhex(value).decode(), float(until), offset)
