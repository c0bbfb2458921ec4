"""Reading: pages are complete through the offset they report; and where a subscription starts."""

from __future__ import annotations

import asyncio

from ...log.engine import PAGE_BYTES, SCAN_LIMIT
from ...log.entries import Draft
from ...topics import Selector
from .log import EVERYTHING, Base, OpenLog, engine_test

A, B, NOTHING = Selector(["a"]), Selector(["b"]), Selector(["nothing"])

# A log with one entry of each of these topics, and the offsets that each selector matches in it.
TOPICS = ["a", "a/b", "a/c", "a/b/c", "ab", "b", "a/", "b/b"]
SELECTORS = {
    ("a",): [1],
    ("a", "b"): [1, 6],
    ("a/*",): [2, 3, 7],
    ("a/**",): [2, 3, 4, 7],
    ("*",): [1, 5, 6],
    ("*/b",): [2, 8],
    ("a/b", "b/*", "a/*/c"): [2, 4, 8],
    ("**",): [1, 2, 3, 4, 5, 6, 7, 8],
    ("c", "c/**"): [],
}


class Reading(Base):
    @engine_test
    async def test_pages(self) -> None:
        async with self.log() as log:
            await log.fill("abababab")
            assert await log.offsets() == [1, 2, 3, 4, 5, 6, 7, 8]
            assert await log.offsets(3, 2) == [4, 5, 6, 7, 8]
            assert await log.offsets(0, 1, A) == [1, 3, 5, 7]
            page = await log.page(0, 3)
            assert ([entry.offset for entry in page.entries], page.through) == ([1, 2, 3], 3)
            page = await log.page(0, 100, NOTHING)
            assert (list(page.entries), page.through) == ([], 8)
            page = await log.page(8)
            assert (list(page.entries), page.through) == ([], 8)

    @engine_test
    async def test_selectors(self) -> None:
        async with self.log() as log:
            await log.fill(TOPICS)
            for terms, wanted in SELECTORS.items():
                for limit in (1, 2, 100):
                    assert await log.offsets(0, limit, Selector(terms)) == wanted, terms

    @engine_test
    async def test_the_reader_of_a_quiet_topic_advances(self) -> None:
        """A page examines a bounded number of entries, and reports how far it got."""
        async with self.log() as log:
            await fill_up(log, "b", SCAN_LIMIT + 1000)
            await log.fill("a")
            assert await log.offsets(0, 10, A) == [SCAN_LIMIT + 1001]
            assert await log.offsets(0, 10, NOTHING) == []
            assert await log.offsets(0, 10, Selector(["*/b", "x/**"])) == []

    @engine_test
    async def test_a_page_holds_a_bounded_number_of_bytes_or_one_entry(self) -> None:
        async with self.log() as log:
            for size in (PAGE_BYTES * 2, 10, PAGE_BYTES // 2, PAGE_BYTES // 2, 10):
                await log.put(Draft("a", "x" * size))
            assert [entry.offset for entry in (await log.page(0)).entries] == [1]
            assert [entry.offset for entry in (await log.page(1)).entries] == [2, 3]
            assert await log.offsets(0, 100, A) == [1, 2, 3, 4, 5]

    @engine_test
    async def test_a_page_from_before_the_floor_starts_at_the_floor(self) -> None:
        async with self.log(retention_entries=2) as log:
            await log.fill("abab")
            await log.until_floor(3)
            page = await log.page(0, 10, A)
            assert ([entry.offset for entry in page.entries], page.through, page.floor) == ([3], 4, 3)
            assert dict(page.marks.items()) == {"a": 1, "b": 2}

    @engine_test
    async def test_reading_while_others_publish(self) -> None:
        """Pages are complete, and none is ahead of the sink."""
        async with self.log(retention_entries=300) as log:
            writing = asyncio.ensure_future(write(log, 60))
            readers = [asyncio.ensure_future(follow(log, selector)) for selector in (None, A, B, EVERYTHING)]
            await asyncio.gather(writing, *readers)
            assert log.sink.head == 600

    # -- where a subscription starts

    @engine_test
    async def test_locate(self) -> None:
        async with self.log(retention_entries=6) as log:
            await log.fill("ababab")
            await log.put(Draft("a", end=True))
            await log.until_floor(2)
            assert await log.locate("start") == 1
            assert await log.locate("now") == 7
            assert await log.locate("last", 0) == 7
            # The end of a topic is not an event.
            assert await log.locate("last", 1, A) == 4
            assert await log.locate("last", 2, A) == 2
            assert await log.locate("last", 1, B) == 5
            assert await log.locate("last", 2) == 4
            assert await log.locate("last", 3, A) == 1, "fewer are kept: from the oldest"
            assert await log.locate("last", 10**9) == 1
            assert await log.locate("last", 5, NOTHING) == 1

    @engine_test
    async def test_locate_by_patterns(self) -> None:
        async with self.log() as log:
            await log.fill(TOPICS)
            for terms, wanted in SELECTORS.items():
                selector = Selector(terms)
                for count in range(1, len(wanted) + 1):
                    assert await log.locate("last", count, selector) == wanted[-count] - 1, terms
                assert await log.locate("last", len(wanted) + 1, selector) == 0

    @engine_test
    async def test_locate_by_time(self) -> None:
        async with self.log() as log:
            for topic in "ababab":
                log.clock.now += 10
                await log.fill(topic)
            for entry in log.known.values():
                first = next(other.offset for other in log.known.values() if other.time >= entry.time)
                assert await log.locate("at", entry.time) == first - 1
            newest = log.known[6].time
            assert await log.locate("at", newest + 3600) == 6
            assert await log.locate("at", 0) == 0
            assert await log.locate("ago", 10**9) == 0
            if self.clocked:
                assert [await log.locate("at", newest - back) for back in (1, 10, 15)] == [5, 4, 4]
                assert [await log.locate("ago", back) for back in (0, 10, 15)] == [5, 4, 4]

    @engine_test
    async def test_locate_in_an_empty_log(self) -> None:
        async with self.log() as log:
            for kind in ("start", "now", "last", "ago", "at"):
                assert await log.locate(kind, 5) == 0

    @engine_test
    async def test_the_last_events_of_a_quiet_topic_are_found_far_back(self) -> None:
        async with self.log() as log:
            await log.fill("aa")
            await fill_up(log, "b", 2 * SCAN_LIMIT + 1000)
            assert await log.locate("last", 1, A) == 1
            assert await log.locate("last", 2, A) == 0


async def fill_up(log: OpenLog, topic: str, count: int) -> None:
    for _ in range(count // 1000):
        await log.put(*[Draft(topic)] * 1000)


async def write(log: OpenLog, batches: int) -> None:
    for number in range(batches):
        await log.put(*(Draft("abc"[n % 3], str(number)) for n in range(10)))
        await asyncio.sleep(0)


async def follow(log: OpenLog, selector: Selector | None) -> None:
    """Read page by page to the end; if retention overtakes the reader, it continues at the floor."""
    after = 0
    while after < 600:
        after = max((await log.page(after, 7, selector)).through, log.sink.floor - 1)
        await asyncio.sleep(0)
