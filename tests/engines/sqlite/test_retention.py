"""What is deleted from a log file while it is written and read: entries, marks, keys, and its WAL."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from support.fakes import listen, open_node
from support.sqlite_log import Log, rows, size_of, write_log
from support.waiting import wait_until_async
from tidewire.engines.sqlite import SQLiteEngine, log_file, writer
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.errors import TooMany, TopicEnded
from tidewire.log.entries import Draft, Marks
from tidewire.log.trimming import Trim
from tidewire.settings import Settings
from tidewire.topics import Selector

ALL = Selector(["**"])

# Seconds for a publish, however busy the machine is. One that waits for a reader waits for ever.
SOON = 20.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "TRIM_EVERY", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def kept(path: Path) -> tuple[int, int, int]:
    """Return how many entries there are, the oldest and the newest."""
    (found,) = rows(path, "SELECT count(*), min(offset), max(offset) FROM entries")
    count, first, last = found
    return count, first, last


# -- entries


async def test_a_lower_retention_is_reached_in_steps_and_publishing_goes_on(path: Path) -> None:
    write_log(path, [f"topic/{n % 50}" for n in range(8_000)], "x" * 50)
    async with Log(path, retention_entries=100) as log:
        for _ in range(20):
            async with asyncio.timeout(SOON):
                await log.fill("a")
        await wait_until_async(lambda: log.sink.floor == 8_020 - 99)
        steps = [
            after - before for before, after in zip([1, *log.sink.floors], log.sink.floors, strict=False)
        ]
        assert max(steps) <= 2 * writer.TRIM_STEP
        await wait_until_async(lambda: kept(path) == (100, 7_921, 8_020))
        # The marks of the neighbours are exact.
        assert log.sink.marks.of("topic/7") == 7_908
        assert log.sink.marks.of("a") == 0
    assert rows(path, "SELECT min(block) FROM topic_blocks") == [(7_921 >> 10,)]


async def test_large_entries_go_by_bytes_and_old_ones_by_age(path: Path) -> None:
    async with Log(path, retention_bytes=1_000_000, retention_age=60) as log:
        for _ in range(20):
            await log.put(Draft("large", "x" * 100_000))
        await wait_until_async(lambda: log.sink.floor == 12)
        log.clock.now += 61
        await log.fill("a")
        await wait_until_async(lambda: kept(path) == (1, 21, 21))
        assert log.sink.marks.of("large") == 20


async def test_a_full_log_is_not_trimmed_with_every_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "TRIM_EVERY", 0.5)
    write_log(path, "a" * 100)
    trims = slow_commits(monkeypatch)
    async with Log(path, retention_entries=100) as log:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(log.fill("a" * 100) for _ in range(4)))
        assert len(trims) <= 400 / writer.TRIM_STEP + (loop.time() - began) / 0.5 + 2
        await wait_until_async(lambda: kept(path) == (100, 401, 500))


def slow_commits(monkeypatch: pytest.MonkeyPatch) -> list[Trim]:
    """
    Delay the writer a little after each commit; return a list of what is trimmed.

    So there is always more to write, and readers run between a commit and its report.
    """
    trims: list[Trim] = []
    commit = LogFile.commit

    def slow_commit(log: LogFile, batches: Any, trim: Trim | None, *rest: Any) -> Any:
        answer = commit(log, batches, trim, *rest)
        if trim:
            trims.append(trim)
        time.sleep(0.005)
        return answer

    monkeypatch.setattr(LogFile, "commit", slow_commit)
    return trims


async def test_a_reader_never_sees_a_hole_without_a_report(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compares what is read, while others publish and retention trims, with what the sink has had."""
    slow_commits(monkeypatch)
    async with Log(path, retention_entries=300) as log:
        stop, pages = False, 0

        async def publish() -> None:
            while not stop:
                await log.put(*[Draft(random.choice("ab"), "x" * 100)] * 40)

        async def read(selector: Selector | None) -> None:
            nonlocal pages
            after = 0
            while not stop:
                page = await log.engine.read(after, random.choice((3, 50, 256)), selector)
                # What was trimmed in the meantime is reported by now; everything above must be there.
                assert page.floor == log.sink.floor
                first = max(after + 1, page.floor)
                offsets = [entry.offset for entry in page.entries if entry.offset >= first]
                wanted = [
                    entry.offset
                    for batch in log.sink.batches
                    for entry in batch
                    if first <= entry.offset <= page.through
                    and (selector is None or selector.matches(entry.topic))
                ]
                assert offsets == wanted
                del log.sink.batches[: max(len(log.sink.batches) - 200, 0)]
                # Most continue from where the next trim will be.
                after = random.choice((page.through, page.floor - 1, max(page.floor - 200, 0)))
                pages += 1

        def enough() -> bool:
            failed = any(reader.done() for reader in readers)
            return failed or (pages > 50 and len(log.sink.floors) > 5)

        readers = [asyncio.ensure_future(read(selector)) for selector in (None, Selector(["a"]), ALL) * 2]
        publishers = [asyncio.ensure_future(publish()) for _ in range(3)]
        await asyncio.wait(readers, timeout=2.5, return_when=asyncio.FIRST_EXCEPTION)
        await wait_until_async(enough)
        stop = True
        await asyncio.gather(*readers, *publishers)


