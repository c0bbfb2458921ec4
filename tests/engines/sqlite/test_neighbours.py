"""What one process does about the others on its log: their bells, their news, and their locks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.log_workers import LogWorker, log_workers
from support.sqlite_log import Log, rows, write_log
from support.waiting import PATIENCE, wait_until, wait_until_async
from tidewire.engines.sqlite import database, lookout, read_only, waiting_line
from tidewire.engines.sqlite.following import LOOK, LOOK_BYTES, news_after
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.engines.sqlite.staging import Moved
from tidewire.engines.sqlite.waiting_line import PLACE, WaitingLine
from tidewire.errors import RunConflict, StartRefused, TidewireError, TopicEnded, Unavailable
from tidewire.log.entries import Draft, RunItem, RunStart
from tidewire.settings import Settings

pytestmark = pytest.mark.skipif(os.name == "nt", reason="on Windows, one process has the log")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


# -- versions


def test_a_newer_version_leaves_a_log_that_others_have_open_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a file is never migrated under a process that pages through it."""
    newer = (*database.MIGRATIONS, "CREATE TABLE later (number);")
    for module in (database, read_only):
        monkeypatch.setattr(module, "MIGRATIONS", newer)
    with log_workers(path, 1) as (worker,):
        worker.ask("publish", "a", ["1"])
        with pytest.raises(StartRefused, match="older Tidewire; stop all programs"):
            LogFile(os.fspath(path))
        worker.ask("publish", "a", ["2"])
        assert rows(path, "PRAGMA user_version") == [(len(newer) - 1,)]
    LogFile(os.fspath(path)).close()
    assert rows(path, "PRAGMA user_version") == [(len(newer),)]


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


class QuietNodes:
    """Other processes that store nothing."""

    alone = False

    def __init__(self, hears_rings: bool) -> None:
        self.hears_rings = hears_rings
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        time.sleep(0.001)
        return False

    def wake(self) -> None:
        pass


@pytest.mark.parametrize("rings", [True, False])
def test_a_process_that_hears_rings_looks_less_often_while_the_log_is_quiet(rings: bool) -> None:
    nodes, versions = QuietNodes(rings), [b"1"]
    looks: list[int] = []  # how often it had waited before each
    watcher = lookout.Lookout(
        nodes,  # type: ignore[arg-type]
        lambda: looks.append(len(nodes.waits)),
        lambda: versions[-1],
        lambda: None,
    )
    wait_until(lambda: len(nodes.waits) > 2 * lookout.QUIET_AFTER)
    versions.append(b"2")
    wait_until(lambda: len(looks) == 2)
    wait_until(lambda: len(nodes.waits) > looks[1])
    watcher.stop()
    rare = lookout.QUIET_EVERY if rings else lookout.LOOK_EVERY
    assert [nodes.waits[look - 1] for look in looks] == [lookout.LOOK_EVERY, rare]
    assert nodes.waits[looks[1]] == lookout.LOOK_EVERY


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


