"""
Records: what must outlive retention, such as the end of a topic.

Rule 1: a record is set by an entry, in the log's order and in the same atomic step. Trimming
        that entry leaves the record.
Rule 2: a record is forgotten by the log's clock alone, and never while the entry that set it
        is kept.
Rule 3: each kind has a limit. At the limit a new record is refused, and none is forgotten early.
        Of ended topics and of runs that are over, the oldest is forgotten instead: a publisher's event must
        not fail because a million other topics have ended.

A record that is not the end of a topic takes an offset as an entry that no selector matches and no
page shows. So every node learns of it by following the log, or from `Head.records`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import islice

import orjson

from ..errors import Unauthorized
from .entries import Entry, Record
from .runs import ItemCount, Run, record_name, run_of, topic_in

# The reserved topic of entries that only set a record.
RECORDS = "$records"
# The kind of the record that a topic has ended; its name is the topic, its value the reason.
END = "end"
# The kinds of the records that end streams: see `auth.revocations`.
KICK = "kick"
REVOCATION = "revocation"
# The kind of the record of a ticket: see `auth.tickets`. The value of one that was used begins with SPENT.
TICKET = "ticket"
SPENT = "spent "
# The kind of the records of runs: see `runs`.
RUN = "run"

# Seconds for which retention spares a run that is over: viewers that were away for a moment read its end.
SPARED_FOR = 600.0
# Runs that are looked at in one step for that.
PRUNE_STEP = 1_000

DEFAULT_LIMIT = 100_000
# A kick or a ticket is kept as long as its entry (rule 2). A million users may come and go in that time.
LIMITS = {END: 1_000_000, KICK: 1_000_000, TICKET: 1_000_000, RUN: 1_000_000}


class Records:
    """All records of a log, each kind in the order in which its records were set."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._kinds: dict[str, OrderedDict[str, Record]] = {}
        self._by_time: list[tuple[float, str, str]] = []  # a heap; replaced records stay in it
        self._newest_runs: dict[str, Run] = {}  # by topic
        self._open_runs: dict[str, Run] = {}  # by id
        self._items: dict[str, ItemCount] = {}  # of open runs of this process, by id
        self._spared: dict[str, Run] = {}  # open or over for a short time, by id
        self._by_first: list[tuple[int, str]] = []  # a heap of these
        for record in records:
            self.set(record)

    def __iter__(self) -> Iterator[Record]:
        for kind in self._kinds.values():
            yield from kind.values()

    def get(self, kind: str, name: str) -> Record | None:
        of_kind = self._kinds.get(kind)
        return None if of_kind is None else of_kind.get(name)

    def count(self, kind: str) -> int:
        return len(self._kinds.get(kind, ()))

    def set(self, record: Record) -> None:
        of_kind = self._kinds.setdefault(record.kind, OrderedDict())
        of_kind[record.name] = record
        of_kind.move_to_end(record.name)
        heappush(self._by_time, (record.until, record.kind, record.name))
        if record.kind == RUN:
            self._set_run(run_of(record))

    def forget(self, kind: str, name: str) -> None:
        record = self._kinds.get(kind, OrderedDict()).pop(name, None)
        if record is not None and kind == RUN:
            newest = self._newest_runs.get(topic_in(name))
            if newest is not None and record_name(newest.topic, newest.key) == name:
                del self._newest_runs[newest.topic]

    # -- runs

    def run(self, topic: str, key: str) -> Run | None:
        record = self.get(RUN, record_name(topic, key))
        return None if record is None else run_of(record)

    def newest_run(self, topic: str) -> Run | None:
        """Return the run of a topic that started last; only it can be open."""
        return self._newest_runs.get(topic)

    def runs(self) -> Iterator[Run]:
        """Yield all runs that are known, the one whose state changed last at the end."""
        return map(run_of, list(self._kinds.get(RUN, OrderedDict[str, Record]()).values()))

    @property
    def open_runs(self) -> Mapping[str, Run]:
        """The open runs by their ids."""
        return self._open_runs

    def items_of(self, run: str) -> ItemCount | None:
        """Return how many items of an open run this process has stored; None for none."""
        return self._items.get(run)

    def count_items(self, items: Mapping[str, ItemCount], shift: int = 0) -> None:
        """Note the items that were stored, `shift` offsets later than they were judged."""
        if shift:
            items = {run: ItemCount(stored, newest + shift) for run, (stored, newest) in items.items()}
        self._items.update(items)

    def take_items(self, before: Records) -> None:
        """Know the items of open runs that were known `before` the log was read again."""
        self._items = {run: count for run, count in before._items.items() if run in self._open_runs}

    def spared_from(self, now: float) -> float:
        """Return the offset from which retention spares entries for the sake of runs; infinity for none."""
        for _ in range(PRUNE_STEP):
            if not self._by_first:
                return math.inf
            first, id = self._by_first[0]
            run = self._spared[id]
            if run.open or run.stopped + SPARED_FOR > now:
                return first
            heappop(self._by_first)
            del self._spared[id]
        return self._by_first[0][0] if self._by_first else math.inf

    def _set_run(self, run: Run) -> None:
        if run.id not in self._spared:
            heappush(self._by_first, (run.first, run.id))
        self._spared[run.id] = run
        newest = self._newest_runs.get(run.topic)
        if newest is None or newest.first <= run.first:
            self._newest_runs[run.topic] = run
        if run.open:
            self._open_runs[run.id] = run
        else:
            self._open_runs.pop(run.id, None)
            self._items.pop(run.id, None)

    # -- forgetting

    def overdue(self, now: float, floor: int, most: int) -> list[Record]:
        """Return up to `most` records to be forgotten at `now`; those whose entry is kept come back later."""
        found: list[Record] = []
        early: list[tuple[float, str, str]] = []
        while self._by_time and self._by_time[0][0] <= now and len(found) < most:
            until, kind, name = heappop(self._by_time)
            record = self.get(kind, name)
            if record is None or record.until != until:
                continue  # forgotten, or set again since
            if record.offset >= floor:
                early.append((until, kind, name))
                if len(early) == most:
                    break
            else:
                found.append(record)
        for item in early:
            heappush(self._by_time, item)
        return found

    def keep(self, records: Iterable[Record]) -> None:
        """Let `overdue` return these again: they could not be forgotten."""
        for record in records:
            heappush(self._by_time, (record.until, record.kind, record.name))

    def excess(self, floor: int) -> list[Record]:
        """
        Return the oldest ended topics and the oldest runs that are over, as far as there are too many.

        Those whose entry is kept are left out: they come back once it is trimmed.
        """
        found: list[Record] = []
        for kind in (END, RUN):
            over = self.count(kind) - limit_of(kind)
            if over > 0:
                ended = (item for item in self._kinds[kind].values() if kind == END or not run_of(item).open)
                found += [record for record in islice(ended, over) if record.offset < floor]
        return found


def not_good() -> Unauthorized:
    """Return the refusal of a ticket, whatever is wrong with it."""
    return Unauthorized("the ticket is not good, or not any more; get a new one", code="invalid_ticket")


def limit_of(kind: str) -> int:
    return LIMITS.get(kind, DEFAULT_LIMIT)


def data_of(record: Record) -> str:
    """Return the data of the entry that sets a record."""
    return orjson.dumps([record.name, record.value, record.until]).decode()


def record_of(entry: Entry) -> Record | None:
    """
    Return the record that an entry sets, if it sets one.

    A node does not need to know until when a topic has ended: the engine says when it forgets it.
    """
    if entry.end:
        return Record(END, entry.topic, entry.data, 0.0, entry.offset)
    if entry.topic != RECORDS:
        return None
    name, value, until = orjson.loads(entry.data)
    return Record(entry.event, name, value, until, entry.offset)
