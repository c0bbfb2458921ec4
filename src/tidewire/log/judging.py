"""
Judging publishes: batches of drafts in; entries, records and receipts out. Every engine calls it.

Rule 1: the key comes first: a repeat gets its first id, even if its topic has ended.
Rule 2: a batch is stored whole or not at all. One that is refused leaves nothing behind.
Rule 3: nothing here is in the log yet. The engine stores it in one atomic step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..errors import KeyConflict, TidewireError, TooMany, TopicEnded
from ..position import Position
from ..settings import Settings
from .entries import Draft, Entry, NewRecord, Receipt, Record
from .records import END, RECORDS, SPENT, TICKET, Records, data_of, limit_of, not_good

Result = list[Receipt] | TidewireError


class HeldKey(NamedTuple):
    """The entry that was first stored with a key, and the digest of its draft."""

    offset: int
    digest: bytes
    time: float


class Committed(Protocol):
    """The log as it is committed, as far as judging needs it."""

    @property
    def head(self) -> int: ...

    @property
    def life(self) -> str:
        """The life that new entries belong to."""

    @property
    def keys_held(self) -> int: ...

    @property
    def records(self) -> Records: ...

    def position(self, offset: int) -> Position: ...


class Judgement:
    """
    What one atomic step adds to the log: `add` each batch, then store `entries`, `keys` and `records`.

    `held` are the keys of these batches that the log holds, by their names; `now` is on the log's clock.
    `stale_keys` are those of them that are too old to count: remove them before storing `keys`.
    """

    def __init__(self, log: Committed, now: float, settings: Settings, held: Mapping[bytes, HeldKey]) -> None:
        self._log = log
        self._held_keys = held
        self._now = now
        self._settings = settings
        self._life = log.life
        self._next = log.head + 1
        self.entries: list[Entry] = []
        self.keys: dict[bytes, HeldKey] = {}
        self.records: dict[tuple[str, str], Record] = {}
        self.stale_keys: set[bytes] = set()
        # Topics known to be open. Most drafts of a batch have the topic of the draft before.
        self._open_topics: set[str] = set()

    def add(self, drafts: Sequence[Draft], times: Sequence[float] = ()) -> Result:
        """Return the receipts of a batch, or why it is refused. `times`: when each entry came, if not now."""
        entries, open_topics = self.entries, self._open_topics
        before = (len(entries), len(self.keys))
        records = self.records.copy() if self.records else {}
        life, first, now = self._life, self._next, self._now
        receipts: list[Receipt] = []
        try:
            for index, draft in enumerate(drafts):
                topic, data, event, retry, key, end, record, trace = draft
                time = times[index] if times else now
                # Nearly all drafts are events without a key: the steps of `_add` would be half of their cost.
                if (
                    key is None
                    and not end
                    and record is None
                    and (topic in open_topics or self._is_open(topic))
                ):
                    position = Position(life, first + len(entries))
                    entries.append(Entry(position, topic, data, event, retry, False, time, trace))
                    receipts.append(Receipt(position))
                else:
                    receipts.append(self._add(draft, index, time))
            if self.keys and self._log.keys_held + len(self.keys) > self._settings.max_keys:
                raise TooMany("too many keys are held; publish without a key or later", retry_after=60)
        except TidewireError as error:
            del entries[before[0] :]
            truncate(self.keys, before[1])
            self.records = records
            return error
        return receipts

    def _add(self, draft: Draft, index: int, time: float) -> Receipt:
        if draft.record is not None:
            return self._add_record(draft.record, index, time)
        name = b"" if draft.key is None else name_of(draft.topic, draft.key)
        held = self._held(name) if name else None
        if held is not None and held.digest != draft.digest():
            raise KeyConflict("this key was used for another event", index=index)
        if held is not None:
            return self._repeat(held.offset)
        end = self._end_of(draft.topic)
        if end and not draft.end:
            raise TopicEnded(f"the topic {draft.topic[:80]!r} has ended", index=index)
        if end:
            return self._repeat(end.offset)
        receipt = self._append(draft, time)
        if name:
            # A key is held from now on, whatever the time of its entry.
            self.keys[name] = HeldKey(receipt.position.offset, draft.digest(), self._now)
        if draft.end:
            offset, until = receipt.position.offset, time + self._settings.ended_age
            self.records[END, draft.topic] = Record(END, draft.topic, draft.data, until, offset)
            self._open_topics.discard(draft.topic)
        return receipt

    def _end_of(self, topic: str) -> Record | None:
        if self.records and (end := self.records.get((END, topic))):
            return end
        return self._log.records.get(END, topic)

    def _is_open(self, topic: str) -> bool:
        if self._end_of(topic):
            return False
        self._open_topics.add(topic)
        return True

    def _add_record(self, new: NewRecord, index: int, time: float) -> Receipt:
        kind, name, value, lifetime = new
        if kind == TICKET and value == SPENT:
            return self._spend(name, time)
        held = self._log.records
        added = sum(other == kind for other, _ in self.records)
        if held.get(kind, name) is None and held.count(kind) + added >= limit_of(kind):
            raise TooMany(f"too many records of kind {kind} are held; try again later", index=index)
        offset = self._next + len(self.entries)
        record = Record(kind, name, value, self._now + lifetime, offset)
        self.records[kind, name] = record
        return self._append(Draft(RECORDS, data_of(record), kind), time)

    def _spend(self, name: str, time: float) -> Receipt:
        """Mark a ticket as used. It stays so until its time, and keeps what it is for."""
        held = self.records.get((TICKET, name)) or self._log.records.get(TICKET, name)
        if held is None or held.value.startswith(SPENT) or held.until <= self._now:
            raise not_good()
        offset = self._next + len(self.entries)
        record = held._replace(value=SPENT + held.value, offset=offset)
        self.records[TICKET, name] = record
        return self._append(Draft(RECORDS, data_of(record), TICKET), time)

    def _held(self, name: bytes) -> HeldKey | None:
        held = self.keys.get(name) or self._held_keys.get(name)
        if held is not None and held.time <= self._now - self._settings.key_age:
            self.stale_keys.add(name)
            return None
        return held

    def _append(self, draft: Draft, time: float) -> Receipt:
        topic, data, event, retry, _, end, _, traceparent = draft
        position = Position(self._life, self._next + len(self.entries))
        self.entries.append(Entry(position, topic, data, event, retry, end, time, traceparent))
        return Receipt(position)

    def _repeat(self, offset: int) -> Receipt:
        new = offset > self._log.head
        return Receipt(Position(self._life, offset) if new else self._log.position(offset), True)


def name_of(topic: str, key: str) -> bytes:
    """Return the 16 bytes by which the key of a topic is held. A topic has no NUL, so names are unique."""
    return hashlib.blake2b(b"%b\0%b" % (topic.encode(), key.encode()), digest_size=16).digest()


def truncate(found: dict[Any, Any], count: int) -> None:
    """Remove the newest items of a dictionary, down to `count`."""
    while len(found) > count:
        found.popitem()
