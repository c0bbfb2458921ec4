"""
Streams and publishers on plain sockets, in one thread on one epoll: for latencies, which threads in
one interpreter would distort, and for streams that behave as none of our clients does.

A hub under this load has one topic, so an event's number is its offset: the next event of a stream
must have the next offset, and no list of events has to be kept.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from faults.scenario import Bar, exactly
from faults.wire import Chunked, Got, Malformed, Strict

Address = tuple[str, int]

TOPIC = "load"
TIMEOUT = 10.0
HEAD = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [A-Za-z ]+\r\n(?:[!-9;-~]+: [^\r\n]*\r\n)+")
NOT_NOW = (429, 503)
UNAUTHORIZED = 401
ACK = re.compile(rb'"id":"([A-Za-z0-9.]+)"')
# Seconds until a publisher that waits for answers checks again.
STEP = 0.001
# The hub accepts 256 on one connection.
PIPELINED = 128
# Bytes of a pipelined answer that may be left for the next read.
LONGEST_ACK = 2048


class RawStream:
    """
    One stream and what arrived on it.

    `at` is the offset through which it has everything, None until the stream says where it starts.
    `skipped` are the offsets that are missing without a gap, `repeats` counts events that came again; `told`
    says that a `hub.auth` came, and `after_auth` counts what came after it.
    """

    def __init__(self, sock: socket.socket, last_event_id: str = "") -> None:
        self.sock = sock
        self.at = offset_of(last_event_id) if last_event_id else None
        self.skipped: list[int] = []
        self.events = self.repeats = self.gaps = self.bytes = self.after_auth = 0
        self.told = False
        self.status = 0
        self.opened_at = self.ended_at = 0.0
        self.refused = False
        self.malformed = ""
        self.begun = time.monotonic()
        self.latencies: list[float] | None = None
        self._head = b""
        self._chunked, self._reader = Chunked(), Strict(last_event_id)

    @property
    def holes(self) -> int:
        return len(self.skipped)

    @property
    def is_open(self) -> bool:
        """Whether its head has arrived and it has not ended."""
        return bool(self.opened_at) and not self.ended_at

    @property
    def last_event_id(self) -> str:
        return self._reader.last_event_id

    def receive(self) -> None:
        """Read what is there; a reset ends the stream like any other end."""
        try:
            data = self.sock.recv(1 << 17)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = time.monotonic()
        if not data:
            self.ended_at = now
            return
        self.bytes += len(data)
        try:
            for got in self._reader.feed(self._chunked.feed(self._body(data, now))):
                self._take(got, now)
        except Malformed as error:
            self.malformed = str(error)
        if self._chunked.ended:
            self.ended_at = now

    def _body(self, data: bytes, now: float) -> bytes:
        if self.opened_at:
            return data
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return b""
        self._check_head(head + b"\r\n", now)
        return b"" if self.refused else body

    def _check_head(self, head: bytes, now: float) -> None:
        found, fields = HEAD.fullmatch(head), head.lower()
        self.status = int(found[1]) if found else 0
        if self.status == UNAUTHORIZED or (self.status in NOT_NOW and b"\r\nretry-after: " in fields):
            self.refused, self.ended_at = True, now
        elif found and found[1] == b"200" and b"\r\ntransfer-encoding: chunked\r\n" in fields:
            self.opened_at = now
        else:
            raise Malformed(f"not the head of a stream: {head[:200]!r}")

    def _take(self, got: Got, now: float) -> None:
        self.after_auth += self.told
        if got.event == "hub.auth":
            self.told = True
            return
        offset = offset_of(got.id)
        if got.event.startswith("hub."):
            self.gaps += got.event == "hub.gap"
            self.at = offset
            return
        if self.at is None:
            raise Malformed("an event came before the stream said where it starts")
        self.events += 1
        if offset != self.at + 1:
            self.skipped += range(self.at + 1, offset)
            self.repeats += offset <= self.at
        self.at = offset
        if self.latencies is not None:
            self.latencies.append(now - float(got.data.partition(" ")[0]))


class Sink:
    """A stream that is read but not parsed: many of these cost little."""

    buffer = bytearray(1 << 17)

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.bytes = 0
        self.ended_at = 0.0

    def receive(self) -> None:
        try:
            size = self.sock.recv_into(self.buffer)
        except OSError:
            size = 0
        self.bytes += size
        if not size:
            self.ended_at = time.monotonic()


class Awaited(Sink):
    """A stream that is read until `mark` has arrived `times` times: after `seconds`, None before."""

    def __init__(self, sock: socket.socket, begun: float, mark: bytes, times: int = 1) -> None:
        super().__init__(sock)
        self.seconds: float | None = None
        self.left = times
        self._begun, self._mark = begun, mark
        self._rest = b""

    def receive(self) -> None:
        try:
            data = self.sock.recv(1 << 17)
        except OSError:
            data = b""
        self.bytes += len(data)
        if not data:
            self.ended_at = time.monotonic()
        text = self._rest + data
        self.left -= text.count(self._mark)
        # One byte shorter than the mark, so that none is counted twice.
        self._rest = text[max(0, len(text) - len(self._mark) + 1) :]
        if self.left <= 0 and self.seconds is None:
            self.seconds = time.monotonic() - self._begun


class Steady:
    """Publishes at a steady rate on one connection, without waiting for the answers."""

    def __init__(self, address: Address, rate: float, size: int, waiting: int) -> None:
        self.interval = 1 / rate
        self.waiting = waiting
        self.sent = 0
        self.acks: list[str] = []
        self._head = f"POST /events/{TOPIC} HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: {size}\r\n\r\n"
        self._size = size
        self._rest = b""
        self.sock = socket.create_connection(address, TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = time.monotonic()

    def send(self) -> None:
        """Send what is due by now, unless too many answers are outstanding."""
        requests: list[str] = []
        now = time.monotonic()
        while self.due <= now and self.sent + len(requests) < len(self.acks) + self.waiting:
            # The time at which it was due: an event that had to wait for an answer is late, and shows it.
            requests.append(self._head + f"{self.due:.6f} ".ljust(self._size, "x"))
            self.due += self.interval
        self.sent += len(requests)
        self.sock.sendall("".join(requests).encode())

    def receive(self) -> None:
        """Read answers; all must be receipts."""
        data = self.sock.recv(1 << 16)
        if not data:
            raise RuntimeError("the hub closed the publisher's connection")
        text = self._rest + data
        found = list(ACK.finditer(text))
        self.acks += [match[1].decode() for match in found]
        self._rest = text[found[-1].end() :] if found else text
        if len(self._rest) > LONGEST_ACK:
            raise RuntimeError(f"a publish was refused: {self._rest[:500]!r}")


Reads = RawStream | Sink | Steady


class Load:
    """
    The streams of one hub and its publishers; everything happens within `run`.

    `streams` are those that are read. The caller keeps those that are only open.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.streams: list[RawStream] = []
        self.publishers: list[Steady] = []
        self._epoll = select.epoll()
        self._by_fd: dict[int, Reads] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.silence()
        for one in list(self._by_fd.values()):
            self._forget(one)
        self._epoll.close()

    def open(
        self, count: int = 1, last_event_id: str = "", address: Address | None = None, token: str = ""
    ) -> list[RawStream]:
        """Request more streams; their answers arrive within `run`."""
        at = address or self.address
        new = [
            RawStream(ask(at, last_event_id=last_event_id, token=token), last_event_id) for _ in range(count)
        ]
        for stream in new:
            self._watch(stream)
        self.streams += new
        return new

    def sink(self, count: int) -> list[Sink]:
        """Request streams that are only read."""
        new = [Sink(ask(self.address)) for _ in range(count)]
        for sink in new:
            self._watch(sink)
        return new

    def watch(self, sinks: Iterable[Sink]) -> None:
        """Read streams that the caller has requested."""
        for sink in sinks:
            self._watch(sink)

    def drop(self, sinks: Iterable[Sink]) -> None:
        """Close streams that are only read."""
        for sink in sinks:
            self._forget(sink)

    def publish(self, rate: float, size: int, waiting: int = PIPELINED) -> Steady:
        """
        Start to publish `rate` more events per second, each of `size` bytes.

        `waiting`: how many answers may be outstanding.
        """
        steady = Steady(self.address, rate, size, waiting)
        self.publishers.append(steady)
        self._watch(steady)
        return steady

    def silence(self) -> None:
        """Stop publishing."""
        for steady in self.publishers:
            self._forget(steady)
        self.publishers.clear()

    def close(self, streams: Iterable[RawStream]) -> None:
        """Close streams and forget them."""
        for stream in list(streams):
            self._forget(stream)
            self.streams.remove(stream)

    def run(self, seconds: float, until: Callable[[], object] = lambda: False) -> bool:
        """Publish and read for `seconds`, or until `until()` is true; return whether it is."""
        end = time.monotonic() + seconds
        while not (done := bool(until())) and (now := time.monotonic()) < end:
            due = min((steady.due for steady in self.publishers), default=end)
            wait = min(end - now, max(due - now, STEP), 0.1)
            for fd, _ in self._epoll.poll(wait, 1024):
                if (one := self._by_fd.get(fd)) is not None:
                    self._receive(one)
            for steady in self.publishers:
                steady.send()
        return done

    def settle(self, seconds: float = TIMEOUT) -> bool:
        """Stop publishing, and wait until all acks are here and every open stream has the last event."""
        for steady in self.publishers:
            steady.due = float("inf")
        return self.run(seconds, self._has_all)

    def _has_all(self) -> bool:
        acks = [offset_of(steady.acks[-1]) for steady in self.publishers if steady.acks]
        return all(len(steady.acks) == steady.sent for steady in self.publishers) and all(
            stream.at == max(acks, default=0) for stream in self.streams if stream.is_open
        )

    def _receive(self, one: Reads) -> None:
        one.receive()
        if not isinstance(one, Steady) and (one.ended_at or (isinstance(one, RawStream) and one.malformed)):
            self._forget(one)

    def _watch(self, one: Reads) -> None:
        one.sock.setblocking(isinstance(one, Steady))
        self._by_fd[one.sock.fileno()] = one
        self._epoll.register(one.sock.fileno(), select.EPOLLIN)

    def _forget(self, one: Reads) -> None:
        if one.sock.fileno() >= 0:
            del self._by_fd[one.sock.fileno()]
            with contextlib.suppress(FileNotFoundError):
                self._epoll.unregister(one.sock.fileno())
            one.sock.close()


