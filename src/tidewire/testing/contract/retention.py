"""Retention: entries that are too many, too large or too old are trimmed in the end, and marks record it."""

from __future__ import annotations

from ...log.entries import Draft
from .log import Base, OpenLog, engine_test, requires


class Retention(Base):
    @engine_test
    async def test_retention_by_entries(self) -> None:
        async with self.log(retention_entries=3) as log:
            await log.fill("abcab")
            await log.until_floor(3)
            assert [log.sink.marks.of(topic) for topic in "abc"] == [1, 2, 0]
            assert await log.offsets() == [3, 4, 5]
            await log.put(*[Draft("z")] * 7)
            await log.until_floor(10)
            assert [log.sink.marks.of(topic) for topic in "abcz"] == [4, 5, 3, 9]

    @engine_test
    async def test_retention_by_bytes(self) -> None:
        async with self.log(retention_bytes=10_000) as log:
            for _ in range(100):
                await log.put(Draft("a", "x" * 1000))
            await log.until(lambda: kept_bytes(log) <= 10_000, "more bytes are kept than the setting says")
            assert kept_bytes(log) > 5_000, "more was trimmed than necessary"

    @engine_test
    async def test_the_newest_entry_stays_whatever_its_size(self) -> None:
        async with self.log(retention_bytes=2000) as log:
            await log.fill("aa")
            await log.put(Draft("a", "x" * 100_000))
            await log.until_floor(3)
            await log.fill("a")
            await log.until_floor(4)
            assert await log.offsets() == [4]

    @requires(clocked=True)
    @engine_test
    async def test_retention_by_age(self) -> None:
        async with self.log(retention_age=60) as log:
            await log.fill("ab")
            log.clock.now += 59
            await log.fill("a")
            assert log.sink.floor == 1
            log.clock.now += 2
            # Nothing is published: the engine checks by itself.
            await log.until_floor(3)
            log.clock.now += 60
            await log.until_floor(4)
            assert await log.offsets() == []
            assert await log.locate("start") == 3
            assert await log.put(Draft("a")) == [(4, False)]
            assert await log.offsets() == [4]

    @engine_test
    async def test_a_full_log_stays_correct_over_many_publishes(self) -> None:
        async with self.log(retention_entries=300) as log:
            for number in range(1, 41):
                await log.put(*(Draft("ab"[n % 2], str(number)) for n in range(50)))
                assert log.sink.floor <= max(1, number * 50 - 299), "more was trimmed than necessary"
                await log.page(0, 1000)
            await log.until_floor(2000 - 299)
            assert await log.offsets(0, 1000) == list(range(1701, 2001))

    @requires(clocked=True)
    @engine_test
    async def test_a_long_log_that_is_too_old_is_trimmed_in_the_end(self) -> None:
        async with self.log(retention_age=60) as log:
            for number in range(30):
                await log.put(*[Draft(f"topic/{number}")] * 100)
            log.clock.now += 61
            await log.until(lambda: log.sink.floor > 1, "nothing is trimmed")
            # Publishing continues in the meantime.
            await log.put(Draft("new"))
            await log.until_floor(3001)
            assert await log.offsets() == [3001]


def kept_bytes(log: OpenLog) -> int:
    return sum(entry.size for entry in log.known.values() if entry.offset >= log.sink.floor)
