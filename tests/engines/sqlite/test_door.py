"""The door of a log file: one process, whatever the file's name, and one descriptor that stays open."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import Process
from support.sqlite_log import Log, descriptors, refusal_of, write_log
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.engines.sqlite.watch import FileLost
from tidewire.errors import StartRefused

OPENS = """
import os, sys
from tidewire.engines.sqlite.log_file import LogFile
log = LogFile(sys.argv[1])
print("open", flush=True)
sys.stdin.read() if len(sys.argv) < 3 else None
"""

HOLD = OPENS + "import time; time.sleep(600)"

# The child that it forks either closes the log, or leaves it alone, and outlives its parent.
FORKS = (
    OPENS
    + """
import time
child = os.fork()
if not child:
    if sys.argv[2] == "closes":
        log.close()
        os._exit(0)
    print("child", os.getpid(), flush=True)
    time.sleep(600)
if sys.argv[2] == "closes":
    os.waitpid(child, 0)
    print("closed", flush=True)
time.sleep(600)
"""
)

# The child opens its parent's log and one of its own.
OPENS_AGAIN = (
    OPENS
    + """
from tidewire.errors import StartRefused
child = os.fork()
if not child:
    for name in (sys.argv[1], sys.argv[2]):
        try:
            LogFile(name).close()
            print("opened", flush=True)
        except StartRefused as error:
            print("refused:", error.code, error.detail, flush=True)
    os._exit(0)
os.waitpid(child, 0)
log.close()
LogFile(sys.argv[1]).close()
child = os.fork()
if not child:
    LogFile(sys.argv[1]).close()
    print("opened after a clean stop", flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
)

OTHER_NAME = "the file is open under another name"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def mount(path: Path) -> Iterator[Path]:
    """The file at `path`, mounted by itself in another folder."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a file")
    write_log(path, "a")
    (path.parent / "mounts").mkdir()
    there = path.parent / "mounts" / "log.db"
    there.touch()
    done = subprocess.run(["mount", "--bind", path, there], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine allows no mounts: {done.stderr.strip()}")
    try:
        yield there
    finally:
        subprocess.run(["umount", "--lazy", there], check=True)


# -- one process


async def test_a_hard_link_is_refused_in_the_same_process(path: Path) -> None:
    link = path.with_name("link.db")
    async with Log(path) as log:
        os.link(path, link)
        for _ in range(2):
            error = refusal_of(link)
            assert (error.code, OTHER_NAME in error.detail) == ("log_in_use", True)
        # The lock of the first one is as good as before.
        assert refusal_of(path).code == "log_in_use"
        assert [position.offset for position in await log.fill("ab")] == [1, 2]
    async with Log(link) as log:
        assert await log.offsets() == [1, 2]


def test_a_hard_link_is_refused_in_another_process(path: Path) -> None:
    write_log(path, "a")
    link = path.parent / "elsewhere" / "log.db"
    link.parent.mkdir()
    os.link(path, link)
    with Process([sys.executable, "-c", HOLD, path, "-"]) as holder:
        holder.wait_line("open")
        error = refusal_of(link)
        assert (error.code, OTHER_NAME in error.detail) == ("log_in_use", True)
        holder.stop(signal.SIGKILL)
    LogFile(os.fspath(link)).close()
    # And the other way round: it is this process that has it now.
    log = LogFile(os.fspath(path))
    with Process([sys.executable, "-c", HOLD, link, "-"]) as second:
        second.wait_line(f"StartRefused: .*{OTHER_NAME}")
    log.close()
    with Process([sys.executable, "-c", HOLD, link, "-"]) as third:
        third.wait_line("open")
        third.stop(signal.SIGKILL)


def test_a_mounted_file_is_refused(path: Path, mount: Path) -> None:
    # A mount is not a link: counting links would not notice it.
    assert mount.stat().st_nlink == 1
    with Process([sys.executable, "-c", HOLD, path, "-"]) as holder:
        holder.wait_line("open")
        error = refusal_of(mount)
        assert (error.code, OTHER_NAME in error.detail) == ("log_in_use", True)
        holder.stop(signal.SIGKILL)
    log = LogFile(os.fspath(mount))
    assert OTHER_NAME in refusal_of(path).detail
    log.close()


def test_a_mounted_file_is_deleted(path: Path, mount: Path) -> None:
    log = LogFile(os.fspath(mount))
    path.unlink()
    # The path is still there, but the file has no name any more.
    assert mount.exists()
    with pytest.raises(FileLost, match="its file was deleted"):
        log.look()
    log.close(clean=False)


# -- one descriptor


def test_the_descriptor_stays_open_and_is_used_again(path: Path) -> None:
    name = os.path.realpath(path)
    for _ in range(3):
        log = LogFile(name)
        found = descriptors(name)
        log.close()
        (kept,) = descriptors(name)
        assert kept in found
    old = path.with_name("old.db")
    path.rename(old)
    LogFile(name).close()
    assert descriptors(name) != [kept]
    assert os.fstat(kept).st_ino == old.stat().st_ino


def test_descriptors_of_deleted_files_are_closed(tmp_path: Path) -> None:
    LogFile(os.fspath(tmp_path / "first.db")).close()
    before = len(descriptors())
    for number in range(20):
        path = tmp_path / f"{number}.db"
        LogFile(os.fspath(path)).close()
        path.unlink()
    assert len(descriptors()) <= before + 1


LIFE = """
import asyncio, os, sys
from pathlib import Path
opened = []
def watch(event, values):
    if event == "open":
        opened.append(values)
