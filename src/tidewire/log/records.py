"""
Records: what must outlive retention, such as the end of a topic.

Rule 1: a record is set by an entry, in the log's order and in the same atomic step. Trimming
        that entry leaves the record.
Rule 2: a record is forgotten by the log's clock alone, and never while the entry that set it
        is kept.
Rule 3: each kind has a limit. At the limit a new record is refused, and none is forgotten early.
        Of ended topics, the oldest is forgotten instead: a publisher's event must not fail because
        a million other topics have ended.

A record that is not the end of a topic takes an offset as an entry that no selector matches and no
page shows. So every node learns of it by following the log, or from `Head.records`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

import orjson

from ..errors import Unauthorized
from .entries import Entry, Record

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

DEFAULT_LIMIT = 100_000
# A kick or a ticket is kept as long as its entry (rule 2). A million users may come and go in that time.
LIMITS = {END: 1_000_000, KICK: 1_000_000, TICKET: 1_000_000}


class Records:
    """All records of a log, each kind in the order in which its records were set."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._kinds: dict[str, OrderedDict[str, Record]] = {}
        self._by_time: list[tuple[float, str, str]] = []  # a heap; replaced records stay in it
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

    def forget(self, kind: str, name: str) -> None:
        self._kinds.get(kind, OrderedDict()).pop(name, None)

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

    def excess(self) -> list[Record]:
        """Return the oldest ended topics beyond the limit."""
        over = self.count(END) - limit_of(END)
        ended = iter(self._kinds.get(END, {}).values())
        return [next(ended) for _ in range(over)]


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