async def test_a_process_that_comes_too_late_has_one_deadline(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, deadlines = LogFile.commit, []

    def moved_once(log: LogFile, *values: Any) -> Any:
        deadlines.append(values[-1])
        if len(deadlines) == 1:
            raise Moved
        return commit(log, *values)

    async with Log(path) as log:
        monkeypatch.setattr(LogFile, "commit", moved_once)
        await log.fill("a")
    assert len(deadlines) == 2
    assert deadlines[0] == deadlines[1]


# -- commits after what another process has stored


SETTINGS = Settings()


def stored(path: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def offsets_of(result: Any) -> list[int]:
    return [receipt.position.offset for receipt in result]


@contextlib.contextmanager
def beside_another(path: Path, **settings: Any) -> Iterator[tuple[LogFile, LogWorker]]:
    """Give a log file that looks at nothing by itself, and a process with a hub on it."""
    one = LogFile(os.fspath(path))
    one.commit([[Draft("t", "first")]], None, SETTINGS)
    with log_workers(path, 1, **settings) as (two,):
        wait_until(lambda: not one.nodes.alone)
        yield one, two
    one.close()


@pytest.mark.parametrize("topic", ["t", "new"], ids=["rows alone", "staged"])
def test_a_batch_is_stored_after_what_another_process_has_stored(path: Path, topic: str) -> None:
    with beside_another(path) as (one, two):
        two.ask("publish", "u", ["a", "b"])
        entries, (receipts, more) = one.commit(
            [[Draft(topic, "c"), Draft(topic, "d")], [Draft("t", "e")]], None, SETTINGS
        )
        assert (entries, one.is_behind) == ([], True)
        assert (offsets_of(receipts), offsets_of(more)) == ([4, 5], [6])
        news = one.catch_up()
        assert news
        assert [entry.data for entry in news.entries] == ["a", "b", "c", "d", "e"]
        assert not one.is_behind
        entries, _ = one.commit([[Draft("t", "f")]], None, SETTINGS)
        assert [entry.offset for entry in entries] == [7]
        sizes = stored(path, "SELECT size, bytes, time FROM entries ORDER BY offset")
        assert [total for _, total, _ in sizes] == [sum(size for size, *_ in sizes[:n]) for n in range(1, 8)]
        assert sizes == sorted(sizes, key=lambda row: row[2])


def test_what_another_process_does_to_the_same_topics_is_judged_first(path: Path) -> None:
    with beside_another(path) as (one, two):
        two.ask("end", "u")
        with pytest.raises(Moved):
            one.commit([[Draft("t", "x")]], None, SETTINGS)
        with pytest.raises(Moved):
            one.commit([[Draft("u", "x")]], None, SETTINGS)
        one.catch_up()
        _, (refused,) = one.commit([[Draft("u", "x")]], None, SETTINGS)
        assert isinstance(refused, TopicEnded)
        two.ask("publish", "t", ["x"])
        with pytest.raises(Moved):
            one.commit([[Draft("t", end=True)]], None, SETTINGS)


def test_a_key_that_another_process_has_just_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with beside_another(path) as (one, two):
        ((first, _),) = [two.ask("publish", "t", ["x"], "key")]
        with monkeypatch.context() as patch:
            # It was used between the judgement and the statement.
            patch.setattr(LogFile, "_held_keys", lambda log, batches: {})
            with pytest.raises(Moved):
                one.commit([[Draft("t", "x", key="key")]], None, SETTINGS)
        with pytest.raises(Moved):
            one.commit([[Draft("t", "x", key="key")]], None, SETTINGS)
        one.catch_up()
        _, ((receipt,),) = one.commit([[Draft("t", "x", key="key")]], None, SETTINGS)
        assert (str(receipt.position), receipt.duplicate) == (first, True)


def test_a_key_and_its_repeat_get_the_same_later_offset(path: Path) -> None:
    with beside_another(path) as (one, two):
        two.ask("publish", "t", ["a"], "other")
        draft = Draft("t", "x", key="key")
        _, (first, again) = one.commit([[draft], [draft]], None, SETTINGS)
        assert offsets_of(first) == offsets_of(again) == [3]
        assert two.ask("publish", "t", ["x"], "key") == [str(first[0].position), True]
        one.catch_up()
        assert one.keys_held == 2


def test_a_batch_that_another_process_moves_into_the_next_block(path: Path) -> None:
    with beside_another(path) as (one, two):
        for wait in (1000, 1010):
            two.ask("batch", "u", ["x"] * (wait - one.head))
            one.catch_up()
        two.ask("batch", "u", ["x"] * 20)
        with pytest.raises(Moved):
            one.commit([[Draft("t", "rows alone")]], None, SETTINGS)
        one.commit([[Draft("t", "staged"), Draft("new", "staged")]], None, SETTINGS)
        one.catch_up()
        one.commit([[Draft("t", "later")]], None, SETTINGS)
    found = stored(path, "SELECT DISTINCT offset >> 10, topic FROM entries ORDER BY 1, 2")
    assert found == stored(path, "SELECT block, topic FROM topic_blocks ORDER BY 1, 2")


def test_a_batch_that_was_judged_long_ago(path: Path) -> None:
    with beside_another(path, retention_entries=5) as (one, two):
        trim = one.plan_trim(Settings(retention_entries=1), 10)
        two.ask("batch", "u", ["x"] * 500)
        wait_until(lambda: stored(path, "SELECT count(*) FROM entries") == [(5,)])
        for late in (trim, None):
            with pytest.raises(Moved):
                one.commit([[Draft("t", "x")]], late, SETTINGS)
        with pytest.raises(Moved):
            one.commit([[Draft("new", "x")]], None, SETTINGS)
        news = one.catch_up()
        assert news
        assert news.lost
        entries, _ = one.commit([[Draft("new", "x")]], None, SETTINGS)
        assert [entry.offset for entry in entries] == [502]


# -- runs


def start(one: LogFile) -> None:
    step = RunStart("k", "r", one.nodes.name, "")
    one.commit([[Draft("t", record=step)], [item(0)]], None, SETTINGS)


def item(number: int) -> Draft:
    return Draft("t", str(number), record=RunItem("k", "r", number))


def test_an_item_is_refused_that_was_judged_before_another_process_ended_its_run(path: Path) -> None:
    with beside_another(path) as (one, two):
        start(one)
        assert wait_until(lambda: two.ask("cancel", "t")) == "cancelled"
        with pytest.raises(Moved):
            one.commit([[item(1)]], None, SETTINGS)
        one.catch_up()
        _, (refused,) = one.commit([[item(1)]], None, SETTINGS)
        assert isinstance(refused, RunConflict)


def test_items_are_counted_that_are_stored_after_what_another_process_has_stored(path: Path) -> None:
    with beside_another(path) as (one, two):
        start(one)
        two.ask("publish", "u", ["a", "b"])
        one.commit([[item(1), item(2)]], None, SETTINGS)
        one.catch_up()
        _, (repeated, receipts) = one.commit([[item(2)], [item(3)]], None, SETTINGS)
        assert not isinstance(repeated, TidewireError)
        assert not isinstance(receipts, TidewireError)
        assert (repeated[0].duplicate, receipts[0].duplicate) == (True, False)
    assert stored(path, "SELECT data FROM entries WHERE topic = 't' AND event IS NOT 'hub.run'") == [
        ("first",),
        *((str(number),) for number in range(4)),
    ]


def test_a_process_that_slept_past_retention_goes_on_with_its_run(path: Path) -> None:
    with beside_another(path, retention_entries=5) as (one, two):
        start(one)
        two.ask("batch", "u", ["x"] * 500)
        wait_until(lambda: stored(path, "SELECT min(offset) FROM entries") > [(100,)])
        news = one.catch_up()
        assert news
        assert news.lost
        entries, _ = one.commit([[item(1)]], None, SETTINGS)
        assert [entry.data for entry in entries] == ["1"]


# -- who commits first


@pytest.fixture
def line(tmp_path: Path) -> Iterator[WaitingLine]:
    descriptor = os.open(tmp_path / "line", os.O_RDWR | os.O_CREAT)
    yield WaitingLine(descriptor)
    os.close(descriptor)


def wait_at(line: WaitingLine, place: int, ticket: int) -> None:
    """Wait in the line as another process."""
    os.pwrite(line.descriptor, PLACE.pack(ticket), place * PLACE.size)


def test_the_process_whose_last_commit_is_longest_ago_is_first(line: WaitingLine) -> None:
    line.enter()
    assert not line.another_is_first
    wait_at(line, 5, time.monotonic_ns() + 10**12)
    assert not line.another_is_first
    wait_at(line, 63, 1)
    assert line.another_is_first
    wait_at(line, 63, 0)
    assert not line.another_is_first


def test_a_process_that_does_not_come_is_waited_for_once(line: WaitingLine) -> None:
    wait_at(line, 5, 1)
    line.enter()
    line.wait()
    line.leave(committed=False)
    assert line.another_is_first, "this one has not overtaken it"
    line.leave(committed=True)
    assert not line.another_is_first
    wait_at(line, 5, 2)
    assert line.another_is_first, "it has committed, and waits again"


def test_a_process_that_dies_in_the_line_leaves_its_place(path: Path) -> None:
    with beside_another(path) as (one, two):
        line = one.nodes.line
        assert line
        two.kill()
        wait_at(line, 1, 1)
        with log_workers(path, 1):
            assert not line.another_is_first


def test_others_go_first_but_not_for_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with beside_another(path) as (one, _):
        line = one.nodes.line
        assert line
        wait_at(line, 9, 1)
        looks = []

        def counted() -> None:
            looks.append(line.another_is_first)
            if len(looks) == 3:
                wait_at(line, 9, 0)

        with monkeypatch.context() as patch:
            patch.setattr(waiting_line, "POLITE", PATIENCE)
            patch.setattr(waiting_line, "pause", counted)
            one.commit([[Draft("t", "x")]], None, SETTINGS)
        assert looks == [True, True, True]
        # One that is stopped waits forever.
        wait_at(line, 9, 2)
        one.commit([[Draft("t", "x")]], None, SETTINGS)
        assert not line.another_is_first
