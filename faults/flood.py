"""One address floods a hub: F11."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Self

from faults.beside import Beside
from faults.flooder import Flooder
from faults.load import Load, RawStream, ask, ended, lost
from faults.outcome import MIB, percentile
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import Served

PER_ADDRESS = 100
# Loopback is counted once a limit is set. The second one is the default of other addresses.
OPTIONS = ("--max-streams-per-address", f"{PER_ADDRESS}", "--max-connections-per-address", "1000")
CONNECTIONS = 10_000
GOOD = 20
RATE = 100.0
SIZE = 200
QUIET, SECONDS = 15.0, 30.0
NEWCOMER_EVERY = 0.5
TIMEOUT = 60.0
# Publishes of others take at most so much longer; streams open within a second.
TIMES = 2.0
OPENED = 1.0


def flood(context: Context) -> Result:
    """F11: 10,000 connections from one address: slow heads, streams beyond the limit, endless bodies."""
    with (
        Served(context.folder, context.engine_url(), *OPTIONS) as hub,
        Load((hub.host, hub.port)) as load,
        Beside(hub, context.folder) as beside,
    ):
        steady = load.publish(RATE, SIZE)
        good = load.open(GOOD)
        load.run(TIMEOUT, lambda: all(stream.events for stream in good))
        before = hub.note_high_water()
        beside.quiet()
        quiet = latencies(load, good, QUIET)
        with Flooder(hub.port, CONNECTIONS, context.folder) as flooder:
            beside.disturb()
            load.run(TIMEOUT, lambda: flooder.counts.made >= CONNECTIONS)
            with Newcomers(hub) as newcomers:
                rough = latencies(load, good, SECONDS)
            counts = flooder.counts
            streams = int(hub.metric("tidewire_open_streams", TIMEOUT)) - len(good)
        load.settle()
        return Result(
            happened=counts.made,
            unit="connections from one address",
            acked=len(steady.acks) + beside.acked,
            figures=[
                f"{counts.most} of them open at once, {counts.sent // MIB} MiB sent",
                f"memory grew by {(hub.note_high_water() - before) / MIB:.0f} MiB",
                f"other streams p99 {in_ms(rough)}, quiet {in_ms(quiet)} (with waits for a core)",
                *beside.figures(),
            ],
            bars=[
                beside.publish_bar(TIMES),
                at_most(
                    "p99 until a new stream of others begins", percentile(newcomers.seconds, 0.99), OPENED
                ),
                at_most("streams of the flood", streams, PER_ADDRESS, "streams"),
                exactly("streams of others ended", ended(good), 0),
                exactly("events lost", lost(good, steady.acks), 0),
            ],
        )


def latencies(load: Load, streams: Sequence[RawStream], seconds: float) -> list[float]:
    """Return the latencies of `streams` in the next seconds."""
    for stream in streams:
        stream.latencies = []
    load.run(seconds)
    return [latency for stream in streams for latency in stream.latencies or ()]


class Newcomers(threading.Thread):
    """Opens one stream after another, in a thread, since a full backlog holds up each `connect`."""

    def __init__(self, hub: Served) -> None:
        super().__init__(daemon=True)
        self._address = hub.host, hub.port
        self._stopped = threading.Event()
        self.seconds: list[float] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(TIMEOUT)

    def run(self) -> None:
        while not self._stopped.wait(NEWCOMER_EVERY):
            begun = time.monotonic()
            try:
                with ask(self._address) as sock:
                    begins = sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            except OSError:
                begins = False
            self.seconds.append(time.monotonic() - begun if begins else TIMEOUT)


def in_ms(seconds: Sequence[float]) -> str:
    return f"{percentile(seconds, 0.99) * 1e3:.3g} ms"


FAULTS = [
    Fault("F11", "10,000 connections from one address: slow heads, streams, endless bodies", "full", flood)
]