def ask(
    address: Address,
    buffer: int = 0,
    last_event_id: str = "",
    what: str = TOPIC,
    source: str = "",
    token: str = "",
) -> socket.socket:
    """
    Return a socket that has requested a stream and read nothing.

    `buffer`: the size of its receive buffer in bytes, 0 for the kernel's choice. `what`: a topic, and
    perhaps a query. `source`: the address to ask from.
    """
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(TIMEOUT)
    if source:
        sock.bind((source, 0))
    sock.connect(address)
    path = f"/events{what}" if what.startswith("?") else f"/events/{what}"
    lines = [f"GET {path} HTTP/1.1", f"Host: {address[0]}", "Tidewire-Client: faults"]
    if last_event_id:
        lines.append(f"Last-Event-ID: {last_event_id}")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    return sock


def offset_of(position: str) -> int:
    return int(position.split(".")[1])


def ended(streams: Iterable[RawStream | Sink]) -> int:
    """Return how many of the streams have ended."""
    return sum(stream.ended_at > 0 for stream in streams)


def lost(streams: Iterable[RawStream], acks: Iterable[str]) -> int:
    """Return how many acked events are missing, where other entries have offsets, too."""
    acked = {offset_of(ack) for ack in acks}
    return sum(offset in acked for stream in streams for offset in stream.skipped)


def stream_bars(streams: Iterable[RawStream]) -> list[Bar]:
    """Return the bars that all streams together must meet."""
    streams = list(streams)
    malformed = [stream.malformed for stream in streams if stream.malformed]
    return [
        exactly("holes", sum(stream.holes for stream in streams), 0),
        exactly("repeats", sum(stream.repeats for stream in streams), 0),
        exactly("malformed", malformed[0] if malformed else 0, 0),
    ]