async def test_a_reader_that_retention_overtakes_gets_one_gap_and_continues(path: Path) -> None:
    write_log(path, ["a"] * 2000, "x" * 200)
    settings = {"retention_entries": 2000, "window_entries": 10}
    engine = SQLiteEngine(f"sqlite:///{path}", Settings(**settings))
    async with open_node(engine, **settings) as node:
        wire = await listen(node, "a", since=f"{node.window.lives[0][0]}.0", room=100_000)
        other = await listen(node, "b", since=f"{node.window.lives[0][0]}.0")
        await wait_until_async(lambda: wire.subscriber.paused)
        seen = len(wire.events)
        assert 0 < seen < 2000
        for _ in range(5):
            await node.append([Draft("a", "new")] * 200)
        await wait_until_async(lambda: node.window.floor > 900)
        wire.take()
        await wait_until_async(lambda: wire.data[-1:] == ["new"] and wire.last_id.offset == 3000)
        await wait_until_async(lambda: other.subscriber.live)
        assert len(wire.gaps) == 1
        gap = wire.gaps[0]
        assert (gap["reason"], gap["topics"]) == ("trimmed", ["a"])
        # The hole is between the position where the stream was and the gap's own.
        offsets = [int(event.id.split(".")[1]) for event in wire.everything if event.id]
        stood, at = int(gap["requested"].split(".")[1]), int(gap["oldest"].split(".")[1]) - 1
        assert offsets == [*range(1, stood + 1), at, *range(at + 1, 3001)]
        # The reader of a quiet topic missed nothing and gets no gap.
        assert other.gaps == []


# -- marks


async def test_ended_topics_stay_ended_when_they_are_trimmed(path: Path) -> None:
    async with Log(path) as log:
        await log.put(Draft("gone", end=True), Draft("kept"), Draft("also", end=True))
        await log.fill("aaa")
    for retention in (4, 2, 1):
        async with Log(path, retention_entries=retention) as log:
            await wait_until_async(lambda: kept(path)[0] == log.engine._settings.retention_entries)
            for topic, offset in (("gone", 1), ("also", 3)):
                answer = await log.engine.append([Draft(topic, end=True)])
                assert (answer[0].position.offset, answer[0].duplicate) == (offset, True)
                with pytest.raises(TopicEnded):
                    await log.put(Draft(topic))
    async with Log(path) as log:
        assert {record.name: record.offset for record in log.first.records} == {"gone": 1, "also": 3}


async def test_the_largest_mark_dropped_stands_for_all_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Marks.__init__, "__defaults__", (10,))
    topics = [f"topic/{n * 37 % 100}" for n in range(1, 41)]
    async with Log(path, retention_entries=5) as log:
        for topic in topics:
            await log.put(Draft(topic))
        await wait_until_async(lambda: kept(path) == (5, 36, 40))
        marks = log.sink.marks
        assert (len(marks), marks.dropped) == (10, 25)
    async with Log(path) as log:
        for topic in [*topics[:30], "never"]:
            assert log.first.marks.of(topic) == max(marks.of(topic), marks.dropped)
        assert log.first.marks.dropped == marks.dropped
    # The file holds at most what one step leaves behind.
    assert rows(path, "SELECT count(*) FROM marks")[0][0] <= 10 + 2 * writer.TRIM_STEP


