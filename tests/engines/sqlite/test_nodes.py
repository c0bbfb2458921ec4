"""The folder of nodes: what its processes do by turns."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sqlite_log import Log, size_of
from tidewire.engines.sqlite import writer
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
