"""Reopening: a log that lasts continues where it was, in a new life; one that does not starts empty."""

from __future__ import annotations

from ...errors import KeyConflict, TopicEnded
from ...log.entries import Draft
from .log import Base, OpenLog, engine_test, requires


class Reopening(Base):
    @requires(lasting=False)
    @engine_test
    async def test_a_log_that_does_not_last_is_new_each_time(self) -> None:
        async with self.log() as log:
            await log.put(Draft("a"))
            life = log.head.position.life
            log.known.clear()
            await log.reopen()
            assert log.head.position.life != life
            assert (log.head.position.offset, log.head.lives[0][1]) == (0, 1)

    @requires(lasting=True)
    @engine_test
    async def test_acked_entries_are_still_there(self) -> None:
        async with self.log() as log:
            for opening, crash in enumerate((False, True, False)):
                done = 100 * opening
                await log.put(*(Draft("ab"[number % 2], str(number), "e", 7) for number in range(99)))
                await log.reopen(crash=crash)
                assert (log.head.position, log.sink.head) == (log.known[done + 99].position, done + 99)
                assert await log.put(Draft("a", "next")) == [(done + 100, False)]

    @requires(lasting=True, reborn=True)
    @engine_test
    async def test_each_opening_that_writes_has_its_own_life(self) -> None:
        async with self.log() as log:
            first = log.head.position
            lives = []
            for number in range(3):
                lives.append((log.head.lives[-1][0], log.sink.head + 1))
                await log.put(Draft("a", str(number)), Draft("b"))
                await log.reopen(crash=number == 1)
                assert log.head.lives[:-1] == tuple(lives)
                assert log.head.lives[-1][1] == log.sink.head + 1
            assert len({life for life, _ in log.head.lives}) == 4
            assert log.head.lives[0] == (first.life, 1)
            assert life_of(log, 5) == log.known[5].position.life

    @requires(lasting=True, reborn=True)
    @engine_test
    async def test_a_life_that_wrote_nothing_is_not_kept(self) -> None:
        async with self.log() as log:
            await log.put(Draft("a"))
            kept = log.head.lives
            for _ in range(3):
                await log.reopen()
                assert (log.head.lives[:-1], log.head.lives[-1][1]) == (kept, 2)
                assert log.head.position == log.known[1].position

    @requires(lasting=True, reborn=False)
    @engine_test
    async def test_a_life_goes_on_after_an_opening(self) -> None:
        async with self.log() as log:
            lives = log.head.lives
            for number in range(3):
                await log.put(Draft("a", str(number)))
                await log.reopen(crash=number == 1)
                assert log.head.lives == lives
                assert log.head.position == log.known[number + 1].position

    @requires(lasting=True)
    @engine_test
    async def test_position_0_belongs_to_the_first_life(self) -> None:
        async with self.log() as log:
            first = log.head.position
            for _ in range(2):
                await log.reopen()
                assert log.head.position == first
                assert log.head.lives[0] == (first.life, 1)
            await log.put(Draft("a"))
            await log.reopen()
            assert life_of(log, 0) == first.life

    @requires(lasting=True)
    @engine_test
    async def test_keys_last(self) -> None:
        async with self.log(key_age=600) as log:
            await log.put(Draft("a", "1", key="k"))
            await log.reopen(crash=True)
            assert await log.put(Draft("a", "1", key="k")) == [(1, True)]
            assert await log.refused(KeyConflict, Draft("a", "2", key="k")) == {"index": 0}
            if self.clocked:
                log.clock.now += 599
                await log.reopen()
                assert await log.put(Draft("a", "1", key="k")) == [(1, True)]
                log.clock.now += 2
                assert await log.put(Draft("a", "2", key="k")) == [(2, False)]

    @requires(lasting=True)
    @engine_test
    async def test_ended_topics_stay_ended(self) -> None:
        async with self.log(retention_entries=3) as log:
            await log.put(Draft("old", end=True), Draft("x"), Draft("x"), Draft("new", end=True))
            await log.until_floor(2)
            await log.reopen()
            assert [(record.name, record.offset) for record in log.head.records] == [("old", 1), ("new", 4)]
            for topic, offset in (("old", 1), ("new", 4)):
                await log.refused(TopicEnded, Draft(topic))
                assert await log.put(Draft(topic, end=True)) == [(offset, True)]

    @requires(lasting=True)
    @engine_test
    async def test_marks_last(self) -> None:
        async with self.log(retention_entries=2) as log:
            await log.fill("abcabc")
            await log.until_floor(5)
            await log.reopen()
            assert log.head.floor == 5
            assert [log.head.marks.of(topic) for topic in "abcd"] == [4, 2, 3, 0]
            assert await log.offsets() == [5, 6]

    @requires(lasting=True)
    @engine_test
    async def test_reopening_with_another_retention(self) -> None:
        async with self.log() as log:
            await log.fill("abcabc")
            await log.reopen(retention_entries=2)
            await log.until_floor(5)
            assert await log.offsets() == [5, 6]

    @requires(lasting=True, clocked=True)
    @engine_test
    async def test_no_offset_is_used_twice_even_if_everything_is_trimmed(self) -> None:
        async with self.log(retention_age=60) as log:
            await log.fill("ab")
            log.clock.now += 61
            await log.until_floor(3)
            await log.reopen(retention_age=60)
            assert log.head.position.offset == 2
            assert life_of(log, 2) == log.known[2].position.life
            assert await log.put(Draft("a")) == [(3, False)]


def life_of(log: OpenLog, offset: int) -> str:
    """Return the life of `offset` by the list of lives, which must agree with the head's position."""

    def listed(offset: int) -> str:
        return [log.head.lives[0][0], *(life for life, first in log.head.lives if first <= offset)][-1]

    assert listed(log.head.position.offset) == log.head.position.life
    return listed(offset)
