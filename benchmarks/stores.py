"""
The servers in which nodes share a log: a Redis and a PostgreSQL of our own, in a folder that goes with them.

Both write each commit to the disk before they answer, as they have to for receipts that say `disk`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.process import START_TIMEOUT, free_port, take_all_cores

# PostgreSQL refuses to run as root. This user owns nothing.
NOBODY = 65534
AS_NOBODY: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}


@dataclass(frozen=True)
class Store:
    name: str
    package: str
    """What Tidewire and the bare loop reach it with."""
    program: Callable[[], str | None]
    missing: str
    serve: Callable[[str, Path, int], Sequence[str]]
    """Return the command of a server: its program, an empty folder, a port."""
    url: str
    answers: Callable[[str], object]
    """Ask the server of that URL something. Raises an error of the driver if it does not answer."""
    batch: int
    """Events of a streaming ingest that a node stores together: about as many as are in 64 KiB of a body."""

    @property
    def why_not(self) -> str:
        """Why it cannot be measured here; empty if it can."""
        if find_spec(self.package) is None:
            return f"{self.package} is not installed"
        return "" if self.program() else self.missing

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run a server; yield its URL."""
        program = self.program()
        assert program
        with tempfile.TemporaryDirectory(prefix="tidewire-bench-") as folder:
            if AS_NOBODY:
                os.chown(folder, NOBODY, NOBODY)
            port = free_port()
            url = self.url.format(port=port)
            with open(Path(folder) / "log", "wb") as log:
                process = subprocess.Popen(
                    self.serve(program, Path(folder), port),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=take_all_cores,
                    **AS_NOBODY,
                )
            try:
                self._wait(process, url, Path(folder))
                yield url
            finally:
                # PostgreSQL ends its sessions first.
                process.send_signal(2)
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.answers(url)
                return
            except Exception:
                if process.poll() is not None or time.monotonic() > deadline:
                    text = (folder / "log").read_text("utf-8", "replace")
                    raise RuntimeError(f"{self.name} did not start:\n{text}") from None
                time.sleep(0.05)


def redis_program() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def redis_command(program: str, folder: Path, port: int) -> list[str]:
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
    }
    return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]


def redis_answers(url: str) -> object:
    import redis

    return redis.Redis.from_url(url).ping()


def postgres_program() -> str | None:
    """Return the newest one that Debian has installed, or the one on the PATH."""
    found = {int(path.parts[-3]): path for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin/postgres")}
    return str(found[max(found)]) if found else shutil.which("postgres")


def postgres_command(program: str, folder: Path, port: int) -> list[str]:
    data = folder / "data"
    initdb = [Path(program).with_name("initdb"), "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8"]
    subprocess.run(initdb, cwd=folder, stdout=subprocess.DEVNULL, check=True, **AS_NOBODY)
    return [program, "-D", str(data), "-k", str(folder), "-h", "127.0.0.1", "-p", str(port)]


def postgres_answers(url: str) -> object:
    import psycopg

    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1")


REDIS = Store(
    "Redis",
    "redis",
    redis_program,
    "redis-server is not installed",
    redis_command,
    "redis://127.0.0.1:{port}/0",
    redis_answers,
    500,
)
POSTGRES = Store(
    "PostgreSQL",
    "psycopg",
    postgres_program,
    "postgresql is not installed",
    postgres_command,
    "postgresql://bench@127.0.0.1:{port}/postgres",
    postgres_answers,
    500,
)
STORES = [REDIS, POSTGRES]
