"""
The log as this node knows it. Nothing here waits, and nothing here asks the server.

Rule 1: entries are taken once and in order, whether they come from a commit of this node or are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...hub_events import RUN
from ...log import records
from ...log.entries import Entry, Head, Marks, Record
from ...log.records import Records, record_of
from ...log.runs import run_of
from ...position import Position
from .rows import Lives, Stored, life_of

# Marks set between two deletions of those beyond the limit.
DROP_EVERY = 10_000


class LogChanged(Exception):
    """The log in the database is not the one that this node knows: look at it again."""


class Meta(NamedTuple):
    """The rows of `meta` and `retention`, and whether the server is the one that nodes looked at last."""

    life: str
    head: int
    check: str
    total: int
    time: float
    floor: int
    trimmed: int
    dropped: int
    same_server: bool


# In a subquery, the function is called once. Before tables are analysed, PostgreSQL 13 to 16 expect so many
# rows that calling it for each would seem worth compiling the query first, which takes 30 ms.
META_COLUMNS = """
m.life, m.head, m."check", m.total, m.time, r.floor, r.trimmed, r.dropped,
m.server = (SELECT tidewire.server())
"""
META_TABLES = "tidewire.meta m, tidewire.retention r"
META = f"SELECT {META_COLUMNS} FROM {META_TABLES}"


def meta_of(row: Sequence[Any] | None) -> Meta:
    """Return the state of a log. Raises `LogChanged` if its rows were deleted."""
    if row is None:
        raise LogChanged
    return Meta(*row)


class LogState:
    """What judging reads (`Committed`), and what the tasks of the engine share."""

    def __init__(self, meta: Meta, lives: Lives, marks: Marks, found: Iterable[tuple[Record, str]]) -> None:
        self.lives = lives
        self.head, self.check = meta.head, meta.check
        self.total, self.time = meta.total, meta.time
        self.floor, self.trimmed, self.dropped = meta.floor, meta.trimmed, meta.dropped
        self.marks = marks
        self.marks_since = 0
        self.keys_held = 0
        self.checks: dict[int, str] = {}
        """The checks of entries that set records, for the receipts of repeats."""
        self.key_checks: dict[int, str] = {}
        """Those of the entries whose keys are being judged."""
        self.records = Records()
        for record, check in found:
            self.records.set(record)
            self.checks[record.offset] = check

    @property
    def life(self) -> str:
        return self.lives[-1][0]

    def position(self, offset: int) -> Position:
        check = self.checks.get(offset) or self.key_checks.get(offset, "")
        if offset == self.head:
            check = self.check
        return Position(life_of(self.lives, offset), offset, check)

    def head_with(self, newest: Sequence[Entry]) -> Head:
        """Return the state for the sink. Its marks are a copy."""
        marks = Marks()
        marks.update(self.marks.items(), self.marks.dropped)
        # Each kind in the order of its offsets.
        kept = sorted(self.records, key=lambda record: record.offset)
        return Head(self.position(self.head), self.floor, tuple(self.lives), marks, kept, newest)

    def take(self, found: Iterable[Stored], set_records: Iterable[Record]) -> list[Entry]:
        """
        Take what is new of entries that follow each other, with the records that they set; return it.

        Raises `LogChanged` if they do not continue the log that this node knows.
        """
        new: list[Entry] = []
        for entry, total in found:
            offset = entry.offset
            if offset <= self.head:
                continue
            if offset != self.head + 1:
                raise LogChanged
            self.head, self.check = offset, entry.position.check
            self.total, self.time = total, max(self.time, entry.time)
            if entry.event == RUN or record_of(entry) is not None:
                self.checks[offset] = self.check
            new.append(entry)
        if new:
            first = new[0].offset
            for record in set_records:
                # One that was set again later comes with a later page.
                if first <= record.offset <= self.head:
                    self.records.set(record)
        return new

    def trim(self, floor: int, trimmed: int, marks: Iterable[tuple[str, int]], dropped: int) -> bool:
        """Retention moved. Return whether that is new; `marks` are those that were set since."""
        if floor <= self.floor:
            return False
        new = [mark for mark in marks if self.floor <= mark[1] < floor]
        self.marks.update(new, dropped)
        self.marks_since += len(new)
        self.floor, self.trimmed = floor, trimmed
        return True

    def forget(self, record: Record) -> None:
        self.records.forget(record.kind, record.name)
        self.checks.pop(record.offset, None)
        if record.kind == records.RUN:
            run = run_of(record)
            self.checks.pop(run.first, None)
            self.checks.pop(run.last, None)
