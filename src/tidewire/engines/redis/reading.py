"""
Reading the log in the server: pages, and where a subscription starts.

Rule 1: a page carries the floor and the marks of the moment in which it was read.
Rule 2: one call of the server reads a limited number of entries, and the event loop looks at no more at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...log.engine import PAGE_BYTES, LookBack
from ...log.entries import Entry
from ...topics import Selector
from .codec import Lives, Stored, stored_of
from .keys import Keys
from .link import Link
from .state import LogChanged, LogState

# Entries read at once, and their bytes by what entries of this log usually have.
STEP = 500
STEP_BYTES = 2 * 1024 * 1024


class Retention(NamedTuple):
    """What retention had done when something was read."""

    epoch: str
    head: int
    check: str
    floor: int
    trimmed: int
    dropped: int
    length: int
    marks: list[tuple[str, int]]
    """The marks from the floor on that this node knows."""

    def check_length(self) -> None:
        """Raises `LogChanged` if another program has deleted or added entries."""
        if self.length != self.head - self.floor + 1:
            raise LogChanged


class FoundPage(NamedTuple):
    entries: list[Entry]
    through: int
    """The offset through which they are complete."""
    retention: Retention


class Reading:
    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def _retention(self, state: LogState) -> tuple[tuple[Any, ...], ...]:
        """Return the commands that read what retention has done."""
        fields = (b"epoch", b"head", b"check", b"floor", b"trimmed", b"dropped")
        return (
            (b"HMGET", self._keys.meta, *fields),
            (b"XLEN", self._keys.log),
            (b"ZRANGEBYSCORE", self._keys.marks, state.floor, b"+inf", b"WITHSCORES"),
        )

    async def retention(self, state: LogState) -> Retention:
        return retention_of(*await self._link.together(*self._retention(state)))

    async def page(
        self, state: LogState, after: int, limit: int, selector: Selector | None, head: int
    ) -> FoundPage:
        """Return entries after `after` up to `head`. Raises `LogChanged` if some are missing."""
        first = max(after + 1, state.floor)
        count = self._step(state, selector)
        if selector is None or "**" in selector.patterns:
            count = min(count, limit)
        wanted = (b"XRANGE", self._keys.log, first, head, b"COUNT", count)
        *found, items = await self._link.together(*self._retention(state), wanted)
        retention = retention_of(*found)
        if retention.epoch != state.epoch:
            raise LogChanged
        retention.check_length()
        entries: list[Entry] = []
        size, through = 0, after
        expected = max(first, retention.floor)
        for item in items:
            entry = stored_of(item, state.lives).entry
            if entry.offset != expected:
                raise LogChanged
            expected += 1
            if selector is None or selector.matches(entry.topic):
                size += entry.size
                if len(entries) == limit or (entries and size > PAGE_BYTES):
                    return FoundPage(entries, through, retention)
                entries.append(entry)
            through = entry.offset
        return FoundPage(entries, through if items else max(after, head), retention)

    def _step(self, state: LogState, selector: Selector | None) -> int:
        kept = state.head - state.floor + 1
        size = (state.total - state.trimmed) // kept if kept > 0 else 0
        most = min(STEP, max(STEP_BYTES // size, 10) if size else STEP)
        return min(most, selector.scan) if selector is not None and selector.patterns else most

    async def look_back(self, state: LogState, last: int, selector: Selector) -> LookBack:
        """Return the newest events up to `last` that `selector` matches, as far as one step goes."""
        if last < state.floor:
            return LookBack([], 1)
        count = self._step(state, selector)
        items = await self._link.ask(b"XREVRANGE", self._keys.log, last, state.floor, b"COUNT", count)
        found = [stored_of(item, state.lives).entry for item in items]
        offsets = [e.offset for e in found if not e.end and selector.matches(e.topic)]
        lowest = found[-1].offset if len(found) == count else 1
        return LookBack(offsets[::-1], 1 if lowest <= state.floor else lowest)

    async def head(self) -> int:
        """Return the newest offset of the log."""
        found = await self._link.ask(b"HGET", self._keys.meta, b"head")
        if found is None:
            raise LogChanged
        return int(found)

    async def before(self, state: LogState, time: float) -> int:
        """Return the last offset whose entry is older than `time`."""
        low, high = state.floor, state.head + 1
        while low < high:
            middle = (low + high) // 2
            found = await self._entry(middle, state.lives)
            # An entry that was trimmed in the meantime is older than all that are kept.
            if found is None or found.entry.time < time:
                low = middle + 1
            else:
                high = middle
        return low - 1

    async def _entry(self, offset: int, lives: Lives) -> Stored | None:
        items = await self._link.ask(b"XRANGE", self._keys.log, offset, offset)
        return stored_of(items[0], lives) if items else None


def retention_of(meta: list[bytes | None], length: int, scored: list[bytes]) -> Retention:
    epoch, head, check, floor, trimmed, dropped = meta
    if epoch is None or head is None or check is None or floor is None or trimmed is None or dropped is None:
        raise LogChanged
    marks = [
        (topic.decode(), int(float(offset))) for topic, offset in zip(scored[::2], scored[1::2], strict=True)
    ]
    return Retention(
        epoch.decode(), int(head), check.decode(), int(floor), int(trimmed), int(dropped), length, marks
    )
