"""Readers that do not read: F8 (G11 and G12)."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Sequence

from faults.load import Load, RawStream, ask, ended, stream_bars
from faults.netns import peers
from faults.outcome import MIB, percentile
from faults.scenario import Bar, Context, Fault, Result, at_most, exactly
from faults.served import Served

KIB = 1024
READERS = 250
# This many of them check every byte and measure latency; the rest only read.
STRICT = 25
STUCK = 250
# Others read a little four times a second: (size of the receive buffer, 0 for the kernel's choice; bytes
# per read). Fewer bytes from a large buffer would be acknowledged only after more than 30 s.
SLOW = [(4 * KIB, 256), (4 * KIB, 1024), (4 * KIB, 4096), (16 * KIB, 256), (16 * KIB, 1024)]
SLOW += [(16 * KIB, 4096), (64 * KIB, 1024), (64 * KIB, 4096), (0, 4096), (0, 16384)]
RATE = 200.0
SIZE = 1024
# Entries kept. The log is filled before anything is measured, so that memory does not grow with it.
KEPT = 2000
FILL_RATE = 2000.0
BASELINE = 10.0
TIMEOUT = 15.0
# Streams that are never read are ended within 33 s of their last byte. Slow readers are tried for longer.
LONGEST = 50.0
LOOK_EVERY = 0.25
SMALLEST_BUFFER = 256
# Promise G11, in KiB.
ALLOWED = 256
# The same test with small events, which fill the buffers by many writes.
SMALL, SMALL_RATE, SMALL_STUCK, SMALL_SECONDS = 24, 1000.0, 100, 10.0
OPTIONS = ("--window-entries", f"{KEPT}", "--retention-entries", f"{KEPT}")


class Stuck:
    """
    A connection whose client never reads.

    `took_at`: when it was last seen to receive a byte, that is, when its socket had more unread bytes than
    before; `ended_at`: when the hub had cut it off, which the kernel may not report to the client.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.took_at = time.monotonic()
        self.ended_at = 0.0
        self._unread = 0

    def look(self, gone: bool, now: float) -> None:
        if gone:
            self.ended_at = self.ended_at or now
        elif (unread := unread_bytes(self.sock)) != self._unread:
            self._unread, self.took_at = unread, now


def unread_bytes(sock: socket.socket) -> int:
    answer = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
    return int(struct.unpack("i", answer)[0])


class StuckStreams:
    """Many stuck streams, checked now and then."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.all = {"{}:{}".format(*sock.getsockname()): Stuck(sock) for sock in sockets}
        self._port: int = sockets[0].getpeername()[1]

    def look(self) -> None:
        there, now = set(peers(self._port)), time.monotonic()
        for name, one in self.all.items():
            one.look(name not in there, now)

    def longest(self) -> float:
        """Return the longest time that one of them lived after its last byte."""
        return max((one.ended_at or time.monotonic()) - one.took_at for one in self.all.values()) + LOOK_EVERY


class SlowReader:
    """A connection whose client reads only a little at a time, however much there is."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        sock.setblocking(False)
        self.sock, self.size = sock, size
        self.ended = False

    def read_a_little(self) -> None:
        try:
            self.ended = self.ended or not self.sock.recv(self.size)
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True


def never_read(context: Context) -> Result:
    """F8: half of the streams are never read from."""
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(Served(context.folder, "memory", *OPTIONS))
        load = stack.enter_context(Load((hub.host, hub.port)))
        fill(load, SIZE)
        steady = load.publish(RATE, SIZE)
        readers, others = load.open(STRICT), load.sink(READERS - STRICT)
        load.run(TIMEOUT, lambda: all(reader.events for reader in readers))
        baseline = latencies(load, readers, BASELINE)
        before, descriptors = hub.memory(), hub.descriptors()
        stuck = StuckStreams([stack.enter_context(ask(load.address)) for _ in range(STUCK)])
        slow = [SlowReader(stack.enter_context(ask(load.address, buffer)), size) for buffer, size in SLOW]
        most, end = 0, time.monotonic() + LONGEST
        meanwhile: list[float] = []
        while time.monotonic() < end:
            meanwhile += latencies(load, readers, LOOK_EVERY)
            most = max(most, hub.memory())
            stuck.look()
            for reader in slow:
                reader.read_a_little()
        left, ended_after = hub.descriptors() - descriptors - len(SLOW), stuck.longest()
        load.settle()
        return Result(
            happened=STUCK,
            unit="streams never read",
            acked=len(steady.acks),
            figures=[f"memory before {before / MIB:.0f} MiB"],
            bars=[
                at_most("memory per stuck stream", (most - before) / STUCK / KIB, ALLOWED, "KiB"),
                at_most("the same with small events", memory_with_small_events(context), ALLOWED, "KiB"),
                at_most("ended after", ended_after, 33.0),
                exactly("descriptors not freed", max(0, left), 0),
                exactly("slow readers ended", sum(reader.ended for reader in slow), 0),
                latency_bar(baseline, meanwhile),
                *stream_bars(readers),
                exactly("other streams ended", ended(readers) + ended(others), 0),
            ],
        )


def memory_with_small_events(context: Context) -> float:
    """Return the memory per stuck stream in KiB if many small writes fill it."""
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(Served(context.folder, "memory", *OPTIONS))
        load = stack.enter_context(Load((hub.host, hub.port)))
        fill(load, SMALL)
        load.publish(SMALL_RATE, SMALL)
        load.run(2.0)
        before = hub.memory()
        for _ in range(SMALL_STUCK):
            stack.enter_context(ask(load.address, SMALLEST_BUFFER))
        load.run(SMALL_SECONDS)
        return (hub.memory() - before) / SMALL_STUCK / KIB


def fill(load: Load, size: int) -> None:
    """Publish until the log is full."""
    steady = load.publish(FILL_RATE, size)
    load.run(TIMEOUT, lambda: len(steady.acks) > KEPT)
    load.silence()


def latencies(load: Load, readers: Sequence[RawStream], seconds: float) -> list[float]:
    """Return how long each event of the next seconds took to reach each reader."""
    found: list[float] = []
    for reader in readers:
        reader.latencies = found
    load.run(seconds)
    for reader in readers:
        reader.latencies = None
    return found


def latency_bar(baseline: Sequence[float], meanwhile: Sequence[float]) -> Bar:
    before, now = percentile(baseline, 0.99) * 1000, percentile(meanwhile, 0.99) * 1000
    return at_most("latency p99 of the other streams", now, round(2 * before + 20), "ms")


FAULTS = [Fault("F8", "500 subscribers, 250 never read, 1 KiB x 200/s", "full", never_read, needs=("ss",))]
