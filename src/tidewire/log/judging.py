"""
Judging publishes: batches of drafts in; entries, records and receipts out. Every engine calls it.

Rule 1: the key comes first: a repeat gets its first id, even if its topic has ended.
Rule 2: a batch is stored whole or not at all. One that is refused leaves nothing behind.
Rule 3: a run has one start and one end, however many try, and no item after its end.
Rule 4: nothing here is in the log yet. The engine stores it in one atomic step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from .. import hub_events
from ..errors import KeyConflict, RunConflict, TidewireError, TooMany, TopicEnded
from ..position import Position
from ..settings import Settings
from .entries import Draft, Entry, NewRecord, Receipt, Record, RunItem, RunStart, RunStop, make
from .records import END, RECORDS, RUN, SPENT, TICKET, Records, data_of, limit_of, not_good
from .runs import OPEN_LIFETIME, STOPPED_LIFETIME, ItemCount, Run, record_name, run_of, value_of

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
    `items` are how many items each run has then, for `Records.count_items`.
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
        self.items: dict[str, ItemCount] = {}
        self._items_before: list[tuple[int, str, ItemCount | None]] = []  # what a refusal takes back
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
                    position = make(Position, (life, first + len(entries), ""))
                    entries.append(Entry(position, topic, data, event, retry, False, time, trace))
                    receipts.append(make(Receipt, (position, False)))
                else:
                    receipts.append(self._add(draft, index, time))
            if self.keys and self._log.keys_held + len(self.keys) > self._settings.max_keys:
                raise TooMany("too many keys are held; publish without a key or later", retry_after=60)
        except TidewireError as error:
            del entries[before[0] :]
            truncate(self.keys, before[1])
            self.records = records
            self._take_back_items(first + before[0])
            return error
        return receipts

    def _add(self, draft: Draft, index: int, time: float) -> Receipt:
        match draft.record:
            case RunItem() as item:  # first: there are hundreds to one of the others
                return self._add_item(draft, item, index, time)
            case NewRecord() as new:
                return self._add_record(new, index, time)
            case RunStart() as start:
                return self._start_run(draft.topic, start, index, time)
            case RunStop() as stop:
                return self._stop_run(draft.topic, stop, index, time)
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
        return self._set_record(kind, name, value, lifetime, time)

    def _set_record(self, kind: str, name: str, value: str, lifetime: float, time: float) -> Receipt:
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

    # -- runs

    def _start_run(self, topic: str, start: RunStart, index: int, time: float) -> Receipt:
        held = self._run(topic, start.key)
        if held is not None:
            return self._repeat(held.last or held.first)
        if self._end_of(topic):
            raise TopicEnded(f"the topic {topic[:80]!r} has ended", index=index)
        newest = self._newest_run(topic)
        if newest is not None and newest.open:
            detail = "another run of this topic is active; wait for it, cancel it, or replace it"
            raise RunConflict(detail, key=newest.key, index=index)
        # The event comes right after the record.
        first = self._next + len(self.entries) + 1
        return self._tell(Run(topic, start.key, start.run, start.node, start.dialect, first, self._now), time)

    def _add_item(self, draft: Draft, item: RunItem, index: int, time: float) -> Receipt:
        topic, (_, id, number) = draft.topic, item
        count = self.items.get(id)
        if count is None:
            run = self._open_run(topic, item)
            if run is None:
                raise over(index)
            count = self._log.records.items_of(id) or ItemCount(0, run.first)
        if number != count.stored:
            if number > count.stored:
                raise over(index)
            return self._repeat(count.newest)
        if topic not in self._open_topics and not self._is_open(topic):
            raise TopicEnded(f"the topic {topic[:80]!r} has ended", index=index)
        receipt = self._append(draft, time)
        offset = receipt.position.offset
        self._set_items(id, ItemCount(number + 1, offset), offset)
        return receipt

    def _stop_run(self, topic: str, stop: RunStop, index: int, time: float) -> Receipt:
        run = self._run(topic, stop.key)
        if run is None or run.id != stop.run:
            raise over(index)
        if not run.open:
            return self._repeat(run.last)
        ended = self._end_of(topic)
        for event, data in () if ended else stop.closing:
            self._append(Draft(topic, data, event), time)
        # After the end of a topic there is no event of it: the record stands alone.
        last = self._next + len(self.entries) + (0 if ended else 1)
        self._set_items(stop.run, None, last)
        stopped = run._replace(state=stop.state, reason=stop.reason, last=last, stopped=self._now)
        return self._tell(stopped, time, silent=ended is not None)

    def _tell(self, run: Run, time: float, *, silent: bool = False) -> Receipt:
        """Add the record of a run that has started or stopped, and the event that tells of it."""
        name, lifetime = record_name(run.topic, run.key), OPEN_LIFETIME if run.open else STOPPED_LIFETIME
        receipt = self._set_record(RUN, name, value_of(run), lifetime, time)
        if silent:
            return receipt
        data = hub_events.run_data(run.id, run.key, run.state)
        return self._append(Draft(run.topic, data, hub_events.RUN), time)

    def _run(self, topic: str, key: str) -> Run | None:
        added = self.records.get((RUN, record_name(topic, key))) if self.records else None
        return self._log.records.run(topic, key) if added is None else run_of(added)

    def _open_run(self, topic: str, item: RunItem) -> Run | None:
        # Nearly no batch of items has records too. So the record of the run is not parsed token by token.
        run = self._run(topic, item.key) if self.records else self._log.records.open_runs.get(item.run)
        if run is None or (run.topic, run.key, run.id) != (topic, item.key, item.run):
            return None
        return run if run.open else None

    def _newest_run(self, topic: str) -> Run | None:
        start = record_name(topic, "")
        for (kind, name), record in reversed(self.records.items()):
            if kind == RUN and name.startswith(start):
                return run_of(record)
        return self._log.records.newest_run(topic)

    def _set_items(self, run: str, count: ItemCount | None, offset: int) -> None:
        self._items_before.append((offset, run, self.items.get(run)))
        if count is None:
            self.items.pop(run, None)
        else:
            self.items[run] = count

    def _take_back_items(self, first: int) -> None:
        """Forget what was counted at the offset `first` and later."""
        while self._items_before and self._items_before[-1][0] >= first:
            _, run, before = self._items_before.pop()
            if before is None:
                self.items.pop(run, None)
            else:
                self.items[run] = before

    # -- keys

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


def over(index: int) -> RunConflict:
    return RunConflict("this run is over, or was never started", code="run_over", index=index)


def truncate(found: dict[Any, Any], count: int) -> None:
    """Remove the newest items of a dictionary, down to `count`."""
    while len(found) > count:
        found.popitem()
