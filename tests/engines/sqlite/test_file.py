"""The file of a log: the lock, lives after restarts and restores, unclean stops, and damage."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import Process
from support.sqlite_log import Log, crashed, descriptors, refusal_of, rows, write_log
from support.waiting import wait_until_async
from tidewire.engines.sqlite.file_lock import FileLock
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.errors import StartRefused, TidewireError
from tidewire.log.entries import Draft, Receipt
from tidewire.position import Position
from tidewire.settings import Settings

CHILD = """
import asyncio, sys
from tidewire.engines.sqlite import SQLiteEngine
from tidewire.settings import Settings
from tidewire.log.entries import Draft

class Sink:
    def entries(self, batch): pass
    def trimmed(self, floor, marks): pass
    def available(self, up): pass

async def main():
    engine = SQLiteEngine("sqlite:///" + sys.argv[1], Settings())
    await engine.open(Sink())
    async def publish(name):
        for number in range(100_000):
            key = f"{name}-{number}"
            (receipt,) = await engine.append([Draft("t", key, key=key)])
            print("acked", key, receipt.position, flush=True)
    await asyncio.gather(*map(publish, "abc"))

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


# -- the lock


async def test_a_second_hub_is_refused_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = path.with_name("link.db")
    async with Log(path) as log:
        link.symlink_to(path)
        monkeypatch.chdir(path.parent)
        for name in (path, link, Path("log.db"), Path("..", path.parent.name, "log.db")):
            with pytest.raises(StartRefused, match=f"log.db is in use by process {os.getpid()};") as refusal:
                async with Log(name):
                    pass
            assert refusal.value.code == "log_in_use"
        assert [position.offset for position in await log.fill("ab")] == [1, 2]
    async with Log(link) as log:
        assert await log.offsets() == [1, 2]


def test_a_lock_ends_with_its_process_and_a_retry_gets_its_first_id(path: Path) -> None:
    with Process([sys.executable, "-c", CHILD, path]) as child:
        child.wait_line("acked a-20 ")
        error = refusal_of(path)
        assert (error.code, f"process {child.pid};" in error.detail) == ("log_in_use", True)
        assert child.stop(signal.SIGKILL) == -signal.SIGKILL
        lines = [line.split() for line in child.output.splitlines(keepends=True) if line.endswith("\n")]
    acked = {key: position for _, key, position in lines}
    log = LogFile(os.fspath(path))
    head = log.head
    # Some were stored, but the process was killed before it could acknowledge them.
    answers = {key: retry(log, key) for name in "abc" for key in (f"{name}-{n}" for n in range(log.head))}
    assert {key: str(answers[key].position) for key in acked} == acked
    assert sum(answer.duplicate for answer in answers.values()) == head
    assert len({answer.position.offset for answer in answers.values()}) == len(answers)
    log.close()


def retry(log: LogFile, key: str) -> Receipt:
    _, (receipts,) = log.commit([[Draft("t", key, key=key)]], None, Settings())
    assert isinstance(receipts, list)
    return receipts[0]


# -- lives


async def test_a_copy_restored_from_yesterday(path: Path) -> None:
    yesterday = path.with_name("yesterday.db")
    async with Log(path) as log:
        kept = await log.fill("ab")
    shutil.copy(path, yesterday)
    async with Log(path) as log:
        today = await log.fill("abababab")
    shutil.copy(yesterday, path)
    async with Log(path, retention_entries=1) as log:
        # Each position of today is reported as foreign, whatever was written since.
        assert [log.judge(position).reason for position in today] == ["foreign"] * 8
        # Their life is unknown here, so they continue just before the oldest entry kept.
        assert {log.judge(position).offset for position in today} == {0}
        assert [log.judge(position).reason for position in kept] == [None] * 2
        again = await log.fill("abababab")
        await until_floor(log, 10)
        assert not set(today) & set(again)
    async with Log(path) as log:
        # Even long after they were trimmed, they are told apart.
        assert [log.judge(position).reason for position in today] == ["foreign"] * 8
        assert [log.judge(position).reason for position in kept] == ["trimmed"] * 2
        assert log.judge(again[-1]).reason is None


async def test_a_copy_of_a_running_hubs_files_gets_its_own_life(path: Path, tmp_path: Path) -> None:
    async with Log(path) as log:
        await log.fill("a")
        copy = crashed(path, tmp_path / "copy")
        # In both, the next life starts at the same offset.
        here = await log.fill("aa")
    async with Log(copy) as log:
        there = await log.fill("aa")
        assert [position.offset for position in there] == [2, 3]
        assert not set(here) & set(there)
    async with Log(copy) as log:
        assert [log.judge(position) for position in here] == [(1, "foreign", ("**",))] * 2
        assert [log.judge(position).reason for position in there] == [None, None]


async def test_many_restarts(path: Path) -> None:
    positions: list[Position] = []
    for number in range(12):
        async with Log(path) as log:
            if not number:
                start = log.first.position
            positions += await log.fill("ab" * (number % 3))
    async with Log(path) as log:
        # A start that wrote nothing left no life behind, except the first, to which offset 0
        # belongs, and the current one.
        assert len(rows(path, "SELECT * FROM lives")) == 8 + 2
        assert [position.offset for position in positions] == list(range(1, len(positions) + 1))
        assert {log.judge(position) for position in [start, *positions]} == {
            (offset, None, ()) for offset in range(len(positions) + 1)
        }
        assert log.judge(start._replace(life=positions[-1].life)).reason == "foreign"


async def until_floor(log: Log, floor: int) -> None:
    await wait_until_async(lambda: rows(log.path, "SELECT min(offset) FROM entries") == [(floor,)])


