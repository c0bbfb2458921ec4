"""The sink of an engine under test: it records and checks each report at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ...log.entries import Entry, Head, Marks, Record
from ...log.records import Records, record_of


class CheckingSink:
    """Checks that entries come once and in order, that marks are right, and the thread of each report."""

    def __init__(self, known: dict[int, Entry], head: Head) -> None:
        self.known = known
        self.head = head.position.offset
        self.floor = head.floor
        self.marks = head.marks
        self.records = Records(head.records)
        self._thread = threading.get_ident()

    def entries(self, batch: Sequence[Entry]) -> None:
        self._check_caller()
        assert [entry.offset for entry in batch] == list(range(self.head + 1, self.head + 1 + len(batch)))
        for entry in batch:
            assert entry.offset not in self.known, f"{entry.position} is reported twice"
            self.known[entry.offset] = entry
            record = record_of(entry)
            if record is not None:
                self.records.set(record)
        self.head += len(batch)

    def trimmed(self, floor: int, marks: Marks) -> None:
        self._check_caller()
        assert self.floor < floor <= self.head + 1
        self.floor, self.marks = floor, marks
        self.check_marks(floor, marks)

    def forgotten(self, records: Sequence[Record]) -> None:
        self._check_caller()
        for record in records:
            assert self.records.get(record.kind, record.name) is not None, "a record is forgotten twice"
            assert record.offset < self.floor, "a record is forgotten while its entry is kept"
            self.records.forget(record.kind, record.name)

    def reset(self, head: Head) -> None:
        raise AssertionError("the log does not go back in this suite")

    def available(self, up: bool) -> None:
        self._check_caller()

    def _check_caller(self) -> None:
        assert threading.get_ident() == self._thread, "the sink was called outside the event loop's thread"

    def check_marks(self, floor: int, marks: Marks) -> None:
        """Check that each topic's mark is its newest entry below the floor."""
        newest: dict[str, Entry] = {}
        for entry in self.known.values():
            if entry.offset < floor:
                newest[entry.topic] = entry
        for topic, entry in newest.items():
            assert marks.of(topic) == entry.offset, topic
        for topic in {entry.topic for entry in self.known.values()} - newest.keys():
            assert marks.of(topic) == 0, f"{topic!r} has a mark, but nothing of it is trimmed"


class EarlySink:
    """Holds back reports that come before `open` returns; `pass_to` passes these and all later ones on."""

    def __init__(self) -> None:
        self._held: list[tuple[str, tuple[Any, ...]]] = []
        self._sink: CheckingSink | None = None

    def pass_to(self, sink: CheckingSink) -> CheckingSink:
        self._sink = sink
        for name, values in self._held:
            getattr(sink, name)(*values)
        return sink

    def _report(self, name: str, *values: Any) -> None:
        if self._sink is None:
            self._held.append((name, values))
        else:
            getattr(self._sink, name)(*values)

    def entries(self, batch: Sequence[Entry]) -> None:
        self._report("entries", batch)

    def trimmed(self, floor: int, marks: Marks) -> None:
        self._report("trimmed", floor, marks)

    def forgotten(self, records: Sequence[Record]) -> None:
        self._report("forgotten", records)

    def reset(self, head: Head) -> None:
        self._report("reset", head)

    def available(self, up: bool) -> None:
        self._report("available", up)
