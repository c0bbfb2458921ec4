"""
What one transaction adds to the log: batches of drafts in, entries and receipts out.

Nothing of it is in the log before the commit, and a batch that is refused
leaves nothing of itself behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ...errors import KeyConflict, TidewireError, TooMany, TopicEnded
from ...log.entries import Draft, Entry, Receipt
from ...position import Position
from ...settings import Settings
from .database import BLOCK_BITS

Result = list[Receipt] | TidewireError

COLUMNS = 9
BLOCK_MASK = (1 << BLOCK_BITS) - 1


class HeldKey(NamedTuple):
    """The entry that a key led to first, and what tells its draft from another one."""

    offset: int
    digest: bytes
    time: float


class Committed(Protocol):
    """What a group has to know of the log as it is committed."""

    head: int
    lives: list[tuple[str, int]]
    total: int
    keys_held: int
    block: int
    block_topics: frozenset[str]

    def end_of(self, topic: str) -> int:
        """Return the offset of a topic's end, or 0."""

    def position(self, offset: int) -> Position: ...


class Group:
    """A transaction in the making."""

    def __init__(self, log: Committed, now: float, settings: Settings, held: Mapping[bytes, HeldKey]) -> None:
        self._log = log
        self._held_keys = held
        self._now = now
        self._settings = settings
        self._life = log.lives[-1][0]
        self._next = log.head + 1
        self.entries: list[Entry] = []
        self.keys: dict[bytes, HeldKey] = {}
        self.ended: dict[str, int] = {}
        self.stale_keys: set[bytes] = set()
        # Topics that have not ended: nearly all drafts are of one that was just looked at, and have no key.
        self._going_on: set[str] = set()
        self.total = log.total
        self.block = log.block
        self._known_topics = log.block_topics
        self._new_topics: set[str] = set()
        self.new_blocks: list[tuple[int, str]] = []

    def add(self, drafts: Sequence[Draft], times: Sequence[float] = ()) -> Result:
        """Take a batch in and return its receipts, or why it is refused; `times`: when each entry came."""
        before = len(self.entries), len(self.keys), len(self.ended)
        append, going_on, now = self._append, self._going_on, self._now
        try:
            receipts = [
                append(draft, times[index] if times else now)
                if draft.key is None and draft.topic in going_on and not draft.end
                else self._add(draft, index, times[index] if times else now)
                for index, draft in enumerate(drafts)
            ]
            if self.keys and self._log.keys_held + len(self.keys) > self._settings.max_keys:
                raise TooMany("too many keys are held; publish without a key or later", retry_after=60)
        except TidewireError as error:
            del self.entries[before[0] :]
            keep_oldest(self.keys, before[1])
            keep_oldest(self.ended, before[2])
            return error
        return receipts

    def _add(self, draft: Draft, index: int, time: float) -> Receipt:
        # Keys come first: a repeat may meet an ended topic.
        name = b"" if draft.key is None else name_of(draft.topic, draft.key)
        held = self._held(name) if name else None
        if held is not None and held.digest != draft.digest():
            raise KeyConflict("this key was used for another event", index=index)
        if held is not None:
            return self._repeat(held.offset)
        end = self.ended.get(draft.topic) or self._log.end_of(draft.topic)
        if end and not draft.end:
            raise TopicEnded(f"the topic {draft.topic[:80]!r} has ended", index=index)
        if end:
            return self._repeat(end)
        receipt = self._append(draft, time)
        if name:
            # From now on, however old its entry is.
            self.keys[name] = HeldKey(receipt.position.offset, draft.digest(), self._now)
        if draft.end:
            self.ended[draft.topic] = receipt.position.offset
            self._going_on.discard(draft.topic)
        else:
            self._going_on.add(draft.topic)
        return receipt

    def _held(self, name: bytes) -> HeldKey | None:
        held = self.keys.get(name) or self._held_keys.get(name)
        if held is not None and held.time <= self._now - self._settings.key_age:
            self.stale_keys.add(name)
            return None
        return held

    def _append(self, draft: Draft, time: float) -> Receipt:
        topic, data, event, retry, _, end = draft
        position = Position(self._life, self._next + len(self.entries))
        self.entries.append(Entry(position, topic, data, event, retry, end, time))
        return Receipt(position)

    def _repeat(self, offset: int) -> Receipt:
        new = offset > self._log.head
        return Receipt(Position(self._life, offset) if new else self._log.position(offset), True)

    def rows(self) -> list[Any]:
        """Return the columns of all entries, one after the other, as an INSERT of many rows takes them."""
        values: list[Any] = []
        total, noted, last = self.total, "", 0
        for entry in self.entries:
            offset, topic, event, size = entry.position[1], entry.topic, entry.event, entry.size
            total += size
            if topic != noted or offset > last:  # one after the other they often have the same
                self._note_topic(offset >> BLOCK_BITS, topic)
                noted, last = topic, offset | BLOCK_MASK
            kind = None if event == "message" else event
            values += (offset, topic, kind, entry.retry, entry.end, entry.time, size, total, entry.data)
        self.total = total
        return values

    def _note_topic(self, block: int, topic: str) -> None:
        if block != self.block:
            self.block, self._known_topics, self._new_topics = block, frozenset(), set()
        if topic not in self._known_topics and topic not in self._new_topics:
            self._new_topics.add(topic)
            self.new_blocks.append((block, topic))

    @property
    def block_topics(self) -> frozenset[str]:
        """The topics of the block that is not full yet."""
        return self._known_topics | self._new_topics if self._new_topics else self._known_topics


def name_of(topic: str, key: str) -> bytes:
    """Return what a key is held by: 16 bytes for topic and key. A topic holds no NUL."""
    return hashlib.blake2b(b"%b\0%b" % (topic.encode(), key.encode()), digest_size=16).digest()


def keep_oldest(found: dict[Any, Any], count: int) -> None:
    while len(found) > count:
        found.popitem()
