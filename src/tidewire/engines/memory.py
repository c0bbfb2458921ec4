"""
The log in this process's memory: the default of `Hub()` in a program.

It does not survive the process. Each start is a new life, so every stream that
resumes across a restart gets a gap.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence

from ..errors import InvalidInput, TidewireError
from ..log.clock import LogClock
from ..log.engine import PAGE_BYTES, SCAN_LIMIT, Durability, LookBack, Sink
from ..log.entries import Draft, Entry, Head, Marks, Page, Receipt, Since
from ..log.judging import HeldKey, Judgement
from ..log.presence import Alone
from ..log.records import Records
from ..position import Position, new_life
from ..settings import Settings
from ..topics import Selector

logger = logging.getLogger("tidewire")

# Entries trimmed in one step: a log that is suddenly too old must not block publishing.
TRIM_STEP = 1_000
# Seconds between checks of the age of the oldest entries.
TRIM_EVERY = 1.0


class MemoryEngine:
    durability: Durability = "memory"
    shared = has_peers = False
    trusted = True
    failure = ""

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        if url.partition(":")[2].strip("/"):
            raise InvalidInput("the memory engine has no path; use the URL memory", code="invalid_engine")
        self.presence = Alone()
        self._settings = settings
        self._clock = clock or LogClock()
        self.life = new_life()
        # The first `_gone` elements are trimmed but still listed: deleting them one by
        # one from a list of a million would move eight megabytes at every publish.
        self._entries: list[Entry | None] = []
        self._gone = 0
        self._floor = 1
        self._bytes = 0
        self._marks = Marks()
        self.records = Records()
        self._keys: OrderedDict[bytes, HeldKey] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, sink: Sink) -> Head:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(TRIM_EVERY, self._trim_regularly)
        return Head(Position(self.life, 0), 1, ((self.life, 1),), self._marks, ())

    async def close(self) -> None:
        if self._timer:
            self._timer.cancel()

    def release(self) -> None:
        """Do nothing: its timer ended with its loop."""

    # -- appending

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        # The future is already done: awaiting it does not even yield to the event loop.
        answer: asyncio.Future[list[Receipt]] = self._loop.create_future()
        answer.set_result(self._append(drafts))
        return answer

    def _append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        now = self._clock()
        self._forget_keys(now)
        judgement = Judgement(self, now, self._settings, self._keys)
        receipts = judgement.add(drafts)
        if isinstance(receipts, TidewireError):
            raise receipts
        self._store(judgement)
        self._trim(now)
        return receipts

    def _store(self, judgement: Judgement) -> None:
        self._keys.update(judgement.keys)
        self.records.count_items(judgement.items)
        for record in judgement.records.values():
            self.records.set(record)
        if entries := judgement.entries:
            self._entries += entries
            size = 0
            for entry in entries:
                size += entry.size
            self._bytes += size
            self._sink.entries(entries)

    # -- what judging reads (Committed)

    @property
    def head(self) -> int:
        return self._floor + len(self._entries) - self._gone - 1

    @property
    def keys_held(self) -> int:
        return len(self._keys)

    def position(self, offset: int) -> Position:
        return Position(self.life, offset)

    def _forget_keys(self, now: float) -> None:
        while self._keys:
            name, held = next(iter(self._keys.items()))
            if held.time + self._settings.key_age > now:
                return
            del self._keys[name]

    # -- retention

    def _trim_regularly(self) -> None:
        self._trim(self._clock())
        self._forget_records()
        self._timer = self._loop.call_later(TRIM_EVERY, self._trim_regularly)

    def _forget_records(self) -> None:
        gone = self.records.overdue(self._clock(), self._floor, TRIM_STEP)
        if excess := self.records.excess(self._floor):
            logger.warning("forgot %d ended topics or runs, the oldest of too many", len(excess))
        for record in (*gone, *excess):
            self.records.forget(record.kind, record.name)
        if gone or excess:
            self._sink.forgotten([*gone, *excess])

    def _trim(self, now: float) -> None:
        limits = self._settings
        most, most_bytes = limits.retention_entries, limits.retention_bytes
        oldest = now - limits.retention_age
        floor = self._floor
        count = len(self._entries) - self._gone
        for kept in range(count, max(count - TRIM_STEP, 0), -1):
            entry = self._entries[self._gone]
            # The newest entry stays whatever its size: its subscribers have not read it yet.
            over = kept > most or (self._bytes > most_bytes and kept > 1)
            if entry is None or not (over or entry.time < oldest):
                break
            if entry.offset >= self.records.spared_from(now) and not (
                kept > 2 * most or self._bytes > 2 * most_bytes or entry.time < oldest - limits.retention_age
            ):
                break
            self._forget(entry)
        if self._floor != floor:
            self._sink.trimmed(self._floor, self._marks)

    def _forget(self, entry: Entry) -> None:
        self._bytes -= entry.size
        self._marks.set(entry.topic, entry.offset)
        self._entries[self._gone] = None
        self._gone += 1
        self._floor += 1
        if self._gone > TRIM_STEP and self._gone > len(self._entries) // 4:
            del self._entries[: self._gone]
            self._gone = 0

    # -- reading

    def _kept(self, first: int, last: int) -> list[Entry]:
        """Return the kept entries with offsets from `first` to `last`."""
        low = max(first, self._floor) - self._floor + self._gone
        high = max(min(last, self.head) - self._floor + self._gone + 1, low)
        return [entry for entry in self._entries[low:high] if entry is not None]

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        first = max(after + 1, self._floor)
        found: list[Entry] = []
        size = 0
        through = after
        for entry in self._kept(first, first + scan_limit(selector) - 1):
            if selector is None or selector.matches(entry.topic):
                size += entry.size
                if len(found) == limit or (found and size > PAGE_BYTES):
                    break
                found.append(entry)
            through = entry.offset
        return Page(found, through, self._floor, self._marks)

    async def locate(self, since: Since) -> int:
        if since.kind == "start":
            return self._floor - 1
        if since.kind in ("ago", "at"):
            return self._before(since.value if since.kind == "at" else self._clock() - since.value)
        return self.head

    def _before(self, time: float) -> int:
        index = bisect_left(
            self._entries, time, lo=self._gone, key=lambda entry: entry.time if entry else 0.0
        )
        return self._floor + index - self._gone - 1

    async def look_back(self, last: int, selector: Selector) -> LookBack:
        first = last - scan_limit(selector) + 1
        found = [
            entry.offset
            for entry in self._kept(first, last)
            if not entry.end and selector.matches(entry.topic)
        ]
        return LookBack(found, first if first > self._floor else 1)


def scan_limit(selector: Selector | None) -> int:
    """Return how many entries one step may compare with `selector`."""
    return selector.scan if selector is not None and selector.patterns else SCAN_LIMIT