sys.addaudithook(watch)
from tidewire.cli import main
from tidewire.engines.sqlite import writer
from tidewire.hub import Hub
writer.CHECKPOINT = 1

path, folder = sys.argv[1], Path(sys.argv[2])

async def live():
    hub = Hub(f"sqlite:///{path}", per_process=True, retention_entries=300)
    async with hub.lifespan():
        for _ in range(50):
            await hub.publish("a", "x" * 2000, key=os.urandom(9).hex())
        for _ in range(4):
            await asyncio.gather(*[hub.publish("a", "z" * 5000) for _ in range(100)])
        run("info")
        run("check")
        run("export", "--output", str(folder / "out.ndjson"))

def run(command, *arguments):
    try:
        main([command_word, command, path, *arguments], standalone_mode=False)
    except SystemExit as end:
        assert not end.code, end.code

command_word = "log"
for _ in range(2):
    asyncio.run(live())
run("info")
run("check")
run("trim", "--entries", "5")
run("import", str(folder / "out.ndjson"))
asyncio.run(live())
files = {os.path.realpath(path) + end for end in ("", "-wal", "-shm")}
found = [values for values in opened if isinstance(values[0], (str, bytes, os.PathLike))
         and os.path.realpath(os.fsdecode(values[0])) in files]
print("opened", [(os.path.basename(name), flags & os.O_ACCMODE == os.O_RDWR) for name, _, flags in found])
"""


def test_nothing_else_opens_the_files(path: Path, tmp_path: Path) -> None:
    with Process([sys.executable, "-c", LIFE, path, tmp_path]) as process:
        # SQLite's shared memory is opened once for each time that the log is: it is another file each time.
        process.wait_line(r"opened \[\('log.db', True\)(, \('log.db-shm', True\)){,3}\]$")


def test_sqlites_locks_outlive_a_second_start_in_the_process(path: Path) -> None:
    """A refused start must not close the file: another program could then lock out the first hub."""
    log = LogFile(os.fspath(path))
    for _ in range(2):
        refusal_of(path)
    link = path.with_name("link.db")
    os.link(path, link)
    refusal_of(link)
    steals = f"import sqlite3; db = sqlite3.connect({os.fspath(path)!r}, timeout=0)\n"
    steals += "db.execute('PRAGMA locking_mode = EXCLUSIVE'); db.execute('PRAGMA journal_mode = DELETE')"
    done = subprocess.run(
        [sys.executable, "-c", steals], capture_output=True, text=True, check=False, timeout=60
    )
    assert "database is locked" in done.stderr
    log.close()


# -- forks

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@forks
def test_a_child_does_not_unlock_its_parents_log(path: Path) -> None:
    with Process([sys.executable, "-c", FORKS, path, "closes"]) as parent:
        parent.wait_line("closed")
        assert f"process {parent.pid};" in refusal_of(path).detail
        os.link(path, path.with_name("link.db"))
        assert OTHER_NAME in refusal_of(path.with_name("link.db")).detail
        parent.stop(signal.SIGKILL)


@forks
def test_a_child_does_not_hold_the_log_of_a_dead_parent(path: Path) -> None:
    with Process([sys.executable, "-c", FORKS, path, "stays"]) as parent:
        child = int(parent.wait_line(r"child ([0-9]+)").group(1))
        try:
            assert refusal_of(path).code == "log_in_use"
            parent.stop(signal.SIGKILL)
            LogFile(os.fspath(path)).close()
        finally:
            os.kill(child, signal.SIGKILL)


@forks
def test_a_child_opens_no_log_that_was_open_when_it_forked(path: Path) -> None:
    with Process([sys.executable, "-c", OPENS_AGAIN, path, path.with_name("own.db")]) as parent:
        parent.wait_line("opened after a clean stop")
        assert "refused: log_in_use" in parent.output
        assert parent.output.count("opened\n") == 1


def test_a_start_that_fails_leaves_no_lock(path: Path) -> None:
    shutil.copy(__file__, path)
    link = path.with_name("link.db")
    os.link(path, link)
    for name in (path, link, path):
        with pytest.raises(StartRefused) as refusal:
            LogFile(os.fspath(name))
        assert refusal.value.code == "log_damaged"
