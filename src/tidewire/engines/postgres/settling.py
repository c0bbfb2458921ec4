"""
Looking at the whole log: when a node opens it, and when it is not the log that the node knew.

Rule 1: a life begins whenever entries may have been lost unseen: the log is shorter than this node knew it,
        or another one, or its server is another one or has started again, or its tables were restored. So no
        position of what was lost can be continued, and all others can.
Rule 2: several nodes may look at once. Each does it under the lock of the log, and finds what the others did.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ...log.entries import Entry, Marks
from ...position import new_life
from .link import Connection
from .rows import COLUMNS, RECORD_COLUMNS, Lives, life_of, record_of_row, stored_of
from .state import META, LogChanged, LogState, Meta, meta_of

logger = logging.getLogger("tidewire")

# Entries read at once to fill a window.
FILL = 1_000
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
LIVES = "SELECT life, first FROM tidewire.lives ORDER BY number"


async def settle(connection: Connection, known: LogState | None, place: str) -> bool:
    """
    Begin a life if there is reason to. Return whether the log continues `known`, which then has its lives.

    If it does not, load it. Raises `LogChanged` if its rows were deleted, and `psycopg.Error`.
    """
    async with connection.transaction():
        meta = meta_of(await row(connection, f"{META} FOR UPDATE OF m"))
        lives: list[tuple[str, int]] = await rows(connection, LIVES)
        continues = known is not None and await is_continued(connection, meta, lives, known)
        went_back = known is not None and not continues and meta.life == known.life
        if went_back or not meta.same_server:
            await begin_life(connection, meta, lives)
        if went_back:
            logger.warning("the log %s has lost its newest events; streams that had them are told", place)
    if known is None or not continues or meta.floor > known.head + 1:
        return False
    known.lives = lives
    return True


async def is_continued(connection: Connection, meta: Meta, lives: Lives, known: LogState) -> bool:
    """Whether the log is the one that this node knows, or has grown since."""
    head, check = known.head, known.check
    if meta.head < head or life_of(lives, head) != life_of(known.lives, head):
        return False
    held = await row(connection, 'SELECT "check" FROM tidewire.entries WHERE "offset" = %s', head)
    # If its entry is trimmed, the list of lives is all there is to compare.
    return held[0] == check if held else head < meta.floor


async def begin_life(connection: Connection, meta: Meta, lives: list[tuple[str, int]]) -> None:
    # One that wrote nothing is replaced, except the first: offset 0 belongs to it.
    if len(lives) > 1 and lives[-1][1] > meta.head:
        lives.pop()
    lives.append((new_life(), meta.head + 1))
    await connection.execute("DELETE FROM tidewire.lives WHERE number >= %s", (len(lives),))
    await connection.execute("INSERT INTO tidewire.lives VALUES (%s, %s, %s)", (len(lives), *lives[-1]))
    await connection.execute(
        "UPDATE tidewire.meta SET life = %s, server = tidewire.server()", (lives[-1][0],)
    )


async def load(connection: Connection, entries: int, size: int) -> tuple[LogState, list[Entry]]:
    """
    Return the log, and its newest entries: at most as many, and at most `size` bytes in all.

    Raises `LogChanged` if its rows were deleted, and `psycopg.Error`.
    """
    async with connection.transaction():
        await connection.execute(SNAPSHOT)
        meta = meta_of(await row(connection, META))
        lives = await rows(connection, LIVES)
        marks = Marks()
        found = await rows(connection, 'SELECT topic, "offset" FROM tidewire.marks ORDER BY "offset"')
        marks.update(found, meta.dropped)
        records = await rows(connection, f'SELECT {RECORD_COLUMNS} FROM tidewire.records ORDER BY "offset"')
        state = LogState(meta, lives, marks, map(record_of_row, records))
        state.keys_held = await count_keys(connection)
        return state, await newest(connection, state, entries, size)


async def newest(connection: Connection, state: LogState, count: int, size: int) -> list[Entry]:
    first = await row(
        connection,
        'SELECT min("offset") FROM tidewire.entries WHERE "offset" > %s AND total > %s',
        state.head - count,
        state.total - size,
    )
    found: list[Entry] = []
    start = first[0] if first and first[0] is not None else state.head + 1
    for low in range(start, state.head + 1, FILL):
        page = await rows(
            connection,
            f'SELECT {COLUMNS} FROM tidewire.entries WHERE "offset" BETWEEN %s AND %s ORDER BY "offset"',
            low,
            low + FILL - 1,
        )
        found += [stored_of(item, state.lives).entry for item in page]
    if found and found[-1].offset - found[0].offset + 1 != len(found):
        raise LogChanged  # a hole
    return found


async def count_keys(connection: Connection) -> int:
    found = await row(connection, "SELECT count(*) FROM tidewire.keys")
    return int(found[0]) if found else 0


async def row(connection: Connection, query: str, *values: Any) -> Sequence[Any] | None:
    return await (await connection.execute(query, values, binary=True)).fetchone()


async def rows(connection: Connection, query: str, *values: Any) -> list[Any]:
    return await (await connection.execute(query, values, binary=True)).fetchall()
