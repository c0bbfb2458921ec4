"""Keys: the same key of the same topic is one event, however often and however late it is sent."""

from __future__ import annotations

import asyncio

from ...errors import KeyConflict, TooMany, TopicEnded
from ...log.entries import Draft
from .appending import append
from .log import Base, engine_test, requires


class Keys(Base):
    @engine_test
    async def test_a_key_repeats_its_first_id(self) -> None:
        async with self.log() as log:
            assert await log.put(Draft("a", "1", key="k")) == [(1, False)]
            assert await log.put(Draft("a", "1", key="k")) == [(1, True)]
            assert await log.put(Draft("b", "1", key="k")) == [(2, False)], "a key belongs to its topic"
            assert await log.put(Draft("a", "1", key="l")) == [(3, False)]
            assert await log.put(Draft("a", "1")) == [(4, False)]

    @engine_test
    async def test_pairs_of_topic_and_key_are_never_confused(self) -> None:
        async with self.log() as log:
            pairs = [("a", "b/c"), ("a/b", "c"), ("a/", "bc"), ("ab", "c"), ("a", "bc"), ("A", "bc")]
            assert await log.put(*(Draft(topic, key=key) for topic, key in pairs)) == [
                (number, False) for number in range(1, 7)
            ]

    @engine_test
    async def test_a_key_with_another_event_is_a_conflict(self) -> None:
        async with self.log() as log:
            await log.put(Draft("a", "1", key="k"))
            others = [Draft("a", "2"), Draft("a", "1", "e"), Draft("a", "1", retry=9)]
            for other in (draft._replace(key="k") for draft in others):
                assert await log.refused(KeyConflict, Draft("a"), other) == {"index": 1}

    @engine_test
    async def test_a_key_twice_in_one_batch(self) -> None:
        async with self.log() as log:
            again = Draft("a", "1", key="k")
            assert await log.put(again, Draft("a", "2"), again) == [(1, False), (2, False), (1, True)]
            conflict = (Draft("c", "1", key="n"), Draft("c", "2", key="n"))
            assert await log.refused(KeyConflict, *conflict) == {"index": 1}

    @engine_test
    async def test_a_key_sent_concurrently(self) -> None:
        async with self.log() as log:
            found = await asyncio.gather(*(log.put(Draft("a", "1", key="k")) for _ in range(100)))
            assert sorted(receipt for (receipt,) in found) == [(1, False)] + [(1, True)] * 99

    @engine_test
    async def test_concurrent_events_with_the_same_key(self) -> None:
        async with self.log() as log:
            asked = [append(log, Draft("a", str(number), key="k")) for number in range(20)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert sum(isinstance(answer, KeyConflict) for answer in answers) == 19
            assert log.sink.head == 1

    @engine_test
    async def test_a_repeat_is_answered_even_if_the_topic_has_ended(self) -> None:
        async with self.log() as log:
            await log.put(Draft("a", "1", key="k"))
            await log.put(Draft("a", "over", end=True))
            assert await log.put(Draft("a", "1", key="k")) == [(1, True)]
            assert await log.put(Draft("a", "1", key="k"), Draft("b")) == [(1, True), (3, False)]
            await log.refused(TopicEnded, Draft("a", "1", key="n"))

    @engine_test
    async def test_a_repeat_is_answered_even_if_its_event_is_trimmed(self) -> None:
        async with self.log(retention_entries=2) as log:
            await log.put(Draft("a", "1", key="k"))
            await log.fill("aaaa")
            await log.until_floor(4)
            assert await log.put(Draft("a", "1", key="k")) == [(1, True)]

    @engine_test
    async def test_no_more_keys_than_the_limit(self) -> None:
        async with self.log(max_keys=3, key_age=600) as log:
            await log.put(*(Draft("a", key=str(number)) for number in range(2)))
            await log.refused(TooMany, Draft("a", key="2"), Draft("a", key="3"))
            assert await log.put(Draft("a", key="2")) == [(3, False)]
            await log.refused(TooMany, Draft("a", key="3"))
            # No key is forgotten early, and drafts that need no room for a key are accepted.
            assert await log.put(Draft("a", key="0"), Draft("a")) == [(1, True), (4, False)]
            if self.clocked:
                log.clock.now += 601
                assert await log.put(Draft("a", key="3")) == [(5, False)]

    @requires(clocked=True)
    @engine_test
    async def test_keys_are_forgotten_by_the_logs_clock(self) -> None:
        async with self.log(key_age=600) as log:
            await log.put(Draft("a", "1", key="k"))
            log.clock.now += 599
            assert await log.put(Draft("a", "1", key="k")) == [(1, True)]
            # A repeat does not extend its time.
            log.clock.now += 1
            assert await log.put(Draft("a", "2", key="k")) == [(2, False)]
            log.clock.now += 599
            assert await log.put(Draft("a", "2", key="k")) == [(2, True)]
