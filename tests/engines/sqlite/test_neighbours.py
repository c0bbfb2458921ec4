"""What one process does about the others on its log: their bells, their news, and their locks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from support.log_workers import log_workers
from support.sqlite_log import Log, write_log
from support.waiting import PATIENCE, wait_until, wait_until_async
from tidewire.engines.sqlite import lookout, writer
from tidewire.engines.sqlite.following import LOOK, LOOK_BYTES, news_after
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.engines.sqlite.nodes import Nodes
from tidewire.engines.sqlite.staging import Moved
from tidewire.errors import Unavailable
from tidewire.log.entries import Draft
from tidewire.settings import Settings

pytestmark = pytest.mark.skipif(os.name == "nt", reason="on Windows, one process has the log")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


# -- bells


def test_a_process_that_joins_in_the_tick_of_a_change_is_noticed(path: Path) -> None:
    one = LogFile(os.fspath(path))
    folder = f"{path}.nodes"
    now = time.time_ns() + 10**9
    os.utime(folder, ns=(now, now))
    assert one.nodes.alone
    with log_workers(path, 1):
        os.utime(folder, ns=(now, now))
        assert not one.nodes.alone
    one.close()


def test_the_bell_of_a_dead_process_is_taken_away(path: Path) -> None:
    one = LogFile(os.fspath(path))
    with log_workers(path, 1):
        wait_until(lambda: not one.nodes.alone)
    one.nodes.ring()
    wait_until(lambda: one.nodes.alone)
    one.close()


def test_a_bell_may_have_a_large_descriptor(path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("needs 1,200 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1030)]
    try:
        one = LogFile(os.fspath(path))
        one.nodes.wait(0)
        one.nodes.wake()
        assert one.nodes.wait(PATIENCE)
        one.close()
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_process_whose_log_does_not_change_does_not_look(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    catch_up = LogFile.catch_up

    def counted(log: LogFile) -> object:
        looks.append(True)
        return catch_up(log)

    monkeypatch.setattr(lookout, "ALONE_EVERY", 0.01)
    monkeypatch.setattr(LogFile, "catch_up", counted)
    async with Log(path) as log:
        await wait_until_async(lambda: bool(looks))
        before = len(looks)
        waits = counted_waits(log, monkeypatch)
        await wait_until_async(lambda: len(waits) > 20)
        quiet = len(looks)
        assert quiet <= before + 2
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("INSERT INTO marks VALUES ('other', 0)")
        await wait_until_async(lambda: len(looks) > quiet)


def counted_waits(log: Log, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    nodes = log.engine._file.nodes
    wait = nodes.wait

    def counted(seconds: float) -> bool:
        waits.append(seconds)
        return wait(seconds)

    monkeypatch.setattr(nodes, "wait", counted)
    return waits


# -- news


def test_a_look_is_limited_in_bytes(path: Path) -> None:
    size = LOOK_BYTES // 4
    write_log(path, ["t"] * 10, "x" * size, batch=1)
    write_log(path, ["t"], "x" * 3 * LOOK_BYTES)
    db = sqlite3.connect(path, isolation_level=None)
    head, total, looks = 0, 0, []
    while news := news_after(db, head, 1, total, [("abcdef", 1)]):
        looks.append(len(news.entries))
        head, total = news.entries[-1].offset, news.total
        assert news.more == (head < 11)
    db.close()
    assert looks == [3, 3, 3, 1, 1]


def test_a_look_is_limited_in_entries(path: Path) -> None:
    write_log(path, ["t"] * (LOOK + 5))
    db = sqlite3.connect(path, isolation_level=None)
    first = news_after(db, 0, 1, 0, [("abcdef", 1)])
    assert first
    assert (len(first.entries), first.more) == (LOOK, True)
    second = news_after(db, LOOK, 1, first.total, [("abcdef", 1)])
    assert second
    assert (len(second.entries), second.more) == (5, False)
    db.close()


# -- locks


def test_records_are_forgotten_later_if_another_process_commits_now(path: Path) -> None:
    settings = Settings(retention_entries=1, ended_age=1)
    one = LogFile(os.fspath(path), clock=lambda newest: lambda: newest + 10)
    one.commit([[Draft("t", end=True)], [Draft("other")]], None, settings, [[1.0], [1.0]])
    trim = one.plan_trim(settings, 10)
    one.commit([], trim, settings)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError):
        one.forget_records()
    other.execute("ROLLBACK")
    assert [record.name for record in one.forget_records()] == ["t"]
    assert other.execute("SELECT count(*) FROM records").fetchone() == (0,)
    other.close()
    one.close()


async def test_a_log_that_cannot_be_read_for_a_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process repairs what another one left when it was killed."""
    failed = []
    catch_up = LogFile.catch_up

    def busy_once(log: LogFile) -> object:
        if failed:
            return catch_up(log)
        failed.append(True)
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
        raise error

    async with Log(path) as log:
        monkeypatch.setattr(LogFile, "catch_up", busy_once)
        log.engine._writer.look()
        await wait_until_async(lambda: bool(failed))
        assert await log.fill("a")
        assert log.sink.up == []


async def test_a_process_that_always_comes_too_late_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Log(path, engine_timeout=0.2) as log:

        def moved(*values: object) -> None:
            raise Moved

        with monkeypatch.context() as patch:
            patch.setattr(LogFile, "commit", moved)
            with pytest.raises(Unavailable, match="another program") as refusal:
                await log.put(Draft("t"))
            assert (refusal.value.code, refusal.value.stored) == ("engine_busy", False)
        assert await log.fill("a")


# -- who commits first


async def test_a_process_that_came_too_late_asks_to_be_first(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, late = LogFile.commit, []

    def moved_once(log: LogFile, *values: Any) -> Any:
        if not late:
            late.append(log.nodes._is_first)
            raise Moved
        late.append(log.nodes._is_first)
        return commit(log, *values)

    async with Log(path) as log:
        monkeypatch.setattr(LogFile, "commit", moved_once)
        await log.fill("a")
        assert late == [False, True]
        assert not log.engine._file.nodes._is_first


async def test_others_go_first_but_not_for_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [True, True, True, False]
    monkeypatch.setattr(writer, "POLITE", PATIENCE)
    async with Log(path) as log:
        monkeypatch.setattr(Nodes, "another_is_first", property(lambda nodes: answers.pop(0)))
        await log.fill("a")
        assert answers == []
        # One that is stopped asks forever.
        monkeypatch.setattr(writer, "POLITE", 0.01)
        monkeypatch.setattr(Nodes, "another_is_first", property(lambda nodes: True))
        await log.fill("ab")


def test_only_one_process_is_first(path: Path) -> None:
    one = LogFile(os.fspath(path))
    with log_workers(path, 1) as (two,):
        assert not one.nodes.another_is_first
        one.nodes.ask_to_be_first()
        assert not one.nodes.another_is_first
        two.ask("publish", "t", ["it waits, but not for long"])
        one.nodes.let_others()
        assert not one.nodes.another_is_first
    one.close()
