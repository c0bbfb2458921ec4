"""
The log in this process's memory: the default of `Hub()` in a program.

It survives nothing and says so: every start is a new life, so every resume
across a restart gets a gap.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import InvalidInput, KeyConflict, TooMany, TopicEnded
from ..log.clock import LogClock
from ..log.engine import PAGE_BYTES, SCAN_LIMIT, Durability, Sink
from ..log.entries import Draft, Entry, Head, Marks, Page, Receipt, Since
from ..position import Position, new_life
from ..settings import Settings
from ..topics import Selector

# Entries trimmed in one step: a log that suddenly is too old must not block publishing.
TRIM_STEP = 1_000
# Seconds between two looks at the age of the oldest entries.
TRIM_EVERY = 1.0


class HeldKey(NamedTuple):
    digest: bytes
    receipt: Receipt
    time: float


class MemoryEngine:
    durability: Durability = "memory"
    shared = False
    failure = ""

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        if url.partition(":")[2].strip("/"):
            raise InvalidInput("the memory engine has no path: its URL is memory", code="invalid_engine")
        self._settings = settings
        self._clock = clock or LogClock()
        self._life = new_life()
        # The first `_gone` elements are trimmed: deleting them one by one from
        # a list of a million would move eight megabytes at every publish.
        self._entries: list[Entry | None] = []
        self._gone = 0
        self._floor = 1
        self._bytes = 0
        self._marks = Marks()
        self._ended: dict[str, Position] = {}
        self._keys: OrderedDict[tuple[str, str], HeldKey] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, sink: Sink) -> Head:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(TRIM_EVERY, self._trim_regularly)
        return Head(Position(self._life, 0), 1, ((self._life, 1),), self._marks, {})

    async def close(self) -> None:
        if self._timer:
            self._timer.cancel()

    # -- appending

    @property
    def _head(self) -> int:
        return self._floor + len(self._entries) - self._gone - 1

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        # A future that is done already: whoever awaits it does not even hand over the event loop.
        answer: asyncio.Future[list[Receipt]] = self._loop.create_future()
        answer.set_result(self._append(drafts))
        return answer

    def _append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        now = self._clock()
        self._forget_keys(now)
        offset = self._head
        receipts: list[Receipt] = []
        entries: list[Entry] = []
        keys: dict[tuple[str, str], HeldKey] = {}
        ended: dict[str, Position] = {}
        for index, draft in enumerate(drafts):
            topic, data, event, retry, key, end = draft
            known = self._known(draft, index, keys, ended)
            if known is not None:
                receipts.append(known._replace(duplicate=True))
                continue
            offset += 1
            position = Position(self._life, offset)
            entries.append(Entry(position, topic, data, event, retry, end, now))
            receipt = Receipt(position)
            receipts.append(receipt)
            if end:
                ended[topic] = position
            if key is not None:
                keys[topic, key] = HeldKey(draft.digest(), receipt, now)
        if len(self._keys) + len(keys) > self._settings.max_keys:
            raise TooMany("too many keys are held; publish without a key or later", retry_after=60)
        self._store(entries, keys, ended)
        return receipts

    def _known(
        self,
        draft: Draft,
        index: int,
        keys: dict[tuple[str, str], HeldKey],
        ended: dict[str, Position],
    ) -> Receipt | None:
        """Return the receipt that `draft` got before. Keys come first: a repeat may meet an ended topic."""
        if draft.key is not None:
            name = (draft.topic, draft.key)
            held = self._keys.get(name) or keys.get(name)
            if held is not None and held.digest != draft.digest():
                raise KeyConflict("this key was used for another event", index=index)
            if held is not None:
                return held.receipt
        end = (ended and ended.get(draft.topic)) or self._end_of(draft.topic)
        if end is not None and not draft.end:
            raise TopicEnded(f"the topic {draft.topic[:80]!r} has ended", index=index)
        return None if end is None else Receipt(end)

    def _end_of(self, topic: str) -> Position | None:
        if self._marks.ended(topic):
            return Position(self._life, self._marks.of(topic))
        return self._ended.get(topic)

    def _store(
        self, entries: list[Entry], keys: dict[tuple[str, str], HeldKey], ended: dict[str, Position]
    ) -> None:
        self._keys.update(keys)
        self._ended.update(ended)
        self._entries += entries
        self._bytes += sum(entry.size for entry in entries)
        if entries:
            self._sink.entries(entries)
            self._trim()

    def _forget_keys(self, now: float) -> None:
        while self._keys:
            name, held = next(iter(self._keys.items()))
            if held.time + self._settings.key_age > now:
                return
            del self._keys[name]

    # -- retention

    def _trim_regularly(self) -> None:
        self._trim()
        self._timer = self._loop.call_later(TRIM_EVERY, self._trim_regularly)

    def _trim(self) -> None:
        limits = self._settings
        oldest = self._clock() - limits.retention_age
        floor = self._floor
        for _ in range(min(TRIM_STEP, len(self._entries) - self._gone)):
            entry = self._entries[self._gone]
            more = self._head - self._floor
            # The newest entry stays whatever its size: its subscribers have not read it yet.
            over = more >= limits.retention_entries or (more and self._bytes > limits.retention_bytes)
            if entry is None or not (over or entry.time < oldest):
                break
            self._forget(entry)
        if self._floor != floor:
            self._sink.trimmed(self._floor, self._marks)

    def _forget(self, entry: Entry) -> None:
        self._bytes -= entry.size
        self._marks.set(entry.topic, entry.offset, entry.end)
        if entry.end:
            del self._ended[entry.topic]
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
        high = max(min(last, self._head) - self._floor + self._gone + 1, low)
        return [entry for entry in self._entries[low:high] if entry is not None]

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        first = max(after + 1, self._floor)
        found: list[Entry] = []
        size = 0
        through = after
        for entry in self._kept(first, first + SCAN_LIMIT - 1):
            if selector is None or selector.matches(entry.topic):
                size += entry.size
                if len(found) == limit or (found and size > PAGE_BYTES):
                    break
                found.append(entry)
            through = entry.offset
        return Page(found, through, self._floor, self._marks)

    async def locate(self, since: Since, selector: Selector) -> int:
        if since.kind == "start":
            return self._floor - 1
        if since.kind == "last":
            return await self._before_last(int(since.value), selector)
        if since.kind in ("ago", "at"):
            return self._before(since.value if since.kind == "at" else self._clock() - since.value)
        return self._head

    def _before(self, time: float) -> int:
        index = bisect_left(
            self._entries, time, lo=self._gone, key=lambda entry: entry.time if entry else 0.0
        )
        return self._floor + index - self._gone - 1

    async def _before_last(self, count: int, selector: Selector) -> int:
        """Return the offset before the `count` newest events that `selector` matches."""
        last = self._head
        while count and last >= self._floor:
            first = max(last - SCAN_LIMIT + 1, self._floor)
            for entry in reversed(self._kept(first, last)):
                if not entry.end and selector.matches(entry.topic):
                    count -= 1
                    if count == 0:
                        return entry.offset - 1
            last = first - 1
            # A page at a time: others publish meanwhile.
            await asyncio.sleep(0)
        return last
