"""Appending: one total order without holes, the sink first, all of a batch or nothing."""

from __future__ import annotations

import asyncio

from ...errors import KeyConflict, TopicEnded
from ...log.entries import Draft
from ...position import Position
from .log import Base, OpenLog, engine_test

# Text may be anything except lone surrogates.
TOPICS = ["a", "a/b/c", "/", "//", "ü/☃/\U0001f600", "https://example.com/?q=1&r=%20", "x" * 512]
TOPICS += ['it\'s; "quoted"', "50%", " ", "A", "\u0301"]
TEXTS = ["", " ", "\n", "\r\n x \r", "data: x\n\nid: 7", "\x00\x01\x7f", "\ufeffx", "\u2028\u0085"]
TEXTS += ["\U0001f600" * 100, "\U0010ffff", '{"a":[null]}']


class Appending(Base):
    @engine_test
    async def test_an_empty_log(self) -> None:
        async with self.log() as log:
            head = log.head
            assert (head.position.offset, head.floor, [*head.records], len(head.marks)) == (0, 1, [], 0)
            assert head.lives == ((head.position.life, 1),)
            assert await log.offsets() == []

    @engine_test
    async def test_offsets_have_no_holes(self) -> None:
        async with self.log() as log:
            for number in range(1, 21):
                assert await log.put(Draft("a", str(number))) == [(number, False)]
            assert {entry.position.life for entry in log.known.values()} == {log.head.lives[-1][0]}

    @engine_test
    async def test_every_kind_of_text_is_read_as_it_was_written(self) -> None:
        async with self.log() as log:
            await log.put(*(Draft(topic, text) for topic in TOPICS for text in TEXTS))
            await log.put(Draft("a", "x", "status", 0), Draft("a", "x", "ü☃", 3_600_000))
            await log.put(Draft("a", "x" * log.settings.max_event))
            assert len(await log.offsets()) == len(TOPICS) * len(TEXTS) + 3

    @engine_test
    async def test_a_batch_keeps_its_order(self) -> None:
        async with self.log() as log:
            batch = [Draft("ab"[number % 2], str(number)) for number in range(500)]
            assert await log.put(*batch) == [(number, False) for number in range(1, 501)]

    @engine_test
    async def test_concurrent_appends_get_one_order(self) -> None:
        async with self.log() as log:
            found = await asyncio.gather(*(publisher(log, str(number)) for number in range(20)))
            assert sorted(offset for offsets in found for offset in offsets) == list(range(1, 401))
            for offsets in found:
                assert offsets == sorted(offsets), "acked before another was sent, but ordered after it"

    @engine_test
    async def test_a_refused_batch_leaves_nothing(self) -> None:
        async with self.log() as log:
            await log.put(Draft("x", end=True), Draft("a", "1", key="k"))
            assert await log.refused(TopicEnded, Draft("b"), Draft("b", key="n"), Draft("x")) == {"index": 2}
            assert await log.refused(KeyConflict, Draft("b"), Draft("a", "2", key="k")) == {"index": 1}
            # It left no event, no end and no key.
            assert await log.refused(TopicEnded, Draft("b", end=True), Draft("x")) == {"index": 1}
            assert await log.put(Draft("b", "other", key="n")) == [(3, False)]

    @engine_test
    async def test_a_refused_batch_does_not_refuse_others(self) -> None:
        """Batches that wait together may be stored in one step; each gets its own answer."""
        async with self.log() as log:
            await log.put(Draft("x", end=True))
            asked = [append(log, Draft("ax"[number % 3 == 0], str(number))) for number in range(30)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [isinstance(answer, TopicEnded) for answer in answers] == [n % 3 == 0 for n in range(30)]
            assert log.sink.head == 21

    @engine_test
    async def test_a_cancelled_append_leaves_no_hole(self) -> None:
        async with self.log() as log:
            tasks = [asyncio.ensure_future(append(log, Draft("a", str(number)))) for number in range(50)]
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            ((last, _),) = await log.put(Draft("a", "last"))
            assert [task.cancelled() for task in tasks[1::2]] == [False] * 25
            assert last == log.sink.head >= 26

    @engine_test
    async def test_times_never_go_back(self) -> None:
        async with self.log() as log:
            for number in range(10):
                await log.put(Draft("a", str(number)))
                log.clock.now += 1
            times = [entry.time for entry in log.known.values()]
            assert times == sorted(times)
            if self.clocked:
                assert times[-1] - times[0] == 9

    @engine_test
    async def test_the_durability_agrees_with_lasting(self) -> None:
        async with self.log() as log:
            assert log.engine.durability in ("memory", "process", "disk", "quorum")
            assert self.lasting == (log.engine.durability != "memory")


async def append(log: OpenLog, *drafts: Draft) -> Position:
    """Append in a separate coroutine: a refusal is raised there, whenever the engine raises it."""
    return (await log.engine.append(drafts))[0].position


async def publisher(log: OpenLog, name: str) -> list[int]:
    """Publish 20 events, each when the one before it is acked."""
    return [(await log.put(Draft(name, str(number))))[0][0] for number in range(20)]