# -- how it was closed


def test_only_an_unclean_stop_makes_a_start_check_the_file(path: Path, tmp_path: Path) -> None:
    checks: list[int] = []
    log = LogFile(os.fspath(path), on_check=checks.append)
    log.commit([[Draft("a", "x")] * 100], None, Settings())
    left = crashed(path, tmp_path / "left")
    log.close()
    LogFile(os.fspath(path), on_check=checks.append).close()
    assert checks == []
    log = LogFile(os.fspath(left), on_check=checks.append)
    assert (len(checks), log.head) == (1, 100)
    log.close()
    LogFile(os.fspath(left), on_check=checks.append).close()
    assert len(checks) == 1


def test_what_a_clean_stop_leaves(path: Path) -> None:
    write_log(path, ["a"] * 3000, "x" * 100)
    assert sorted(os.listdir(path.parent)) == ["log.db", "log.db.lock", "log.db.nodes"]
    assert sorted(os.listdir(f"{path}.nodes")) == ["door", "line"]
    assert rows(path, "SELECT count(*), min(offset), max(offset) FROM entries") == [(3000, 1, 3000)]


async def test_nothing_is_left_open(path: Path) -> None:
    threads = threading.active_count()
    async with Log(path) as log:
        await log.fill("a")
    # The loop's own thread for blocking calls stays until the loop is closed.
    now, open_files = threading.active_count(), len(descriptors())
    assert now <= threads + 1
    for offset in range(2, 5):
        async with Log(path) as log:
            assert [position.offset for position in await log.fill("a")] == [offset]
            assert await log.offsets() == list(range(1, offset + 1))
        assert (threading.active_count(), len(descriptors())) == (now, open_files)
    FileLock(os.fspath(path)).release()


async def test_a_refused_start_leaves_nothing_open(path: Path) -> None:
    shutil.copy(__file__, path)
    threads = threading.active_count()
    for number in range(4):
        with pytest.raises(StartRefused):
            await Log(path).__aenter__()
        if not number:
            # The door's descriptor stays open, for all further attempts.
            open_files = len(descriptors())
            assert len(descriptors(os.fspath(path))) == 1
    assert len(descriptors()) == open_files
    assert threading.active_count() <= threads + 1


# -- files that are not a log, or no longer one


def test_damage_anywhere_is_found(path: Path) -> None:
    write_log(path, [f"topic/{n}" for n in range(300)], "x" * 50)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 0 WHERE name = 'clean'")
    db.close()
    good = path.read_bytes()
    assert len(good) >= 12 * 4096
    for page in range(0, len(good), 4096):
        noise = random.Random(page).randbytes(4096)
        path.write_bytes(good[:page] + noise + good[page + 4096 :])
        assert refusal_of(path).code == "log_damaged", page
    path.write_bytes(good)
    LogFile(os.fspath(path)).close()


def test_damage_after_a_clean_stop(path: Path) -> None:
    write_log(path, [f"topic/{n}" for n in range(300)], "x" * 50)
    good, open_files = path.read_bytes(), len(descriptors())
    codes = []
    for page in range(0, len(good), 4096):
        noise = random.Random(page).randbytes(4096)
        path.write_bytes(good[:page] + noise + good[page + 4096 :])
        codes.append(asyncio.run(open_and_publish(path)))
        # SQLite's shared memory is opened for good, as the file is: see `door`.
        assert len(descriptors()) <= open_files + 1
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
    assert codes.count("log_damaged") > len(codes) / 2
    assert set(codes) <= {"log_damaged", "unknown", "engine_failed", ""}


async def open_and_publish(path: Path) -> str:
    """Return the code of the error, or "" if there was none."""
    try:
        async with Log(path) as log:
            await log.fill("a")
    except TidewireError as error:
        return error.code
    return ""


def other_program(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mail (text)")
    db.close()


def with_application_id(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA application_id = 1")
    db.close()


def newer(path: Path) -> None:
    write_log(path, "a")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def truncated(path: Path) -> None:
    write_log(path, ["a"] * 1000)
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda path: path.write_text("a diary, not a database" * 100), "log_damaged", "is not a log"),
        (lambda path: path.write_bytes(b"SQLite"), "log_damaged", "is not a log"),
        (other_program, "log_damaged", "is another program's database"),
        (with_application_id, "log_damaged", "is another program's database"),
        (newer, "start_refused", "newer Tidewire"),
        (truncated, "log_damaged", "damaged"),
        (Path.mkdir, "start_refused", "cannot open the log"),
    ],
)
def test_a_file_that_is_not_a_log_is_left_unchanged(
    path: Path, make: Callable[[Path], object], code: str, words: str
) -> None:
    make(path)
    before = path.is_file() and path.read_bytes()
    for _ in range(2):
        error = refusal_of(path)
        assert (error.code, words in error.detail) == (code, True), error.detail
    assert before == (path.is_file() and path.read_bytes())


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("file/log.db", "File exists"),
        # Not even root can create a file there.
        ("/sys/kernel/log.db", "Operation not permitted"),
    ],
)
def test_a_file_that_cannot_be_created(tmp_path: Path, where: str, words: str) -> None:
    (tmp_path / "file").touch()
    error = refusal_of(tmp_path / where)
    assert words in error.detail


def test_an_empty_file_becomes_a_log(path: Path) -> None:
    path.touch()
    write_log(path, "abc")
    assert rows(path, "SELECT topic FROM entries") == [("a",), ("b",), ("c",)]


def test_a_log_that_another_program_has_locked(path: Path) -> None:
    write_log(path, "a")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    assert "another program has locked" in refusal_of(path).detail
    other.close()
    LogFile(os.fspath(path)).close()
