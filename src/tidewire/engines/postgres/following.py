"""
What has been stored in the log since this node looked, by this node or by others.

Rule 1: everything is read in one snapshot, so that floor, marks and entries fit each other.
Rule 2: a look is limited. If there is more, look again.
"""

from __future__ import annotations

from typing import NamedTuple

from ...log.entries import Record
from .link import Connection
from .rows import COLUMNS, RECORD_COLUMNS, Stored, record_of_row, stored_of
from .state import META, LogChanged, LogState, Meta, meta_of

# Entries in one look, and their bytes, or one larger entry.
LOOK = 1_000
LOOK_BYTES = 4 * 1024 * 1024

SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
HELD = 'SELECT "check" FROM tidewire.entries WHERE "offset" = %s'
NEW = f"""
SELECT {COLUMNS} FROM tidewire.entries
WHERE "offset" > %s AND "offset" <= %s AND (total <= %s OR "offset" = %s) ORDER BY "offset"
"""
NEW_RECORDS = f"""
SELECT {RECORD_COLUMNS} FROM tidewire.records WHERE "offset" > %s AND "offset" <= %s ORDER BY "offset"
"""
NEW_KEYS = 'SELECT count(*) FROM tidewire.keys WHERE "offset" > %s AND "offset" <= %s'
NEW_MARKS = 'SELECT topic, "offset" FROM tidewire.marks WHERE "offset" >= %s ORDER BY "offset"'


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
    last = head + LOOK
    async with connection.pipeline():
        await connection.execute(SNAPSHOT)
        found_meta = await connection.execute(META, binary=True)
        held = await connection.execute(HELD, (head,), binary=True)
        entries = await connection.execute(NEW, (head, last, state.total + LOOK_BYTES, head + 1), binary=True)
        records = await connection.execute(NEW_RECORDS, (head, last), binary=True)
        keys = await connection.execute(NEW_KEYS, (head, last))
        marks = await connection.execute(NEW_MARKS, (state.floor,), binary=True)
        await connection.execute("COMMIT")
    meta = meta_of(await found_meta.fetchone())
    held_row = await held.fetchone()
    if not meta.same_server or meta.life != life or meta.head < head:
        raise LogChanged
    if (held_row is None and head >= meta.floor) or (held_row is not None and held_row[0] != check):
        raise LogChanged
    if meta.floor > head + 1:
        raise LogChanged  # retention has taken what this node never saw
    return News(
        meta,
        [stored_of(row, lives) for row in await entries.fetchall()],
        [record_of_row(row)[0] for row in await records.fetchall()],
        (await keys.fetchone() or (0,))[0],
        await marks.fetchall(),
    )
