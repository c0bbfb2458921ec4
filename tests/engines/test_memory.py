from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from support.fakes import virtual
from support.locating import locate
from tidewire.engines.by_url import make_engine
from tidewire.engines.memory import TRIM_STEP, MemoryEngine
from tidewire.errors import InvalidInput, KeyConflict, TidewireError, TooMany, TopicEnded
from tidewire.log import clock as log_clock
from tidewire.log.clock import LogClock
from tidewire.log.engine import PAGE_BYTES, SCAN_LIMIT
from tidewire.log.entries import Draft, Entry, Head, Marks, Record, Since
from tidewire.log.records import END, Records, record_of
from tidewire.position import Position, new_life, parse_position
from tidewire.settings import Settings
from tidewire.topics import Selector

A, B, ALL = Selector(["a"]), Selector(["b"]), Selector(["**"])


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Sink:
    """Records what it gets, and checks that each offset comes exactly once."""

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []
        self.floor = 1
        self.head = 0
        self.marks = Marks()
        self.records = Records()

    def entries(self, batch: Sequence[Entry]) -> None:
        assert [entry.offset for entry in batch] == list(range(self.head + 1, self.head + 1 + len(batch)))
        self.head += len(batch)
        self.batches.append(list(batch))
        for record in filter(None, map(record_of, batch)):
            self.records.set(record)

    def forgotten(self, records: Sequence[Record]) -> None:
        for record in records:
            self.records.forget(record.kind, record.name)

    def trimmed(self, floor: int, marks: Marks) -> None:
        assert self.floor < floor <= self.head + 1
        self.floor, self.marks = floor, marks

    def reset(self, head: Head) -> None:
        raise AssertionError("a memory log never goes back")

    def available(self, up: bool) -> None:
        raise AssertionError("memory is always there")


class Log:
    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.sink = Sink()
        self.engine = MemoryEngine("memory", Settings(**settings), self.clock)

    async def __aenter__(self) -> Log:
        self.first = await self.engine.open(self.sink)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.close()

    async def put(self, *drafts: Draft) -> list[tuple[int, bool]]:
        return [(r.position.offset, r.duplicate) for r in await self.engine.append(drafts)]

    async def fill(self, topics: str) -> None:
        for topic in topics:
            await self.put(Draft(topic))

    async def refused(self, kind: type[TidewireError], *drafts: Draft) -> dict[str, Any]:
        head = self.sink.head
        with pytest.raises(kind) as refusal:
            await self.engine.append(drafts)
        assert self.sink.head == head
        assert refusal.value.stored is False
        return refusal.value.members

    async def page(
        self, after: int, limit: int = 100, selector: Selector | None = None
    ) -> tuple[list[int], int]:
        page = await self.engine.read(after, limit, selector)
        assert (page.floor, page.marks) == (self.sink.floor, page.marks)
        return [entry.offset for entry in page.entries], page.through

    async def locate(self, kind: Any, value: float = 0, selector: Selector = ALL) -> int:
        return max(await locate(self.engine, Since(kind, value), selector), self.sink.floor - 1)


# -- appending


@virtual
async def test_a_new_life_at_each_start() -> None:
    async with Log() as one, Log() as two:
        assert one.first.position != two.first.position
        for log in (one, two):
            life = log.first.position.life
            assert parse_position(f"{life}.0") == log.first.position
            assert (log.first.floor, log.first.lives, log.first.records) == (1, ((life, 1),), ())
            receipts = await log.engine.append([Draft("a")])
            assert receipts[0].position == Position(life, 1)
    assert len({new_life() for _ in range(1000)}) == 1000


@virtual
async def test_a_batch_is_one_step() -> None:
    async with Log() as log:
        assert await log.put(Draft("a", "1"), Draft("b", "2"), Draft("a", "3")) == [
            (1, False),
            (2, False),
            (3, False),
        ]
        assert [[(e.topic, e.data) for e in batch] for batch in log.sink.batches] == [
            [("a", "1"), ("b", "2"), ("a", "3")]
        ]


@virtual
async def test_the_sink_has_a_batch_before_its_receipts() -> None:
    async with Log() as log:
        receipts = await asyncio.gather(*(log.engine.append([Draft("a", str(n))]) for n in range(50)))
        assert [receipt.position.offset for (receipt,) in receipts] == list(range(1, 51))
        assert log.sink.head == 50


