"""
The log as this node knows it. Nothing here waits, and nothing here asks the server.

Rule 1: entries are taken once and in order. Each names the check of the one before it: if this node knows
        another one, the log is not the one that it has followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...log.entries import Entry, Head, Marks, Record
from ...log.records import Records
from ...position import Position
from .codec import Lives, Stored, life_of

# What the server holds as the check of the position before the first entry.
NO_CHECK = "------"


class LogChanged(Exception):
    """The log in the server is not the one that this node knows, or is damaged: look at it again."""


class Meta(NamedTuple):
    """The fields of the log's hash in the server."""

    lives: tuple[tuple[str, int], ...]
    server: str
    head: int
    check: str
    time: float
    total: int
    floor: int
    trimmed: int
    dropped: int

    @property
    def epoch(self) -> str:
        """The newest life, without which nothing is stored."""
        return self.lives[-1][0]


class Point(NamedTuple):
    """How far a node knew the log when it asked the server: it may know more when the answer comes."""

    epoch: str
    head: int
    check: str


class LogState:
    """What judging reads (`Committed`), and what the tasks of the engine share."""

    def __init__(self, meta: Meta, marks: Marks, records: Iterable[Record]) -> None:
        self.lives: Lives = meta.lives
        self.server = meta.server
        self.head = meta.head
        self.check = meta.check
        self.time = meta.time
        self.total = meta.total
        self.floor = meta.floor
        self.trimmed = meta.trimmed
        self.marks = marks
        self.records = Records(records)
        self.keys_held = 0
        self.checks: dict[int, str] = {}
        """The checks of the entries that set the records, for the receipts of repeats."""
        self.key_checks: dict[int, str] = {}
        """The same for the keys that are being judged."""

    @property
    def epoch(self) -> str:
        return self.lives[-1][0]

    @property
    def point(self) -> Point:
        return Point(self.epoch, self.head, self.check)

    @property
    def life(self) -> str:
        return self.lives[-1][0]

    def position(self, offset: int) -> Position:
        if offset == self.head and self.check != NO_CHECK:
            return Position(life_of(self.lives, offset), offset, self.check)
        check = self.checks.get(offset) or self.key_checks.get(offset, "")
        return Position(life_of(self.lives, offset), offset, check)

    def head_with(self, newest: Sequence[Entry]) -> Head:
        """Return the state for the sink. Its marks are a copy."""
        marks = Marks()
        marks.update(self.marks.items(), self.marks.dropped)
        # Each kind in the order of its offsets.
        records = sorted(self.records, key=lambda record: record.offset)
        return Head(self.position(self.head), self.floor, tuple(self.lives), marks, records, newest)

    def take(self, found: Iterable[Stored]) -> tuple[list[Entry], bool]:
        """
        Take what is new of entries that follow each other. Return it, and whether all of it could be taken.

        What does not continue the log that this node knows is not taken, and nothing after it.
        """
        new: list[Entry] = []
        for stored in found:
            offset = stored.entry.offset
            if offset <= self.head:
                continue
            follows = offset == self.head + 1 and stored.previous == self.check
            if not follows or stored.life != self.epoch:
                return new, False
            self.head, self.check = offset, stored.entry.position.check
            self.total, self.time = stored.total, max(self.time, stored.entry.time)
            record = stored.record
            if record is not None:
                self.records.set(record)
                self.checks[offset] = self.check
            new.append(stored.entry)
        return new, True

    def forget(self, records: Iterable[Record]) -> None:
        for record in records:
            self.records.forget(record.kind, record.name)
            self.checks.pop(record.offset, None)

    def trim(self, floor: int, trimmed: int, marks: Iterable[tuple[str, int]], dropped: int) -> bool:
        """Retention moved. Return whether that is new; `marks` are those that were set since."""
        if floor <= self.floor:
            return False
        self.marks.update((mark for mark in marks if self.floor <= mark[1] < floor), dropped)
        self.floor, self.trimmed = floor, trimmed
        return True
