"""
The nodes of a log, in the table `nodes`: who lives, and what each reports of its streams.

Rule 1: a node lives as long as its session holds its lock: no clock decides it. A session may be ended and
        begin again, so a node is dead only when its lock has been free for a while.
Rule 2: behind a pooler, sessions are not a node's own. There a node gives signs of life, by the server's
        clock.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from ...errors import TidewireError
from ...log.remote_presence import LEASE, Report
from .link import Connection, Link
from .schema import LOCKS

SEEN = """
INSERT INTO tidewire.nodes VALUES (%(name)s, %(lock)s, clock_timestamp(), %(version)s, %(report)s)
ON CONFLICT (name) DO UPDATE SET lock = excluded.lock, seen = excluded.seen, version = excluded.version,
  report = excluded.report
"""
# The report of a node only if its version is not the one that is known.
NODES = f"""
SELECT n.name, n.version,
  CASE WHEN n.version IS DISTINCT FROM (%(known)s::jsonb ->> n.name)::bigint THEN n.report END,
  n.lock IS NOT NULL,
  CASE WHEN n.lock IS NULL THEN n.seen > clock_timestamp() - interval '{LEASE} s'
    ELSE EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = {LOCKS}
      AND l.objid = n.lock::oid AND l.objsubid = 2
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
  END
FROM tidewire.nodes n
"""
STATE = """
SELECT m.head, m.life, m.server = tidewire.server(), EXISTS (SELECT FROM tidewire.outbox) FROM tidewire.meta m
"""
NO_REPORT = b"[false,false]\n"


class Glance(NamedTuple):
    """What a node sees of the log when it looks at the others."""

    head: int
    life: str
    same_server: bool
    outbox: bool


class Nodes:
    """
    A `PresenceStore` over `link`. `lock` is the number of this node's lock, None while it holds none.

    `glanced` is called at each exchange with how far the log is, `failed` if there is no answer.
    """

    def __init__(
        self, name: str, link: Link, glanced: Callable[[Glance], None], failed: Callable[[], None]
    ) -> None:
        self.name = name
        self.lock: int | None = None
        self.others = 0
        self._link = link
        self._glanced = glanced
        self._failed = failed
        self._version = 0
        self._text = NO_REPORT
        self._sent: tuple[int, int | None] | None = None  # version and lock
        self._known: dict[str, int] = {}
        self._free_since: dict[str, float] = {}

    async def exchange(self, text: bytes | None) -> Mapping[str, Report]:
        if text is not None:
            self._text, self._version = text, self._version + 1
        try:
            rows = await self._link.run(self._exchange)
        except TidewireError:
            self._sent = None
            self._failed()
            raise
        if self.name not in {name for name, *_ in rows}:
            self._sent = None  # the server has forgotten it
        now = asyncio.get_running_loop().time()
        others = [row for row in rows if row[0] != self.name]
        self.others = len(others)
        self._known = {name: version for name, version, *_ in others}
        return {
            name: Report(self._lives(name, held, has_lock, now), text)
            for name, _, text, has_lock, held in others
        }

    async def _exchange(self, connection: Connection) -> list[tuple[Any, ...]]:
        sent = (self._version, self.lock)
        says = sent != self._sent or self.lock is None
        values = {
            "name": self.name,
            "lock": self.lock,
            "version": self._version,
            "report": self._text,
            "known": orjson.dumps(self._known).decode(),
        }
        async with connection.pipeline():
            if says:
                await connection.execute(SEEN, values)
            found = await connection.execute(NODES, values, binary=True)
            glance = await connection.execute(STATE, binary=True)
        self._sent = sent
        state = await glance.fetchone()
        if state is not None:
            self._glanced(Glance(*state))
        return await found.fetchall()

    def _lives(self, name: str, held: bool, has_lock: bool, now: float) -> bool:
        if held or not has_lock:
            self._free_since.pop(name, None)
            return held
        return now - self._free_since.setdefault(name, now) < LEASE

    async def bury(self, name: str) -> bool:
        query = "DELETE FROM tidewire.nodes WHERE name = %s"
        found = await self._link.run(lambda connection: connection.execute(query, (name,)))
        return found.rowcount == 1

    async def leave(self) -> None:
        """Remove what this node has reported, so that no other one inherits it."""
        await self.bury(self.name)


def new_lock() -> int:
    """Return a number for a lock. Zero is that of migrations."""
    return secrets.randbelow(2**31 - 1) + 1