# -- keys


async def test_keys_are_forgotten_even_if_the_log_is_always_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_commits(monkeypatch)
    async with Log(path, retention_entries=10, key_age=60) as log:
        for number in range(100):
            log.engine.append([Draft("a", key=str(number))])
        stop = False

        async def publish() -> None:
            while not stop:
                await log.put(Draft("a"))

        publishing = [asyncio.ensure_future(publish()) for _ in range(4)]
        await wait_until_async(lambda: len(log.sink.floors) > 2)
        assert rows(path, "SELECT count(*) FROM keys") == [(100,)]
        log.clock.now += 61
        await wait_until_async(lambda: rows(path, "SELECT count(*) FROM keys") == [(0,)])
        stop = True
        await asyncio.gather(*publishing)
        # The same key is another event now.
        (receipt,) = await log.engine.append([Draft("a", "other", key="1")])
        assert not receipt.duplicate


async def test_the_limit_of_keys_and_the_time_of_each_hold_over_restarts(path: Path) -> None:
    async with Log(path, max_keys=4) as log:
        await log.put(*[Draft("a", key=key) for key in "123"])
    async with Log(path, log.clock.now + 300, max_keys=4) as log:
        await log.put(Draft("a", key="4"))
        with pytest.raises(TooMany):
            await log.put(Draft("a", key="5"))
        # No key is forgotten early, and a repeat needs no room.
        assert [position.offset for position in await log.put(Draft("a", key="1"), Draft("a"))] == [1, 5]
    async with Log(path, log.clock.now + 301, max_keys=4) as log:
        assert [position.offset for position in await log.put(Draft("a", key="4"))] == [4]
        assert [position.offset for position in await log.put(Draft("a", key="1"))] == [6]


# -- the WAL


async def test_the_wal_stays_small_under_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT", 256 * 1024)
    monkeypatch.setattr(log_file, "LONG_WAL", 256)
    async with Log(path, retention_bytes=2 * 2**20) as log:
        largest = pages = 0

        async def read() -> None:
            nonlocal pages
            after = 0
            while True:
                page = await log.engine.read(after, 256, None)
                after = page.through if page.through < log.sink.head else 0
                pages += 1

        # At almost every moment one of them is reading.
        readers = [asyncio.ensure_future(read()) for _ in range(4)]
        for _ in range(60):
            # 24 MiB in all.
            await asyncio.gather(*(log.put(*[Draft("a", "x" * 10_000)] * 10) for _ in range(4)))
            largest = max(largest, size_of(path, "-wal"))
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        assert pages > 10
        assert largest < 8 * 2**20
        assert size_of(path) < 16 * 2**20
    assert not size_of(path, "-wal")


async def test_a_program_that_reads_for_long_does_not_block_publishing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT", 64 * 1024)
    monkeypatch.setattr(log_file, "LONG_WAL", 16)
    async with Log(path) as log:
        await log.fill("a")
        backup = sqlite3.connect(path, isolation_level=None)
        backup.execute("BEGIN")
        assert backup.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        for _ in range(20):
            async with asyncio.timeout(SOON):
                await log.put(*[Draft("a", "x" * 10_000)] * 10)
        long = size_of(path, "-wal")
        assert backup.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        backup.close()
        for _ in range(20):
            await log.put(*[Draft("a", "x" * 10_000)] * 10)
        # It has restarted.
        assert size_of(path, "-wal") < long * 1.5
        assert log.sink.up == []


async def test_an_oldest_entry_that_another_process_has_trimmed_does_not_stop_the_writer(path: Path) -> None:
    async with Log(path) as log:
        await log.fill("ab")
    file = LogFile(str(path))
    try:
        other = sqlite3.connect(path)
        other.execute("DELETE FROM entries WHERE offset = 1")
        other.commit()
        other.close()
        assert file.plan_trim(Settings(), 100) is None
    finally:
        file.close()
