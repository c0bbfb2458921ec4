"""Records: what outlives retention. The contract suite tests them in each engine."""

from __future__ import annotations

import pytest

from tidewire.errors import TidewireError, TooMany
from tidewire.log import records
from tidewire.log.entries import Draft, Entry, NewRecord, Record
from tidewire.log.judging import Judgement
from tidewire.log.records import END, RECORDS, Records, data_of, record_of
from tidewire.position import Position
from tidewire.settings import Settings


class Log:
    """What judging reads of an empty log."""

    head, life, keys_held = 0, "aaaaaa", 0

    def __init__(self, *held: Record) -> None:
        self.records = Records(held)

    def position(self, offset: int) -> Position:
        return Position(self.life, offset)


def record(name: str, until: float, offset: int, kind: str = "test") -> Record:
    return Record(kind, name, None, until, offset)


def judgement(log: Log | None = None) -> Judgement:
    return Judgement(log or Log(), 100.0, Settings(), {})


def new(name: str, value: object = None, kind: str = "test") -> Draft:
    return Draft(RECORDS, record=NewRecord(kind, name, value, 60))


def test_a_record_is_overdue_by_its_time_but_not_while_its_entry_is_kept() -> None:
    held = Records([record("a", 10, 1), record("b", 20, 2), record("c", 30, 3)])
    assert [r.name for r in held.overdue(25, floor=2, most=10)] == ["a"]
    assert [r.name for r in held.overdue(25, floor=3, most=10)] == ["b"], "it comes back later"
    assert held.overdue(25, floor=10, most=10) == []
    assert [r.name for r in held.overdue(30, floor=10, most=10)] == ["c"]


def test_a_record_that_was_set_again_has_its_new_time() -> None:
    held = Records([record("a", 10, 1)])
    held.set(record("a", 50, 2))
    assert held.overdue(20, floor=10, most=10) == []
    assert [r.until for r in held.overdue(60, floor=10, most=10)] == [50]
    held.forget("test", "a")
    held.forget("test", "a")
    assert (held.get("test", "a"), held.count("test"), list(held)) == (None, 0, [])


def test_overdue_records_come_in_limited_numbers() -> None:
    held = Records(record(str(n), n, n) for n in range(10))
    assert len(held.overdue(100, floor=100, most=4)) == 4
    assert len(held.overdue(100, floor=100, most=100)) == 6


def test_of_too_many_ended_topics_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(records.LIMITS, END, 2)
    held = Records(record(str(n), 1000, n, END) for n in range(5))
    held.set(record("0", 2000, 9, END))
    assert [r.name for r in held.excess(floor=1_000)] == ["1", "2", "3"]
    assert [r.name for r in held.excess(floor=3)] == ["1", "2"], "the entry of 3 is kept"


def test_an_entry_that_sets_a_record_tells_it() -> None:
    judged = judgement()
    judged.add([new("n", {"x": [1, "é"]})])
    (entry,) = judged.entries
    (held,) = judged.records.values()
    assert (entry.topic, entry.event) == (RECORDS, "test")
    assert record_of(entry) == held == Record("test", "n", {"x": [1, "é"]}, 160.0, 1)
    assert entry.data == data_of(held)
    position = Position("aaaaaa", 7)
    assert record_of(Entry(position, "t", "over", "message", None, True, 0.0)) == Record(
        END, "t", "over", 0.0, 7
    )
    assert record_of(Entry(position, "t", "data", "message", None, False, 0.0)) is None


def test_a_refused_batch_leaves_the_records_of_the_batches_before_it() -> None:
    judged = judgement()
    judged.add([new("n", "first"), Draft("t", "over", end=True)])
    before = dict(judged.records)
    refused = judged.add([new("n", "second"), new("m"), Draft("t", "more")])
    assert isinstance(refused, TidewireError)
    assert judged.records == before
    assert len(judged.entries) == 2


def test_at_the_limit_a_new_record_is_refused_and_a_known_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "DEFAULT_LIMIT", 2)
    log = Log(record("a", 1000, 1), record("b", 1000, 2))
    judged = judgement(log)
    assert isinstance(judged.add([new("c")]), TooMany)
    assert isinstance(judged.add([new("a", 2)]), list)
    # Those of this step count too.
    judged = judgement(Log(record("a", 1000, 1)))
    assert isinstance(judged.add([new("b"), new("c")]), TooMany)
    assert isinstance(judged.add([new("b")]), list)
    assert isinstance(judged.add([new("c")]), TooMany)
