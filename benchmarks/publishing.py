"""
Publishing to a log on disk: how fast events are acknowledged, compared with what the parts alone can do.

The publishers are one process on one epoll. Each connection sends its next event once the last one is
acknowledged; an answer that does not say `disk` aborts the measurement.
"""

from __future__ import annotations

import json
import select
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.load import DATA, MARK, PATH, TIMEOUT, Late, Load, Lost, head, one
from benchmarks.process import Server

ACKED = b'"durability":"disk"'
# Seconds between two events whose way from one process to another is measured.
HOP_EVERY = 0.02


def acked_singly(server: Server, connections: int, seconds: float) -> float:
    """Return the events per second that are acknowledged on `connections`, one at a time on each."""
    request = one(server.port)
    return answers(server.port, request, connections, seconds, ACKED)


def answered(server: Server, connections: int, seconds: float) -> float:
    """Return the answers per second to requests without a body."""
    request = head("POST", PATH, server.port, "Content-Length: 0\r\n")
    return answers(server.port, request, connections, seconds, b"HTTP/1.1 200")


def answers(port: int, request: bytes, connections: int, seconds: float, wanted: bytes) -> float:
    poll = select.epoll()
    sockets = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
        sock.sendall(request)
    try:
        # A short run first warms the caches.
        exchange(poll, sockets, request, wanted, seconds / 8)
        start = time.monotonic()
        count = exchange(poll, sockets, request, wanted, seconds)
        return count / (time.monotonic() - start)
    finally:
        for sock in sockets.values():
            sock.close()
        poll.close()


def exchange(
    poll: select.epoll, sockets: dict[int, socket.socket], request: bytes, wanted: bytes, seconds: float
) -> int:
    """Send the next request after each answer, for `seconds`; return how many answers came."""
    count = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for fd, _ in poll.poll(1.0):
            sock = sockets[fd]
            answer = sock.recv(65536)
            if wanted not in answer:  # some servers write head and body separately
                answer += sock.recv(65536)
            if wanted not in answer:
                raise Lost(f"not acknowledged: {answer[:300]!r}")
            count += 1
            sock.send(request)
    return count


def acked_in_one_body(server: Server, events: int, topic: str = "bench") -> float:
    """Return the events per second that are acknowledged to one streaming ingest."""
    line = json.dumps({"topic": topic, "data": DATA.decode()}).encode() + b"\n"
    body = memoryview(line * events)
    kind = f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as sock:
        start = time.monotonic()
        sock.sendall(head("POST", "/events", server.port, kind))
        sender = threading.Thread(target=sock.sendall, args=(body,))
        sender.start()
        receipts = b"".join(iter(lambda: sock.recv(65536), b""))
        sender.join()
    seconds = time.monotonic() - start
    if f'"lines":[1,{events}]'.encode() not in receipts and f",{events}]".encode() not in receipts:
        raise Lost(f"not everything was acknowledged: {receipts[-300:]!r}")
    if ACKED not in receipts:
        raise Lost("acknowledged, but not from disk")
    return events / seconds


def bare_sqlite(batch: int, seconds: float) -> float:
    """Return the events per second of a loop that only commits batches of this size to SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE entries (offset INTEGER PRIMARY KEY, topic TEXT, time REAL, data TEXT)")
        data = DATA.decode()
        offset, start = 0, time.monotonic()
        while time.monotonic() - start < seconds:
            rows = [(offset + number, "bench", start, data) for number in range(1, batch + 1)]
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
            db.execute("COMMIT")
            offset += batch
        rate = offset / (time.monotonic() - start)
        db.close()
        return rate


class Resume:
    """One reader that reads the whole log, in its own thread."""

    def __init__(self, port: int, topic: str, events: int) -> None:
        self._request = head("GET", f"/events/{topic}?since=start", port, "Accept: text/event-stream\r\n")
        self._port = port
        self._events = events
        self.seconds = 0.0
        self.failure = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        buffer = bytearray(1 << 20)
        seen, start = 0, time.monotonic()
        with socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT) as sock:
            sock.sendall(self._request)
            while seen < self._events:
                size = sock.recv_into(buffer)
                if not size:
                    self.failure = f"the stream ended after {seen} of {self._events} events"
                    return
                seen += buffer.count(MARK, 0, size)
        self.seconds = time.monotonic() - start

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def rate(self) -> float:
        """Return its events per second. Raises `Lost` if it did not get all events."""
        self._thread.join(TIMEOUT)
        if self.failure or not self.seconds:
            raise Lost(self.failure or "the reader has not finished")
        return self._events / self.seconds


def delays(load: Load, until_done: Resume | None, count: int, every: float) -> list[float]:
    """
    Publish an event every `every` seconds; return how long each took to reach every subscriber.

    At least `count` events, and more while `until_done` runs.
    """
    found: list[float] = []
    request = one(load.port)
    while len(found) < count or (until_done is not None and until_done.running):
        load.reset()
        start = time.monotonic()
        load.publish(request)
        try:
            load.wait(1, timeout=30)
        except Late:
            found.append(30.0)
            continue
        found.append(time.monotonic() - start)
        time.sleep(max(0.0, every - found[-1]))
        if until_done is not None and not until_done.running:
            break
    return found


class Hop(NamedTuple):
    """When one event was sent to a process, acknowledged by it, and delivered by another one."""

    sent: float
    acked: float
    delivered: float


def hops(here: int, there: int, count: int) -> list[Hop]:
    """Publish at the port `here`, one event at a time, to a subscriber at the port `there`."""
    with (
        socket.create_connection(("127.0.0.1", there), timeout=TIMEOUT) as stream,
        socket.create_connection(("127.0.0.1", here), timeout=TIMEOUT) as publisher,
    ):
        publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(head("GET", PATH, there, "Accept: text/event-stream\r\n"))
        if b" 200 " not in stream.recv(65536):
            raise Lost("no stream")
        time.sleep(0.5)
        found = []
        for _ in range(count):
            sent, acked, delivered = time.perf_counter(), 0.0, 0.0
            publisher.sendall(one(here))
            while not (acked and delivered):
                for ready in select.select([stream, publisher], [], [], TIMEOUT)[0]:
                    data = ready.recv(65536)
                    if not data:
                        raise Lost("a process closed a connection")
                    if ready is stream and MARK in data:
                        delivered = time.perf_counter()
                    elif ready is publisher and ACKED in data:
                        acked = time.perf_counter()
            found.append(Hop(sent, acked, delivered))
            time.sleep(HOP_EVERY)
        return found


def in_ms(found: Sequence[float]) -> str:
    return f"p50 {median(found) * 1e3:.3g} ms, p99 {p99(found) * 1e3:.3g} ms"


def p99(values: Sequence[float]) -> float:
    return sorted(values)[max(0, round(len(values) * 0.99) - 1)]
