"""The one thread that writes a log: transactions, refusals, broken disks, and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.fakes import open_node
from support.sqlite_log import Log, rows, unwritable
from support.waiting import PATIENCE, wait_until, wait_until_async
from tidewire.engines.sqlite import SQLiteEngine, database, engine, file_status, writer
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.errors import StoreFull, TopicEnded, Unavailable, Unknown
from tidewire.hub import Hub
from tidewire.log.entries import Draft, Receipt
from tidewire.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


class Commits:
    """Records how many batches each transaction had, and can hold the writer before the next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self._go = threading.Event()
        self._go.set()
        self.waiting = threading.Event()
        commit = LogFile.commit

        def counted(log: LogFile, batches: Sequence[Any], *rest: Any) -> Any:
            self.waiting.set()
            self._go.wait(PATIENCE)
            self.batches.append(len(batches))
            return commit(log, batches, *rest)

        monkeypatch.setattr(LogFile, "commit", counted)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the writer before its next transaction."""
        self._go.clear()
        self.waiting.clear()
        try:
            yield
        finally:
            self._go.set()


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Commits:
    return Commits(monkeypatch)


def outcome(answer: asyncio.Future[list[Receipt]]) -> Any:
    """Return offsets, or the error's type and whether the event was stored."""
    error = answer.exception()
    if error is None:
        return [receipt.position.offset for receipt in answer.result()]
    return type(error), error.stored  # type: ignore[attr-defined]


# -- group commit


async def test_all_waiting_batches_form_one_transaction(path: Path, commits: Commits) -> None:
    async with Log(path) as log:
        with commits.held():
            first = log.engine.append([Draft("a")])
            await asyncio.to_thread(commits.waiting.wait, 10)
            others = [log.engine.append([Draft("a", str(n))] * 2) for n in range(300)]
        answers = await asyncio.gather(first, *others)
        assert commits.batches == [1, 300]
        # In the order in which they were submitted.
        assert [receipt.position.offset for answer in answers for receipt in answer] == list(range(1, 602))
        assert [len(batch) for batch in log.sink.batches] == [1, 600]


async def test_a_single_batch_does_not_wait_for_a_timer(
    path: Path, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "TRIM_EVERY", 50)
    async with asyncio.timeout(20), Log(path) as log:
        for _ in range(3):
            await log.fill("a")
        assert commits.batches == [1, 1, 1]


@pytest.mark.parametrize("count", [1, 40, 200])
async def test_entries_of_all_kinds_are_stored_as_they_are_and_those_of_one_kind_too(
    path: Path, count: int
) -> None:
    plain = [Draft("a", str(n)) for n in range(count)]
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    others = [
        Draft("a", "x", "token"),
        Draft("a", "x", retry=5000),
        Draft("a", "x", traceparent=trace),
        Draft("b", "over", end=True),
    ]
    async with Log(path) as log:
        for batch in (plain, [*plain, *others], plain, *([other] for other in others)):
            await log.engine.append(batch)
        stored = [entry for batch in log.sink.batches for entry in batch]
        read: list[Any] = []
        while len(read) < len(stored):
            read += (await log.engine.read(len(read), 1000, None)).entries
    kept = [name for name in stored[0].__slots__ if name != "frames"]
    assert [[getattr(entry, name) for name in kept] for entry in read] == [
        [getattr(entry, name) for name in kept] for entry in stored
    ]


