"""The end of a topic: it is an entry, the first one counts, and nothing comes after it."""

from __future__ import annotations

import asyncio

from ...errors import TopicEnded
from ...log.entries import Draft
from .appending import append
from .log import Base, engine_test


class Ends(Base):
    @engine_test
    async def test_a_second_end_returns_the_first(self) -> None:
        async with self.log() as log:
            await log.fill("a")
            assert await log.put(Draft("a", "sold", end=True)) == [(2, False)]
            assert await log.put(Draft("a", "other", end=True)) == [(2, True)]
            assert await log.put(Draft("b", end=True), Draft("b", end=True)) == [(3, False), (3, True)]
            assert [entry.end for entry in log.known.values()] == [False, True, True]
            assert log.known[2].data == "sold"

    @engine_test
    async def test_nothing_is_published_to_an_ended_topic(self) -> None:
        async with self.log() as log:
            await log.put(Draft("a", end=True))
            assert await log.refused(TopicEnded, Draft("a")) == {"index": 0}
            assert await log.refused(TopicEnded, Draft("b", end=True), Draft("b")) == {"index": 1}
            assert await log.put(Draft("b"), Draft("a/b")) == [(2, False), (3, False)]

    @engine_test
    async def test_an_end_among_concurrent_publishes(self) -> None:
        async with self.log() as log:
            drafts = [Draft("a", str(number), end=number % 10 == 5) for number in range(40)]
            answers = await asyncio.gather(*(append(log, draft) for draft in drafts), return_exceptions=True)
            (end,) = [entry.offset for entry in log.known.values() if entry.end]
            assert end == log.sink.head, "an event after the end of its topic"
            for draft, answer in zip(drafts, answers, strict=True):
                if draft.end:
                    assert not isinstance(answer, BaseException)
                    assert answer.offset == end
                else:
                    assert isinstance(answer, TopicEnded) or answer.offset < end  # type: ignore[union-attr]

    @engine_test
    async def test_a_topic_stays_ended_when_its_end_is_trimmed(self) -> None:
        async with self.log(retention_entries=2) as log:
            await log.fill("x")
            await log.put(Draft("a", "sold", end=True))
            await log.fill("bbb")
            await log.until_floor(4)
            assert [record.name for record in log.sink.records] == ["a"]
            await log.refused(TopicEnded, Draft("a"))
            assert await log.put(Draft("a", end=True)) == [(2, True)]
