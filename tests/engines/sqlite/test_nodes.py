"""The folder of nodes: joining that fails, a folder that was deleted, and what processes do by turns."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.log_workers import LogWorker, Refused, log_workers
from support.sqlite_log import Log, descriptors, refusal_of, size_of
from support.waiting import wait_until, wait_until_async
from tidewire.engines.sqlite import writer
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.errors import StartRefused, Unknown
from tidewire.log.entries import Draft

pytestmark = pytest.mark.skipif(os.name == "nt", reason="on Windows, one process has the log")

HOLD = """
import fcntl, os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@contextlib.contextmanager
def held_by_another(path: Path) -> Iterator[None]:
    """Lock a file as another process."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, os.fspath(path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.kill()
        holder.communicate()


# -- joining


@contextlib.contextmanager
def descriptors_up_to(most: int) -> Iterator[None]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_open_that_runs_out_of_descriptors_leaves_nothing_behind(path: Path) -> None:
    LogFile(os.fspath(path)).close()
    lowest = os.dup(0)
    os.close(lowest)
    texts = []
    for most in range(lowest, lowest + 50):
        before = len(descriptors())
        try:
            with descriptors_up_to(most):
                log = LogFile(os.fspath(path))
        except StartRefused as error:
            texts.append(error.detail)
            # The log itself and its shared memory stay open, for good.
            assert len(descriptors()) <= before + 2
            assert {file.suffix for file in Path(f"{path}.nodes").iterdir()} <= {""}
        else:
            log.close()
            break
    else:
        raise AssertionError("it never opened")
    assert any(".nodes" in text and "Too many open files" in text for text in texts)


# -- a folder that was deleted


def delete_nodes(path: Path) -> None:
    gone = path.with_name("gone")  # they may be writing into it
    Path(f"{path}.nodes").rename(gone)
    shutil.rmtree(gone)


def test_a_deleted_folder_is_named_when_another_process_comes(path: Path) -> None:
    with log_workers(path, 2) as (one, two):
        delete_nodes(path)
        error = refusal_of(path)
        assert error.code == "log_in_use"
        assert f"the folder {path}.nodes does not name" in error.detail
        assert "deleted or replaced; stop all processes" in error.detail
        # Those that have the log go on.
        two.ask("subscribe", "t", ["t"], "now")
        one.ask("publish", "t", ["still"])
        two.wait_seen("t", "still")


def test_without_the_folder_no_process_believes_to_be_the_last(path: Path) -> None:
    with log_workers(path, 2) as (one, two):
        delete_nodes(path)
        two.ask("subscribe", "t", ["t"], "now")
        one.ask("publish", "t", ["it looks at the folder now"])
        one.ask("close")
        two.ask("publish", "t", ["still"])
        wait_until(lambda: len(two.ask("seen", "t")["data"]) == 2)
        with contextlib.closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT value FROM meta WHERE name = 'clean'").fetchall() == [(0,)]


def test_a_deleted_folder_and_lock_are_a_possible_reason(path: Path) -> None:
    with log_workers(path, 1):
        delete_nodes(path)
        Path(f"{path}.lock").unlink()
        error = refusal_of(path)
        assert error.code == "log_in_use"
        assert f"{path}.lock and {path}.nodes were deleted" in error.detail


# -- one at a time


async def test_one_process_moves_the_wal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT", 1)
    async with Log(path) as log:
        with held_by_another(Path(f"{path}.nodes/checkpoint")):
            before = size_of(path)
            for _ in range(20):
                await log.put(*[Draft("t", "x" * 3000)] * 20)
            assert size_of(path) == before
        while size_of(path) == before:
            await log.put(Draft("t", "x"))


# -- failing together


def fails(log: LogFile, *values: object) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise error


async def test_after_an_io_error_no_process_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with log_workers(path, 2) as (two, three):
        async with Log(path) as log:
            await log.fill("a")
            two.ask("publish", "t", ["before"])
            wait_until(lambda: not log.engine._file.nodes.alone)
            monkeypatch.setattr(LogFile, "commit", fails)
            with pytest.raises(Unknown):
                await log.put(Draft("a"))
            await wait_until_async(lambda: log.sink.up == [False])
            # Which code it is depends on how far the process has come with stopping.
            for worker in (two, three):
                with pytest.raises(Refused, match=r"unknown|engine_failed|engine_unavailable"):
                    worker.ask("publish", "t", ["after"])
                wait_until(lambda worker=worker: refused(worker) == "engine_unavailable")
        monkeypatch.undo()
        with pytest.raises(StartRefused, match=r"its disk has failed .* stop all processes"):
            LogFile(os.fspath(path))
    # Alone, and after a check, it goes on.
    checks: list[int] = []
    LogFile(os.fspath(path), on_check=checks.append).close()
    assert len(checks) == 1


def refused(worker: LogWorker) -> str:
    try:
        worker.ask("publish", "t", ["after"])
    except Refused as error:
        return str(error)
    return ""
