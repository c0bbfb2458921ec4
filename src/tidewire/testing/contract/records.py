"""Records: they outlive retention and restarts, and are forgotten by the log's clock alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import TooMany, TopicEnded, Unauthorized
from ...log import records
from ...log.entries import Draft, NewRecord
from ...log.records import END, RECORDS, SPENT, TICKET
from ...topics import Selector
from .log import Base, OpenLog, engine_test, requires

DAY = 86_400.0
EVERYTHING = Selector(["**"])


def noted(name: str, value: str = "", *, kind: str = "note", lifetime: float = DAY) -> Draft:
    return Draft(RECORDS, record=NewRecord(kind, name, value, lifetime))


def held(log: OpenLog, kind: str = "note") -> dict[str, str]:
    """Return the records as a node knows them that has followed the log."""
    return {record.name: record.value for record in log.sink.records if record.kind == kind}


@contextmanager
def limit(kind: str, number: int) -> Iterator[None]:
    before = records.LIMITS.get(kind)
    records.LIMITS[kind] = number
    try:
        yield
    finally:
        records.LIMITS.pop(kind)
        if before is not None:
            records.LIMITS[kind] = before


class OutliveRetention(Base):
    @engine_test
    async def test_a_record_takes_an_offset_and_is_in_no_page(self) -> None:
        async with self.log() as log:
            await log.put(Draft("a"), noted("x", "1"), Draft("b"))
            assert log.sink.head == 3
            assert await log.offsets(0, 100, EVERYTHING) == [1, 3]
            assert held(log) == {"x": "1"}

    @engine_test
    async def test_a_record_is_replaced_by_name(self) -> None:
        async with self.log() as log:
            await log.put(noted("x", "1"), noted("y", "2"))
            await log.put(noted("x", "3"), noted("x", "4", kind="other"))
            assert held(log) == {"x": "3", "y": "2"}
            assert held(log, "other") == {"x": "4"}

    @engine_test
    async def test_a_record_outlives_its_entry(self) -> None:
        async with self.log(retention_entries=2) as log:
            await log.put(noted("x", "1"))
            await log.fill("abc")
            await log.until_floor(3)
            assert held(log) == {"x": "1"}

    @requires(lasting=True)
    @engine_test
    async def test_records_last(self) -> None:
        async with self.log(retention_entries=2) as log:
            await log.put(noted("x", "1"), noted("y", "\u2028"))
            await log.put(noted("x", "2"), Draft("a", "sold", end=True))
            await log.fill("bc")
            await log.until_floor(5)
            for crash in (False, True):
                await log.reopen(crash=crash)
                assert held(log) == {"x": "2", "y": "\u2028"}
                assert held(log, END) == {"a": "sold"}

    @requires(clocked=True)
    @engine_test
    async def test_a_record_is_forgotten_when_its_time_is_over_and_its_entry_is_trimmed(self) -> None:
        async with self.log(retention_entries=2, ended_age=DAY) as log:
            await log.put(noted("short", lifetime=60), noted("long", lifetime=2 * DAY))
            await log.fill("ab")
            await log.until_floor(3)
            log.clock.now += 61
            await log.until(lambda: held(log) == {"long": ""}, "a record is not forgotten")
            await log.put(noted("kept", lifetime=60))
            log.clock.now += 120
            await log.fill("c")
            assert "kept" in held(log), "its entry is still there"
            await log.fill("de")
            await log.until(lambda: held(log) == {"long": ""}, "a record is not forgotten")

    @requires(clocked=True)
    @engine_test
    async def test_the_name_of_an_ended_topic_is_free_again(self) -> None:
        async with self.log(retention_entries=2, ended_age=60) as log:
            await log.put(Draft("a", end=True))
            log.clock.now += 61
            await log.refused(TopicEnded, Draft("a"))
            await log.fill("bcd")
            await log.until(lambda: not held(log, END), "the end is not forgotten")
            assert await log.put(Draft("a")) == [(5, False)]

    @engine_test
    async def test_a_ticket_is_spent_once(self) -> None:
        spend = noted("t", SPENT, kind=TICKET, lifetime=0)
        async with self.log() as log:
            await log.refused(Unauthorized, spend)
            await log.put(noted("t", "grant", kind=TICKET))
            await log.refused(Unauthorized, spend, spend)
            assert held(log, TICKET) == {"t": "grant"}
            await log.put(spend)
            assert held(log, TICKET) == {"t": f"{SPENT}grant"}
            await log.refused(Unauthorized, spend)

    @requires(clocked=True)
    @engine_test
    async def test_a_ticket_is_not_good_for_long(self) -> None:
        async with self.log() as log:
            await log.put(noted("t", "grant", kind=TICKET, lifetime=60))
            log.clock.now += 60
            await log.refused(Unauthorized, noted("t", SPENT, kind=TICKET, lifetime=0))

    @engine_test
    async def test_a_kind_has_a_limit(self) -> None:
        async with self.log() as log:
            with limit("note", 2):
                await log.put(noted("x"), noted("y"))
                assert await log.refused(TooMany, Draft("a"), noted("z")) == {"index": 1}
                await log.put(noted("x", "again"), noted("z", kind="other"))
                assert held(log) == {"x": "again", "y": ""}

    @engine_test
    async def test_the_oldest_of_too_many_ended_topics_is_forgotten(self) -> None:
        async with self.log(retention_entries=1) as log:
            with limit(END, 2):
                for topic in "abcd":
                    await log.put(Draft(topic, end=True))
                await log.until_floor(4)
                await log.until(lambda: [*held(log, END)] == ["c", "d"], "too many ended topics")
