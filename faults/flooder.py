"""
Floods a hub from one address, as a process of its own: python -m faults.flooder PORT CONNECTIONS

It keeps that many connections open, and makes a new one for each that the hub closes. Four times a second it
prints how many are open, the most that were, how many were made, and the bytes that were sent.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

# Loopback is counted once a limit is set.
SOURCE = "127.0.0.66"
# Of 100 connections: 80 send a head byte by byte, 18 ask for a stream, 2 send a body without end.
ROLES = "h" * 80 + "s" * 18 + "b" * 2
BYTE_EVERY = 5.0
NEW_PER_SECOND = 500
# 25 MiB a second in all.
CHUNKS_PER_SECOND = 400
STEP = 0.02
REPORT_EVERY = 0.25

FIRST = {
    "h": b"GET /events/flood HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "s": b"GET /events/flood HTTP/1.1\r\nHost: localhost\r\nTidewire-Client: flood\r\n\r\n",
    "b": b"POST /events/flood HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
}
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


class Counts(NamedTuple):
    open: int = 0
    most: int = 0
    made: int = 0
    sent: int = 0


class Flooder:
    """The process; `folder` is for what it prints."""

    def __init__(self, port: int, connections: int, folder: Path) -> None:
        self._file = folder / "flooder.txt"
        self._command = [sys.executable, "-m", "faults.flooder", str(port), str(connections)]

    def __enter__(self) -> Self:
        with self._file.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=output)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def counts(self) -> Counts:
        lines = [line.split() for line in self._file.read_text().splitlines()]
        whole = [line for line in lines if len(line) == len(Counts._fields)]
        return Counts(*map(int, whole[-1])) if whole else Counts()


class Flood:
    """The connections, by what each sends."""

    def __init__(self, port: int, connections: int) -> None:
        self._port, self._wanted = port, connections
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, str]] = {}
        self._chunks = 0.0
        self._slow_at = 0.0
        self._most = self._made = self._sent = 0

    def run(self) -> None:
        parent, report_at, before = os.getppid(), 0.0, time.monotonic()
        while os.getppid() == parent:
            now = time.monotonic()
            passed, before = now - before, now
            for _ in range(min(int(passed * NEW_PER_SECOND) + 1, self._wanted - len(self._open))):
                self._connect()
            self._send(now, passed)
            for fd, _ in self._epoll.poll(STEP, 4096):
                self._receive(fd)
            if now > report_at:
                report_at = now + REPORT_EVERY
                self._most = max(self._most, len(self._open))
                print(len(self._open), self._most, self._made, self._sent, flush=True)

    def _connect(self) -> None:
        sock = socket.socket()
        try:
            sock.bind((SOURCE, 0))
            sock.settimeout(STEP)
            sock.connect(("127.0.0.1", self._port))
            role = ROLES[self._made % len(ROLES)]
            sock.send(FIRST[role])
        except OSError:  # the hub's backlog is full
            sock.close()
            return
        sock.setblocking(False)
        self._made += 1
        self._open[sock.fileno()] = sock, role
        self._epoll.register(sock, select.EPOLLIN)

    def _send(self, now: float, passed: float) -> None:
        if now > self._slow_at:
            self._slow_at = now + BYTE_EVERY
            self._send_to("h", b"x", len(self._open))
        self._chunks = min(self._chunks + passed * CHUNKS_PER_SECOND, CHUNKS_PER_SECOND / 4)
        self._chunks -= self._send_to("b", CHUNK, int(self._chunks))

    def _send_to(self, wanted: str, data: bytes, most: int) -> int:
        """Send `data` to up to `most` connections of a role; return how many took it."""
        count = 0
        for fd, (sock, role) in list(self._open.items()):
            if role == wanted and count < most:
                try:
                    self._sent += sock.send(data)
                    count += 1
                except BlockingIOError:
                    pass
                except OSError:
                    self._forget(fd)
        return count

    def _receive(self, fd: int) -> None:
        sock, _ = self._open[fd]
        with contextlib.suppress(BlockingIOError):
            try:
                if sock.recv(1 << 16):
                    return
            except ConnectionError:
                pass
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        sock, _ = self._open.pop(fd)
        sock.close()  # epoll forgets it


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Flood(int(sys.argv[1]), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
