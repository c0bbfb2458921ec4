"""
Trimming the log, and forgetting keys and records whose time is over: a step at a time, by any node.

Rule 1: a step is small, and waits for no other node: one that is trimmed by another node is left to it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ...errors import TidewireError
from ...log.entries import Record
from ...log.tasks import start
from ...log.trimming import OldEntry, Trim, plan
from ...settings import Settings
from . import keys
from .link import Connection
from .settling import row, rows
from .state import DROP_EVERY, LogState

logger = logging.getLogger("tidewire")

# Entries trimmed in one step, or twice as many as were added, if that is more.
TRIM_STEP = 256
# Seconds between checks for entries, keys and records that are too old.
TRIM_EVERY = 1.0
# Records forgotten in one step.
FORGET_STEP = 1_000

OLDEST = """
SELECT "offset", topic, time, total FROM tidewire.entries WHERE "offset" >= %s ORDER BY "offset" LIMIT %s
"""
# Another node may have set some of them again.
FORGET_RECORDS = """
DELETE FROM tidewire.records WHERE (kind, name, "offset") IN (
  SELECT r.kind, r.name, r.at FROM unnest(%s::text[], %b::bytea[], %s::bigint[]) AS r (kind, name, at)
)
"""

Run = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]


class Housekeeping:
    """
    Keeps the log within its limits, in a task. `run` carries out work on a connection.

    `trimmed` and `forgotten` are called after each step that this node has done; `look` if another has.
    """

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], float],
        run: Run,
        state: Callable[[], LogState],
        trimmed: Callable[[Trim], None],
        forgotten: Callable[[Sequence[Record]], None],
        look: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._now = now
        self._run_on = run
        self._state = state
        self._trimmed = trimmed
        self._forgotten = forgotten
        self._look = look
        self._untrimmed = 0
        self._oldest: tuple[int, float] | None = None  # its offset and time
        self._wake = asyncio.Event()
        self._task = start(self._run())

    def added(self, count: int) -> None:
        """The log has as many more entries."""
        self._untrimmed += count
        if self._untrimmed >= TRIM_STEP:
            self._wake.set()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        due = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(TRIM_EVERY):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                while await self._trim():
                    pass
                if loop.time() >= due:
                    more = await self._forget()
                    due = 0.0 if more else loop.time() + TRIM_EVERY
            except TidewireError as error:
                logger.debug("cannot trim the log now: %s", error)
            except Exception:
                logger.exception("cannot trim the log")

    # -- entries

    async def _trim(self) -> bool:
        """Trim one step. Return whether there may be more to trim."""
        state, step = self._state(), max(TRIM_STEP, 2 * self._untrimmed)
        self._untrimmed = 0
        if not await self._is_over(state):
            return False
        found = await self._run_on(lambda connection: rows(connection, OLDEST, state.floor, step))
        now = self._now()
        trim = plan(
            (OldEntry(*item) for item in found),
            state.head,
            state.total,
            state.trimmed,
            now,
            state.records.spared_from(now),
            self._settings,
        )
        if trim is None or state is not self._state():
            return False
        floor, dropped = state.floor, state.marks.dropped if state.marks_since >= DROP_EVERY else 0
        done = await self._run_on(lambda connection: delete(connection, floor, trim, dropped))
        if state is not self._state():
            return False
        if not done:
            self._look()
            return False
        if dropped:
            state.marks_since = 0
        self._trimmed(trim)
        return trim.floor - floor >= step

    async def _is_over(self, state: LogState) -> bool:
        settings = self._settings
        kept = state.head - state.floor + 1
        if not kept:
            return False
        if kept > settings.retention_entries or state.total - state.trimmed > settings.retention_bytes:
            return True
        return await self._time_of_oldest(state) < self._now() - settings.retention_age

    async def _time_of_oldest(self, state: LogState) -> float:
        if self._oldest is None or self._oldest[0] != state.floor:
            floor = state.floor
            found = await self._run_on(lambda connection: rows(connection, OLDEST, floor, 1))
            if not found or found[0][0] != floor:
                return math.inf  # another node has trimmed it: this one has not caught up yet
            self._oldest = floor, found[0][2]
        return self._oldest[1]

    # -- keys and records

    async def _forget(self) -> bool:
        """Forget some keys and records. Return whether there may be more."""
        state, now = self._state(), self._now()
        forgotten = 0
        if state.keys_held:
            until = now - self._settings.key_age
            forgotten = await self._run_on(lambda connection: keys.forget(connection, until))
            state.keys_held = max(state.keys_held - forgotten, 0)
        excess = state.records.excess(state.floor)
        if excess:
            logger.warning("forgot %d ended topics or runs, the oldest of too many", len(excess))
        overdue = state.records.overdue(now, state.floor, FORGET_STEP)
        gone = [*overdue, *excess[:FORGET_STEP]]
        if gone:
            try:
                await self._run_on(lambda connection: forget_records(connection, gone))
            except BaseException:
                state.records.keep(overdue)
                raise
            if state is self._state():
                self._forgotten(gone)
        return forgotten == keys.FORGET_STEP or bool(gone)


async def delete(connection: Connection, floor: int, trim: Trim, dropped: int) -> bool:
    topics = [topic for topic, _ in trim.marks]
    offsets = [offset for _, offset in trim.marks]
    found = await row(
        connection,
        "SELECT tidewire.trim(%s, %s, %s, %s, %s::text[], %s::bigint[])",
        floor,
        trim.floor,
        trim.total,
        dropped,
        topics,
        offsets,
    )
    return bool(found and found[0])


async def forget_records(connection: Connection, records: Sequence[Record]) -> None:
    kinds = [record.kind for record in records]
    names = [record.name.encode() for record in records]
    await connection.execute(FORGET_RECORDS, (kinds, names, [record.offset for record in records]))