async def test_a_commit_asks_for_no_times_of_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if file_status.STATX is None:
        pytest.skip("this system has only `stat`")
    asked: list[object] = []
    real = os.stat

    def counted(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if threading.current_thread().name == "tidewire-log-writer":
            asked.append(path)
        return real(path, *args, **options)

    monkeypatch.setattr(writer, "TRIM_EVERY", 3600)
    async with Log(path) as log:
        await log.fill("a")
        monkeypatch.setattr(os, "stat", counted)
        await log.fill("aaa")
        assert asked == []


async def test_a_refused_batch_between_good_ones(path: Path, commits: Commits) -> None:
    async with Log(path) as log:
        await log.put(Draft("gone", end=True))
        with commits.held():
            answers = [
                log.engine.append(drafts)
                for drafts in (
                    [Draft("a", key="k")],
                    [Draft("b", key="l"), Draft("gone")],
                    [Draft("c", end=True), Draft("c")],
                    [Draft("b", "other", key="l"), Draft("c")],
                )
            ]
        await asyncio.wait(answers)
        refused = (TopicEnded, False)
        assert [outcome(answer) for answer in answers] == [[2], refused, refused, [3, 4]]
        assert rows(path, "SELECT topic FROM entries") == [("gone",), ("a",), ("b",), ("c",)]


async def test_a_batch_cancelled_before_its_turn_is_not_stored(path: Path, commits: Commits) -> None:
    async with Log(path) as log:
        with commits.held():
            first = log.engine.append([Draft("a")])
            await asyncio.to_thread(commits.waiting.wait, 10)
            second, third = log.engine.append([Draft("b")]), log.engine.append([Draft("c")])
            second.cancel()
            # Too late for this one: it is stored.
            first.cancel()
        assert [receipt.position.offset for receipt in await third] == [2]
        assert rows(path, "SELECT topic FROM entries") == [("a",), ("c",)]


async def test_a_publish_whose_time_is_over_before_its_turn_is_not_stored(
    path: Path, commits: Commits
) -> None:
    log = SQLiteEngine(f"sqlite:///{path}", Settings())
    async with open_node(log, engine_timeout=0.2) as node:
        with commits.held():
            first = asyncio.create_task(node.append([Draft("a")]))
            await asyncio.to_thread(commits.waiting.wait, 10)
            with pytest.raises(Unknown):
                await node.append([Draft("b")])
            # Too late for this one: it is stored.
            with pytest.raises(Unknown):
                await first
        await wait_until_async(lambda: node.window.head == 1)
        assert [receipt.position.offset for receipt in await log.append([Draft("c")])] == [2]
    assert rows(path, "SELECT topic FROM entries") == [("a",), ("c",)]


async def test_a_batch_may_be_larger_than_a_group(path: Path, commits: Commits) -> None:
    count = writer.GROUP * 2 + 100
    async with Log(path) as log:
        with commits.held():
            answers = [log.engine.append([Draft("a")] * number) for number in (1, count, 1, writer.GROUP, 1)]
        await asyncio.wait(answers)
        assert [len(answer.result()) for answer in answers] == [1, count, 1, writer.GROUP, 1]
        assert sum(commits.batches) == 5
        assert await log.offsets() == list(range(1, count + writer.GROUP + 4))
        assert [r.position.offset for r in answers[1].result()] == list(range(2, count + 2))


# -- refused


async def test_a_full_disk_refuses_and_recovers(path: Path) -> None:
    async with Log(path) as log:
        await log.put(Draft("a", "first", key="k"))
        db = log.engine._file._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        large = Draft("a", "x" * 100_000)
        for _ in range(3):
            answers = [
                log.engine.append(drafts)
                for drafts in ([large], [Draft("a", "first", key="k")], [Draft("a", key="n"), large])
            ]
            await asyncio.wait(answers)
            # A repeat gets its first id even on a full disk.
            assert [outcome(answer) for answer in answers] == [(StoreFull, False), [1], (StoreFull, False)]
        assert (log.sink.head, log.sink.up) == (1, [])
        db.execute("PRAGMA max_page_count = 1000000")
        assert [position.offset for position in await log.put(Draft("a", key="n"), large)] == [2, 3]
    assert rows(path, "SELECT offset FROM entries") == [(1,), (2,), (3,)]


async def test_another_program_that_locks_the_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    async with Log(path, max_keys=2, key_age=10) as log:
        await log.put(Draft("a", key="1"), Draft("a", key="2"))
        # The limit of keys is reached, so old ones must be forgotten first.
        log.clock.now += 11
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for drafts in ([Draft("a")], [Draft("a", key="3")]):
            with pytest.raises(Unavailable) as refusal:
                await log.engine.append(drafts)
            assert (refusal.value.code, refusal.value.stored) == ("engine_busy", False)
        other.execute("ROLLBACK")
        assert [position.offset for position in await log.put(Draft("a", key="3"))] == [3]
        # A program that only reads blocks nothing.
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM entries").fetchone() == (3,)
        assert [position.offset for position in await log.put(Draft("a"))] == [4]
        other.close()
        assert log.sink.up == []


# -- broken


async def test_after_a_disk_error_nothing_more_is_written(path: Path, commits: Commits) -> None:
    async with Log(path) as log:
        await log.fill("ab")
        with unwritable(f"{path}-wal"):
            with commits.held():
                first = log.engine.append([Draft("a")])
                await asyncio.to_thread(commits.waiting.wait, 10)
                later = log.engine.append([Draft("a")])
            await asyncio.wait([first, later])
            assert [outcome(answer) for answer in (first, later)] == [
                (Unknown, "unknown"),
                (Unavailable, False),
            ]
            assert log.sink.up == [False]
        # The disk may seem to work again: a second fsync after a failed one falsely reports success.
        tried = len(commits.batches)
        answer = log.engine.append([Draft("a")])
        await asyncio.wait([answer])
        assert outcome(answer) == (Unavailable, False)
        assert (len(commits.batches), log.sink.up, log.sink.head) == (tried, [False], 2)
        # Streams continue and can still read.
        assert await log.offsets() == [1, 2]
    assert rows(path, "SELECT value FROM meta WHERE name = 'clean'") == [(0,)]
    async with Log(path) as log:
        assert [position.offset for position in await log.fill("a")] == [3]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_FULL])