@virtual
async def test_one_bad_draft_refuses_the_whole_batch() -> None:
    async with Log() as log:
        await log.put(Draft("x", end=True))
        await log.put(Draft("a", "1", key="k"))
        assert await log.refused(TopicEnded, Draft("b"), Draft("b", key="n"), Draft("x")) == {"index": 2}
        assert await log.refused(KeyConflict, Draft("b"), Draft("a", "2", key="k")) == {"index": 1}
        # Nothing of it is left: neither an event nor a key nor an end.
        assert await log.refused(TopicEnded, Draft("b", end=True), Draft("x")) == {"index": 1}
        assert await log.put(Draft("b", "other", key="n")) == [(3, False)]


# -- keys


@virtual
async def test_a_key_repeats_its_first_receipt() -> None:
    async with Log() as log:
        assert await log.put(Draft("a", "1", key="k")) == [(1, False)]
        assert await log.put(Draft("a", "1", key="k")) == [(1, True)]
        assert await log.put(Draft("b", "1", key="k")) == [(2, False)], "a key belongs to its topic"
        assert await log.put(Draft("a", "1", key="l")) == [(3, False)]
        assert await log.put(Draft("a", "1")) == [(4, False)]
        assert log.sink.head == 4


@pytest.mark.parametrize(
    "other", [Draft("a", "2", key="k"), Draft("a", "1", "e", key="k"), Draft("a", "1", retry=900, key="k")]
)
@virtual
async def test_a_key_with_another_event_is_a_conflict(other: Draft) -> None:
    async with Log() as log:
        await log.put(Draft("a", "1", key="k"))
        assert await log.refused(KeyConflict, other) == {"index": 0}


@virtual
async def test_a_key_twice_in_one_batch() -> None:
    async with Log() as log:
        again = Draft("a", "1", key="k")
        assert await log.put(again, Draft("a", "2"), again) == [(1, False), (2, False), (1, True)]
        assert await log.refused(KeyConflict, Draft("c", "1", key="n"), Draft("c", "2", key="n")) == {
            "index": 1
        }


@virtual
async def test_a_key_concurrently() -> None:
    async with Log() as log:
        found = await asyncio.gather(*(log.put(Draft("a", "1", key="k")) for _ in range(100)))
        assert [receipt for (receipt,) in found] == [(1, False)] + [(1, True)] * 99
        assert log.sink.head == 1


@virtual
async def test_keys_are_forgotten_by_the_logs_clock() -> None:
    async with Log(key_age=600) as log:
        await log.put(Draft("a", "1", key="k"))
        log.clock.now += 599
        assert await log.put(Draft("a", "1", key="k")) == [(1, True)]
        # A repeat does not extend its time.
        log.clock.now += 1
        assert await log.put(Draft("a", "2", key="k")) == [(2, False)]


@virtual
async def test_keys_outlive_what_retention_trims() -> None:
    async with Log(retention_entries=1) as log:
        await log.put(Draft("a", "1", key="k"))
        await log.fill("aaa")
        assert log.sink.floor == 4
        assert await log.put(Draft("a", "1", key="k")) == [(1, True)]


@virtual
async def test_a_repeat_is_answered_even_if_the_topic_has_ended() -> None:
    async with Log() as log:
        await log.put(Draft("a", "1", key="k"))
        await log.put(Draft("a", "over", end=True))
        assert await log.put(Draft("a", "1", key="k")) == [(1, True)]
        await log.refused(TopicEnded, Draft("a", "1", key="n"))
        # And as part of a batch.
        assert await log.put(Draft("a", "1", key="k"), Draft("b")) == [(1, True), (3, False)]


@virtual
async def test_no_more_keys_than_the_limit() -> None:
    async with Log(max_keys=3, key_age=600) as log:
        await log.put(*(Draft("a", key=str(n)) for n in range(2)))
        await log.refused(TooMany, Draft("a", key="2"), Draft("a", key="3"))
        assert await log.put(Draft("a", key="2")) == [(3, False)]
        await log.refused(TooMany, Draft("a", key="3"))
        # No key is forgotten early, and drafts that need no room for a key are accepted.
        assert await log.put(Draft("a", key="0"), Draft("a")) == [(1, True), (4, False)]
        log.clock.now += 600
        assert await log.put(Draft("a", key="3")) == [(5, False)]


# -- the end of a topic


@virtual
async def test_a_second_end_returns_the_first() -> None:
    async with Log() as log:
        await log.fill("a")
        assert await log.put(Draft("a", "sold", end=True)) == [(2, False)]
        assert await log.put(Draft("a", "other", end=True)) == [(2, True)]
        assert await log.put(Draft("b", end=True), Draft("b", end=True)) == [(3, False), (3, True)]
        assert [entry.end for batch in log.sink.batches for entry in batch] == [False, True, True]


