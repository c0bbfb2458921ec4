"""
Keeping the log within its limits: trimming entries, and forgetting keys and records. Every node does it.

Rule 1: entries are trimmed by our script alone, which sets the marks in the same step.
Rule 2: of several nodes that trim at once, one does: the others find that the floor has moved.
"""

from __future__ import annotations

import logging
from typing import Protocol

from ...log.entries import MAX_MARKS, Record
from ...log.trimming import OldEntry, Trim, plan
from ...settings import Settings
from .codec import record_name
from .keys import Keys
from .link import Link
from .scripts import FORGET_RECORDS, OLDEST, TRIM
from .state import LogState

logger = logging.getLogger("tidewire")

# Entries trimmed in one call.
TRIM_STEP = 256
# Seconds between checks for entries, keys and records that are too old.
KEEP_EVERY = 1.0
# Records forgotten in one call.
FORGET_STEP = 1_000


class Owner(Protocol):
    """The engine, as keeping sees it."""

    @property
    def state(self) -> LogState: ...

    def now(self) -> float:
        """The log's clock."""

    def on_trimmed(self, trim: Trim, dropped: int) -> None:
        """Entries are trimmed."""

    def on_forgotten(self, records: list[Record]) -> None:
        """Records are about to be forgotten: their time is over."""


class Keeping:
    def __init__(self, link: Link, keys: Keys, settings: Settings, owner: Owner) -> None:
        self._link = link
        self._keys = keys
        self._settings = settings
        self._owner = owner
        self._oldest: tuple[int, float] = (0, 0.0)  # an offset, and the time of its entry

    async def trim(self) -> None:
        """Trim what is too much or too old, in steps. Raises `TidewireError`."""
        while self._may_trim():
            state = self._owner.state
            found = await self._link.run(OLDEST, (self._keys.log,), TRIM_STEP)
            oldest = [old_entry(item) for item in found]
            if state is not self._owner.state or not oldest:
                return
            now = self._owner.now()
            spared = state.records.spared_from(now)
            trim = plan(oldest, state.head, state.total, state.trimmed, now, spared, self._settings)
            self._oldest = oldest[0].offset, oldest[0].time
            if trim is None or oldest[0].offset != state.floor:
                return  # another node has trimmed: this one learns of it soon
            dropped = await self._link.run(
                TRIM,
                (self._keys.log, self._keys.meta, self._keys.marks),
                state.epoch,
                state.floor,
                trim.floor,
                trim.total,
                MAX_MARKS,
                *(part for topic, offset in trim.marks for part in (offset, topic.encode())),
            )
            if dropped < 0 or state is not self._owner.state:
                return
            self._owner.on_trimmed(trim, dropped)
            if trim.floor <= oldest[-1].offset:
                return

    def _may_trim(self) -> bool:
        """Whether there may be something to trim, as far as this node knows without asking."""
        state, limits = self._owner.state, self._settings
        kept = state.head - state.floor + 1
        if kept <= 0:
            return False
        if kept > limits.retention_entries or state.total - state.trimmed > limits.retention_bytes:
            return True
        offset, time = self._oldest
        return offset != state.floor or time < self._owner.now() - limits.retention_age

    async def forget(self) -> None:
        """Forget records whose time is over, and ended topics and runs that are too many."""
        state = self._owner.state
        overdue = state.records.overdue(self._owner.now(), state.floor, FORGET_STEP)
        excess = state.records.excess(state.floor)
        if excess:
            logger.warning("forgot %d ended topics or runs, the oldest of too many", len(excess))
        gone = [*overdue, *excess[:FORGET_STEP]]
        if not gone:
            return
        values = [
            part
            for record in gone
            for part in (record_name(record.kind, record.name), b"%d " % record.offset)
        ]
        try:
            await self._link.run(FORGET_RECORDS, (self._keys.records,), *values)
        except BaseException:
            state.records.keep(overdue)
            raise
        if state is self._owner.state:
            self._owner.on_forgotten(gone)


def old_entry(item: list[bytes]) -> OldEntry:
    id, topic, head = item
    _, _, total, time, _ = head.decode("ascii").split(" ")
    return OldEntry(int(id[: id.index(b"-")]), topic.decode(), float(time), int(total))