async def test_a_checkpoint_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    tried = []

    def fails(db: sqlite3.Connection) -> int:
        tried.append(db)
        error = sqlite3.OperationalError("the disk says no")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(writer, "CHECKPOINT", 1)
    monkeypatch.setattr(writer, "TRIM_EVERY", 0.05)
    monkeypatch.setattr(engine, "checkpoint", fails)
    async with Log(path) as log:
        await log.fill("a")
        await wait_until_async(lambda: tried)
        if code == sqlite3.SQLITE_FULL:
            # Then the WAL only keeps its length.
            await log.fill("aaa")
            assert log.sink.up == []
        else:
            await wait_until_async(lambda: log.sink.up == [False])
    async with Log(path) as log:
        assert await log.offsets() == list(range(1, log.first.position.offset + 1))


async def test_a_file_that_cannot_be_written_while_its_wal_can(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT", 1)
    async with Log(path) as log:
        with unwritable(os.fspath(path)):
            await log.fill("a")
            await wait_until_async(lambda: log.sink.up == [False])
    async with Log(path) as log:
        assert await log.offsets() == [1]


async def test_a_hub_whose_disk_broke_is_not_ready(path: Path) -> None:
    hub = Hub(f"sqlite:///{path}", per_process=True)
    async with hub.lifespan():
        await hub.publish("a")
        assert await status(hub, "/health/ready") == 200
        with unwritable(f"{path}-wal"):
            with pytest.raises(Unknown):
                await hub.publish("a")
        with pytest.raises(Unavailable) as refusal:
            await hub.publish("a")
        assert refusal.value.stored is False
        assert await status(hub, "/health/ready") == 503
        assert await status(hub, "/health/live") == 200


async def status(hub: Hub, path: str) -> int:
    """Ask the hub's app over plain ASGI."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
        "raw_path": path.encode(), "root_path": "", "query_string": b"", "scheme": "http",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    answers: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message)

    await hub.app(scope, receive, send)
    code: int = answers[0]["status"]
    return code


# -- stopping


async def test_closing_stores_what_is_waiting(path: Path, commits: Commits) -> None:
    log = Log(path)
    async with log:
        with commits.held():
            first = log.engine.append([Draft("a")])
            await asyncio.to_thread(commits.waiting.wait, 10)
            others = [log.engine.append([Draft("b", str(n))]) for n in range(500)]
            closing = asyncio.ensure_future(log.engine.close())
            await asyncio.sleep(0)
            late = log.engine.append([Draft("c")])
        await closing
    assert [outcome(answer) for answer in (first, *others)] == [[offset] for offset in range(1, 502)]
    assert outcome(late) == (Unavailable, False)
    with pytest.raises(Unavailable):
        await log.engine.read(0, 1, None)
    assert rows(path, "SELECT count(*) FROM entries") == [(501,)]


def test_a_loop_that_closes_before_its_engine(path: Path) -> None:
    threads = set(threading.enumerate())

    async def begin() -> None:
        log = Log(path)
        await log.__aenter__()
        for number in range(100):
            log.engine.append([Draft("a", str(number))])
        engines.append(log.engine)

    engines: list[SQLiteEngine] = []
    asyncio.run(begin())
    wait_until(lambda: rows(path, "SELECT count(*) FROM entries") == [(100,)])
    # Everything submitted is stored, nothing failed, and the engine can still be closed.
    engines[0].release()
    wait_until(lambda: set(threading.enumerate()) <= threads)
    LogFile(os.fspath(path)).close()
