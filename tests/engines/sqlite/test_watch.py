"""Nothing is acked any more once the file of an open log, or its WAL, is deleted, replaced or cut (G19)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.sqlite_log import Log, size_of
from support.waiting import wait_until_async
from tidewire.engines.sqlite import file_status, writer
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.engines.sqlite.maintenance import trim
from tidewire.errors import StartRefused, Unavailable, Unknown
from tidewire.log.entries import Draft
from tidewire.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


# A sandbox may forbid `statx`, and older systems have none.
@pytest.mark.parametrize("statx", [file_status.STATX, None, lambda *args: -1])
def test_the_status_of_a_file_is_that_of_os_stat(
    path: Path, statx: Callable[..., int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_status, "STATX", statx)
    status = file_status.status_of(os.fspath(path))
    with pytest.raises(FileNotFoundError):
        status()
    path.write_bytes(b"x" * 5_000)
    path.with_name("other name").hardlink_to(path)
    found = path.stat()
    assert status() == (found.st_dev, found.st_ino, 2, 5_000)


def deleted(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("moved"))


def replaced(path: Path) -> None:
    # A copy, byte for byte, under the same name, as `rsync` and many editors write.
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def shortened(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


DEEDS = {
    "deleted": (deleted, "was deleted"),
    "moved": (moved, "was deleted"),
    "replaced": (replaced, "was replaced"),
    "emptied": (emptied, "was truncated"),
    "shortened": (shortened, "was truncated"),
}


@contextlib.contextmanager
def another_program(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def move_wal(path: Path) -> None:
    # Not on the connection of the writer, which may be reading after its last commit.
    with another_program(path) as other:
        other.execute("PRAGMA wal_checkpoint")


async def filled(log: Log, path: Path) -> None:
    """Publish, and move it into the file, and publish more: both the file and the WAL hold something."""
    await log.fill("ab" * 10)
    move_wal(path)
    # Longer than the WAL was: what it has beyond its newest frame is not missed.
    await log.put(*[Draft("a", "x" * 3000)] * 100)


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("which", ["file", "WAL"])
async def test_nothing_is_acked_afterwards(
    path: Path, deed: str, which: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Without a publish nobody would notice for a long time.
    monkeypatch.setattr(writer, "TRIM_EVERY", 3600)
    do, words = DEEDS[deed]
    async with Log(path) as log:
        await filled(log, path)
        do(path if which == "file" else wal(path))
        with pytest.raises(Unknown, match=f"its {which} {words}"):
            await log.put(Draft("a"))
        await wait_until_async(lambda: log.sink.up == [False])
        for _ in range(60):
            with pytest.raises(Unavailable) as refusal:
                await log.put(Draft("a"))
            assert (refusal.value.code, refusal.value.stored) == ("engine_failed", False)
        assert log.sink.head == 120
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert f"the log {path} can no longer be written" in record.getMessage()
    assert f"its {which} {words}" in record.getMessage()


@pytest.mark.parametrize("which", ["file", "WAL"])
async def test_an_idle_log_notices_by_itself(path: Path, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "TRIM_EVERY", 0.05)
    async with Log(path) as log:
        await filled(log, path)
        deleted(path if which == "file" else wal(path))
        await wait_until_async(lambda: log.sink.up == [False])


@pytest.mark.parametrize("which", ["file", "WAL"])
async def test_a_deed_during_the_commit(path: Path, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = LogFile._ready

    def stores_and_loses(file: LogFile, *values: object) -> Callable[[], int]:
        store = ready(file, *values)  # type: ignore[arg-type]

        def store_and_lose() -> int:
            after = store()
            if file.head:
                deleted(path if which == "file" else wal(path))
            return after

        return store_and_lose

    monkeypatch.setattr(LogFile, "_ready", stores_and_loses)
    async with Log(path) as log:
        await log.fill("a")
        # It was stored, in a file that nobody will find.
        with pytest.raises(Unknown, match=f"its {which} was deleted"):
            await log.put(Draft("a"))
        assert log.sink.head == 1


async def test_the_repeat_of_a_key_is_not_acked_either(path: Path) -> None:
    async with Log(path) as log:
        await log.put(Draft("a", key="k"))
        deleted(path)
        with pytest.raises(Unknown):
            await log.put(Draft("a", key="k"))


def test_a_file_that_is_lost_under_a_command(path: Path) -> None:
    log = LogFile(os.fspath(path))
    log.commit([[Draft("a", "x")] * 100], None, Settings())
    log.close()

    def loses(done: int, of: int) -> None:
        path.unlink(missing_ok=True)

    with pytest.raises(StartRefused, match="can no longer be written: its file was deleted"):
        trim_in_steps(path, loses)


def trim_in_steps(path: Path, report: Callable[[int, int], object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tidewire.engines.sqlite.maintenance.STEP", 10)
        trim(os.fspath(path), Settings(retention_entries=1), report)


# -- what is not a loss


async def test_what_sqlite_itself_makes_smaller(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "TRIM_EVERY", 0.02)
    async with Log(path, retention_entries=5) as log:
        for _ in range(3):
            await log.put(*[Draft("a", "x" * 3000)] * 100)
            await wait_until_async(lambda: log.sink.floor == log.sink.head - 4)
            # Another program, before a backup.
            with another_program(path) as other:
                other.execute("PRAGMA wal_checkpoint")
                sizes = size_of(path), size_of(path, "-wal")
                other.execute("VACUUM")
                busy, left, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert (busy, left, size_of(path, "-wal")) == (0, 0, 0)
            assert sizes[0] > size_of(path)
            assert sizes[1] > 0
            await log.fill("ab")
        assert log.sink.up == []
        assert log.sink.head == 306


async def test_a_wal_within_its_limit(path: Path) -> None:
    async with Log(path) as log:
        log.engine._file._db.execute("PRAGMA journal_size_limit = 100000")
        for _ in range(4):
            await log.put(*[Draft("a", "x" * 3000)] * 100)
            large = size_of(path, "-wal")
            move_wal(path)
            # The next commit starts the WAL again, and cuts it off.
            await log.fill("a")
            assert size_of(path, "-wal") < large
        assert log.sink.up == []


async def test_a_new_link_and_a_backup(path: Path) -> None:
    async with Log(path) as log:
        await log.fill("a")
        os.link(path, path.with_name("link.db"))
        with another_program(path) as other:
            other.execute(f"VACUUM INTO '{path.with_name('copy.db')}'")
        await log.fill("a")
        path.with_name("link.db").unlink()
        await log.fill("a")
        assert log.sink.up == []
    async with Log(path.with_name("copy.db")) as log:
        assert await log.offsets() == [1]


async def test_a_log_after_a_loss_can_be_opened_again(path: Path) -> None:
    """In the same process, and whatever is at the path by then."""
    async with Log(path) as log:
        await filled(log, path)
        deleted(path)
        with pytest.raises(Unknown):
            await log.put(Draft("a"))
        await asyncio.sleep(0)
    wal(path).unlink(missing_ok=True)
    async with Log(path) as log:
        assert [position.offset for position in await log.fill("ab")] == [1, 2]