@virtual
async def test_nothing_is_published_to_an_ended_topic() -> None:
    async with Log() as log:
        await log.put(Draft("a", end=True))
        assert await log.refused(TopicEnded, Draft("a")) == {"index": 0}
        assert await log.refused(TopicEnded, Draft("b", end=True), Draft("b")) == {"index": 1}
        assert await log.put(Draft("b")) == [(2, False)]


@virtual
async def test_a_topic_stays_ended_when_its_end_is_trimmed() -> None:
    async with Log(retention_entries=2) as log:
        await log.fill("x")
        await log.put(Draft("a", "sold", end=True))
        await log.fill("bbb")
        assert log.sink.floor == 4
        assert log.sink.records.get(END, "a")
        await log.refused(TopicEnded, Draft("a"))
        assert await log.put(Draft("a", end=True)) == [(2, True)]


# -- retention


@virtual
async def test_retention_by_entries() -> None:
    async with Log(retention_entries=3) as log:
        await log.fill("abcab")
        assert log.sink.floor == 3
        assert [log.sink.marks.of(topic) for topic in "abc"] == [1, 2, 0]
        assert await log.page(0) == ([3, 4, 5], 5)
        await log.put(*(Draft("z") for _ in range(7)))
        assert log.sink.floor == 10
        assert [log.sink.marks.of(topic) for topic in "abcz"] == [4, 5, 3, 9]


@virtual
async def test_retention_by_bytes() -> None:
    async with Log(retention_bytes=10_000) as log:
        for _ in range(100):
            await log.put(Draft("a", "x" * 1000))
        kept, _ = await log.page(0)
        assert len(kept) == 7
        assert log.sink.floor == kept[0]


@virtual
async def test_the_newest_entry_stays_whatever_its_size() -> None:
    async with Log(retention_bytes=2000) as log:
        await log.fill("aa")
        await log.put(Draft("a", "x" * 100_000))
        assert await log.page(0) == ([3], 3)
        await log.fill("a")
        assert await log.page(0) == ([4], 4)


@virtual
async def test_retention_by_age() -> None:
    async with Log(retention_age=60) as log:
        await log.fill("ab")
        log.clock.now += 59
        await log.fill("a")
        assert log.sink.floor == 1
        log.clock.now += 2
        # Nothing is published: the engine checks by itself.
        await asyncio.sleep(1.5)
        assert log.sink.floor == 3
        log.clock.now += 60
        await asyncio.sleep(1.5)
        assert (log.sink.floor, log.sink.head) == (4, 3)
        assert await log.page(3) == ([], 3)
        assert await log.put(Draft("a")) == [(4, False)]
        assert await log.page(0) == ([4], 4)


