"""One stream replays a large log while other streams are live: the second half of F8 (G12)."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from faults.load import TOPIC, Load, ask, ended, stream_bars
from faults.outcome import MIB
from faults.scenario import Context, Fault, Result, exactly
from faults.served import Served
from faults.stuck import BASELINE, RATE, SIZE, STRICT, latencies, latency_bar

EVENTS = 1_000_000
READERS = 100
PUBLISHERS = 4
# Ends the data of every event of the log, and occurs nowhere else.
MARK = b"~"
DATA = (b"0123456789" * 10)[:99] + MARK
LINES = 1000
# Seconds for the disk to settle after the fill.
SETTLE = 5.0
OPTIONS = ("--retention-entries", f"{2 * EVENTS}", "--retention-bytes", "4000000000")
TIMEOUT = 15.0
FILL_TIMEOUT = 120.0
REPLAY_TIMEOUT = 120


def replay(context: Context) -> Result:
    """F8: one stream replays 1,000,000 events from the log."""
    with (
        Served(context.folder, context.engine_url(), *OPTIONS) as hub,
        Load((hub.host, hub.port)) as load,
    ):
        fill(hub)
        publishers = [load.publish(RATE / PUBLISHERS, SIZE) for _ in range(PUBLISHERS)]
        readers, others = load.open(STRICT), load.sink(READERS - STRICT)
        load.run(TIMEOUT, lambda: all(reader.events for reader in readers))
        load.run(SETTLE)
        baseline = latencies(load, readers, BASELINE)
        before = hub.memory()
        meanwhile: list[float] = []
        most = before
        with Replaying(hub) as replaying:
            while not replaying.done and replaying.seconds < REPLAY_TIMEOUT:
                meanwhile += latencies(load, readers, 0.5)
                most = max(most, hub.memory())
        load.settle()
        return Result(
            happened=replaying.events,
            unit="events replayed to one stream",
            acked=sum(len(publisher.acks) for publisher in publishers),
            figures=[
                f"{replaying.events / replaying.seconds:.0f} events/s",
                f"memory grew by {(most - before) / MIB:.0f} MiB",
            ],
            bars=[
                exactly("events replayed", replaying.events, EVENTS),
                latency_bar(baseline, meanwhile),
                *stream_bars(readers),
                exactly("other streams ended", ended(readers) + ended(others), 0),
            ],
        )


def fill(hub: Served) -> None:
    """Store the events, as fast as one connection can."""
    connection = http.client.HTTPConnection(hub.host, hub.port, timeout=FILL_TIMEOUT)
    with contextlib.closing(connection):
        kind = {"Content-Type": "application/x-ndjson"}
        connection.request("POST", "/events", body(), kind, encode_chunked=True)
        answer = connection.getresponse()
        receipts = answer.read()
    if answer.status != 200 or b'"code"' in receipts:
        raise RuntimeError(f"could not fill the log: {answer.status} {receipts[-500:]!r}")


def body() -> Iterator[bytes]:
    line = b'{"topic": "%b", "data": "%b"}\n' % (TOPIC.encode(), DATA)
    for _ in range(EVENTS // LINES):
        yield line * LINES


class Replaying:
    """
    The stream that replays, in a separate process: the cost of reading it must not show in the figures
    of the others. `events` is how many events it had.
    """

    def __init__(self, hub: Served) -> None:
        self._command = [sys.executable, "-m", "faults.replay", hub.host, f"{hub.port}", f"{EVENTS}"]
        self._begun = self._ended = 0.0
        self.events = 0

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        counts = self._process.communicate()[0]
        self.events = sum(map(int, counts.split()))

    @property
    def done(self) -> bool:
        if not self._ended and self._process.poll() is not None:
            self._ended = time.monotonic()
        return self._ended > 0

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._begun


def read_all(host: str, port: int, wanted: int) -> None:
    """Read the log from its start, and print now and then how many events have arrived since."""
    events = printed = 0
    with ask((host, port), what=f"{TOPIC}?since=start") as sock:
        while events < wanted and (data := sock.recv(1 << 18)):
            events += data.count(MARK)
            if events == wanted or events - printed >= 10_000:
                print(events - printed, flush=True)
                printed = events


FAULTS = [Fault("F8", "one stream replays 1,000,000 events beside live ones", "full", replay)]

if __name__ == "__main__":
    read_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
