"""
The keys of publishes that the log holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .link import Connection
from .settling import count_keys, rows

# Keys forgotten in one step.
FORGET_STEP = 1_000

HELD = 'SELECT name, "offset", digest, time, "check" FROM tidewire.keys WHERE name = ANY (%b::bytea[])'
# Those that a publish is about to replace are left to it.
FORGET = """
DELETE FROM tidewire.keys WHERE name IN (
  SELECT name FROM (
    SELECT name, time FROM tidewire.keys ORDER BY "offset" LIMIT %s FOR UPDATE SKIP LOCKED
  ) AS oldest WHERE time <= %s
)
"""


async def held(connection: Connection, names: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Return the name, offset, digest, time and check of each key of `names` that is held."""
    return await rows(connection, HELD, list(names))


async def forget(connection: Connection, until: float) -> int:
    """Forget some of the oldest keys if they were stored by `until`. Return how many."""
    return (await connection.execute(FORGET, (FORGET_STEP, until))).rowcount


async def make_room(connection: Connection, until: float) -> int:
    """Forget all keys that were stored by `until`. Return how many are left."""
    while await forget(connection, until) == FORGET_STEP:
        pass
    return await count_keys(connection)
