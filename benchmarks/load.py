"""
The load side: thousands of subscribers and one publisher in one process, on one epoll.

The data of every event ends with MARK, a byte that occurs nowhere else in a stream, so counting
deliveries is counting one byte: a packet border cannot cut it in two, and a delivery that is counted
has arrived. `wait` returns once every subscriber has every event, and fails if one has too many.
"""

from __future__ import annotations

import errno
import json
import re
import resource
import select
import socket
import struct
import time
from collections.abc import Callable

MARK = b"~"
STATUS = re.compile(rb"HTTP/1\.1 (\d)")
DATA = (b"0123456789" * 10)[:99] + MARK
PATH = "/events/bench"
TIMEOUT = 120.0
# One source address has about 28,000 ports, which 10,000 subscribers and the lingering
# ports of the previous run would nearly fill.
PER_ADDRESS = 4000
# Not yet in Python's socket module: choose the port at connect, when the
# destination is known, so that one port can serve several destinations.
IP_BIND_ADDRESS_NO_PORT = 24
# Close with a reset: 10,000 closed connections leave no TIME_WAIT behind.
RESET = struct.pack("ii", 1, 0)


class Lost(Exception):
    """The server closed a stream, refused a publish, or delivered too little or too much."""


class Late(Lost):
    """Deliveries or answers were missing when the time was up."""


class Load:
    """Subscribers and a publisher of one server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.epoll = select.epoll()
        self.buffer = bytearray(1 << 18)
        self.sockets: dict[int, socket.socket] = {}
        self.readers: dict[int, Callable[[bytearray], int]] = {}
        self.counts: dict[int, int] = {}
        self.total = 0
        self.path: Callable[[int], str] = lambda number: PATH
        self.requested = 0
        self.publisher: socket.socket | None = None
        self.answers = 0
        self.answer_tail = b""

    def connect(self, count: int, last_event_id: str = "", at_once: int = 500) -> None:
        """
        Open `count` more subscriptions, `at_once` of them connecting at a time.

        `path` says what each of them asks for, by its number.
        """
        extra = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        self.fields = f"Accept: text/event-stream\r\n{extra}"
        wanted = len(self.sockets) + count
        deadline = time.monotonic() + TIMEOUT
        while len(self.counts) < wanted:
            while len(self.sockets) < wanted and len(self.sockets) - len(self.counts) < at_once:
                self.begin()
            self.pump(deadline)

    def begin(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.bind((f"127.0.0.{2 + len(self.sockets) // PER_ADDRESS}", 0))
        error = sock.connect_ex(("127.0.0.1", self.port))
        if error not in (0, errno.EINPROGRESS):
            raise Lost(f"connect: {errno.errorcode[error]}")
        self.sockets[sock.fileno()] = sock
        self.epoll.register(sock.fileno(), select.EPOLLOUT)

    def connected(self, fd: int) -> None:
        sock = self.sockets[fd]
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise Lost(f"connect: {errno.errorcode[error]}")
        sock.send(head("GET", self.path(len(self.counts)), self.port, self.fields))
        self.counts[fd] = 0
        self.readers[fd] = sock.recv_into
        self.epoll.modify(fd, select.EPOLLIN)

    def pump(self, deadline: float, wait: float = 1.0) -> bool:
        """Read what is there and count it; return whether there was anything."""
        ready = self.epoll.poll(wait, 4096)
        if not ready and time.monotonic() > deadline:
            raise Late(f"{self.total} deliveries and {self.answers} answers when the time was up")
        buffer, counts, readers = self.buffer, self.counts, self.readers
        count = buffer.count
        for fd, _ in ready:
            read = readers.get(fd)
            if read is None:
                self.other(fd)
                continue
            size = read(buffer)
            if not size:
                raise Lost("the server closed a stream")
            if marks := count(MARK, 0, size):
                counts[fd] += marks
                self.total += marks
        return bool(ready)

    def other(self, fd: int) -> None:
        if self.publisher and fd == self.publisher.fileno():
            self.answered(self.publisher)
        else:
            self.connected(fd)

    def answered(self, publisher: socket.socket) -> None:
        data = publisher.recv(1 << 18)
        if not data:
            publisher.close()
            self.publisher = None
            return
        text = self.answer_tail + data
        statuses = STATUS.findall(text)
        if any(status != b"2" for status in statuses):
            raise Lost(f"a publish was refused: {text[:500]!r}")
        self.answers += len(statuses)
        # One byte shorter than a match, so that no answer is counted twice.
        self.answer_tail = text[-9:]

    def publish(self, request: bytes, answers: int = 1) -> None:
        """Send one or more publish requests; `wait` then also waits for their `answers`."""
        if self.publisher is None:
            self.publisher = socket.create_connection(("127.0.0.1", self.port))
            self.publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.epoll.register(self.publisher.fileno(), select.EPOLLIN)
        self.requested += answers
        self.publisher.sendall(request)

    def wait(self, each: int, timeout: float = TIMEOUT) -> None:
        """Return once every subscriber has had exactly `each` events since the last `reset`."""
        deadline = time.monotonic() + timeout
        wanted = each * len(self.counts)
        while self.total < wanted or self.answers < self.requested:
            self.pump(deadline)
        if any(count != each for count in self.counts.values()):
            raise Lost("some subscribers have too few events, others too many")

    def reset(self) -> None:
        self.counts = dict.fromkeys(self.counts, 0)
        self.total = self.answers = self.requested = 0

    def settle(self) -> None:
        """Return once everyone is subscribed: some servers answer before they subscribe the client."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            while self.pump(deadline, wait=0.05):
                pass
            self.reset()
            self.publish(one(self.port))
            try:
                self.wait(1, timeout=2.0)
            except Late:
                if time.monotonic() > deadline:
                    raise
                continue
            self.reset()
            return

    def position(self) -> str:
        """Publish one event, and return the id that a subscriber gets with it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as sock:
            sock.sendall(head("GET", PATH, self.port, "Accept: text/event-stream\r\n"))
            seen = sock.recv(65536)
            self.publish(one(self.port))
            while MARK not in seen:
                seen += sock.recv(65536)
        self.wait(1)
        self.reset()
        return seen[: seen.index(MARK)].rpartition(b"id: ")[2].split(b"\n", 1)[0].decode()

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()
        if self.publisher:
            self.publisher.close()
        self.epoll.close()


def head(method: str, path: str, port: int, extra: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{extra}\r\n".encode()


def one(port: int) -> bytes:
    """Return a request that publishes one event."""
    return head("POST", PATH, port, f"Content-Length: {len(DATA)}\r\n") + DATA


def ndjson(port: int, lines: int) -> bytes:
    """Return one request that publishes `lines` events."""
    line = json.dumps({"topic": "bench", "data": DATA.decode()}).encode() + b"\n"
    kind = f"Content-Type: application/x-ndjson\r\nContent-Length: {len(line) * lines}\r\n"
    return head("POST", "/events", port, kind) + line * lines


def batch(port: int, events: int) -> bytes:
    """Return one request that publishes an atomic batch of `events` events."""
    body = json.dumps([{"topic": "bench", "data": DATA.decode()}] * events).encode()
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head("POST", "/events", port, kind) + body


def raise_file_limit() -> int:
    """Let this process (and the servers it starts) open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