@virtual
async def test_a_long_log_is_trimmed_in_steps() -> None:
    async with Log(retention_age=60, retention_entries=10_000) as log:
        total = 3 * TRIM_STEP + 500
        for _ in range(total // 100):
            await log.put(*(Draft("a") for _ in range(100)))
        log.clock.now += 61
        await asyncio.sleep(1.5)
        assert log.sink.floor == TRIM_STEP + 1
        assert (await log.page(0, 1))[0] == [TRIM_STEP + 1]
        await asyncio.sleep(10)
        assert log.sink.floor == total + 1
        await log.fill("a")
        assert await log.page(0) == ([total + 1], total + 1)
        assert await log.locate("start") == total


@virtual
async def test_a_full_log_stays_correct_over_many_publishes() -> None:
    async with Log(retention_entries=700) as log:
        for number in range(1, 60):
            await log.put(*(Draft("ab"[n % 2], str(number)) for n in range(100)))
            floor = max(1, number * 100 - 699)
            assert log.sink.floor == floor
            page = await log.engine.read(0, 10_000, None)
            assert [entry.offset for entry in page.entries] == list(range(floor, number * 100 + 1))


# -- reading


@virtual
async def test_pages() -> None:
    async with Log() as log:
        await log.fill("abababab")
        assert await log.page(0) == (list(range(1, 9)), 8)
        assert await log.page(3) == ([4, 5, 6, 7, 8], 8)
        assert await log.page(8) == ([], 8)
        assert await log.page(0, 3) == ([1, 2, 3], 3)
        assert await log.page(0, 100, A) == ([1, 3, 5, 7], 8)
        # A page reaches past its last entry over the entries after it that do not match.
        entries, through = await log.page(0, 2, A)
        assert entries == [1, 3]
        assert 3 <= through < 5
        assert await log.page(through, 2, A) == ([5, 7], 8)
        assert await log.page(0, 100, Selector(["nothing"])) == ([], 8)


@virtual
async def test_a_page_looks_at_a_bounded_number_of_entries() -> None:
    async with Log() as log:
        for _ in range(SCAN_LIMIT // 1000 + 1):
            await log.put(*(Draft("b") for _ in range(1000)))
        await log.fill("a")
        assert await log.page(0, 10, A) == ([], SCAN_LIMIT)
        assert await log.page(SCAN_LIMIT, 10, A) == ([SCAN_LIMIT + 1001], SCAN_LIMIT + 1001)
        # Comparing a topic with patterns may take 25 us.
        selector = Selector(["a/*"])
        assert await log.page(0, 10, selector) == ([], selector.scan)


@virtual
async def test_a_page_holds_a_bounded_number_of_bytes_or_one_entry() -> None:
    async with Log() as log:
        for size in (PAGE_BYTES * 2, 10, PAGE_BYTES // 2, PAGE_BYTES // 2, 10):
            await log.put(Draft("a", "x" * size))
        assert await log.page(0) == ([1], 1)
        assert await log.page(1) == ([2, 3], 3)
        assert await log.page(3) == ([4, 5], 5)


@virtual
async def test_a_page_from_before_the_floor_starts_at_the_floor() -> None:
    async with Log(retention_entries=2) as log:
        await log.fill("abab")
        page = await log.engine.read(0, 10, A)
        assert ([entry.offset for entry in page.entries], page.through, page.floor) == ([3], 4, 3)
        assert page.marks.of("a") == 1


# -- where a subscription starts


@virtual
async def test_locate() -> None:
    async with Log(retention_entries=6) as log:
        for topic in "ababab":
            log.clock.now += 10
            await log.fill(topic)
        await log.put(Draft("a", end=True))
        assert log.sink.floor == 2
        assert await log.locate("start") == 1
        assert await log.locate("now") == 7
        assert await log.locate("last", 0) == 7
        # The end of a topic is not an event.
        assert await log.locate("last", 1, A) == 4
        assert await log.locate("last", 2, A) == 2
        assert await log.locate("last", 3, A) == 1, "fewer are kept: from the oldest"
        assert await log.locate("last", 10**9) == 1
        assert await log.locate("last", 1, B) == 5
        assert await log.locate("last", 5, Selector(["nothing"])) == 1
        at = log.clock.now
        assert await log.locate("at", at) == 5
        assert await log.locate("at", at - 10) == 4
        assert await log.locate("at", at - 15) == 4
        assert await log.locate("at", at + 1) == 7
        assert await log.locate("at", 0) == 1
        assert await log.locate("ago", 0) == 5
        assert await log.locate("ago", 15) == 4
        assert await log.locate("ago", 10**9) == 1


@virtual
async def test_locate_in_an_empty_log() -> None:
    async with Log() as log:
        for kind in ("start", "now", "last", "ago", "at"):
            assert await log.locate(kind, 5) == 0


@virtual
async def test_the_last_events_of_a_quiet_topic_are_found_far_back() -> None:
    async with Log() as log:
        await log.fill("aa")
        for _ in range(2 * SCAN_LIMIT // 1000 + 1):
            await log.put(*(Draft("b") for _ in range(1000)))
        assert await log.locate("last", 1, A) == 1
        assert await log.locate("last", 2, A) == 0


# -- the clock and the URL


def test_the_logs_clock_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, monotonic = 1000.0, 50.0
    monkeypatch.setattr(log_clock.time, "time", lambda: wall)
    monkeypatch.setattr(log_clock.time, "monotonic", lambda: monotonic)
    clock = LogClock()
    assert clock() == 1000
    wall, monotonic = 0.0, 60.0  # fault F22
    assert clock() == 1010
    # Reopened with the wall clock behind the newest entry.
    again = LogClock(newest=5000)
    assert again() == 5000
    monotonic += 1
    assert again() == 5001


def test_engines_by_url() -> None:
    settings = Settings()
    for url in ("memory", "memory:", "memory://"):
        engine = make_engine(url, settings)
        assert isinstance(engine, MemoryEngine)
        assert (engine.durability, engine.shared) == ("memory", False)
    for url in ("memory://host", "memory:/path", "nothing://x", "", "Memory"):
        with pytest.raises(InvalidInput) as refusal:
            make_engine(url, settings)
        assert refusal.value.code == "invalid_engine"
