"""The measurements. Each returns plain figures: microseconds, bytes, seconds."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.load import Load, ndjson, one
from benchmarks.process import Server
from benchmarks.systems import System

BURST = 64

# By measure and system, the samples in the order of the rounds.
Samples = dict[tuple[str, str], list[float]]


@dataclass(frozen=True)
class Size:
    """How much is measured: the numbers of the table, or next to nothing for a smoke run."""

    subscribers: int = 1000
    rounds: int = 15
    events: int = 20
    burst_rounds: int = 5
    bursts: int = 2
    slow_rounds: int = 3
    idle: tuple[int, int] = (2000, 10_000)
    many: int = 10_000
    missed: int = 100
    distinct: int = 5_000
    distinct_rounds: int = 5
    batch: int = 1_000
    repeats: int = 3
    decoder_rounds: int = 15
    decoder_share: float = 1.0
    publishers: int = 32
    # Many short turns: disks stall now and then, some for tenths of a second.
    disk_rounds: int = 9
    seconds: float = 1.5
    lines: int = 300_000
    shared_lines: int = 30_000
    history: int = 1_000_000
    delays: int = 200
    near: int = 100


QUICK = Size(
    subscribers=40,
    rounds=3,
    events=2,
    burst_rounds=2,
    bursts=1,
    slow_rounds=1,
    idle=(20, 60),
    many=100,
    missed=20,
    distinct=40,
    distinct_rounds=1,
    batch=20,
    repeats=1,
    decoder_rounds=1,
    decoder_share=0.01,
    publishers=4,
    disk_rounds=1,
    seconds=0.2,
    lines=2_000,
    shared_lines=2_000,
    history=3_000,
    delays=5,
    near=5,
)


@dataclass
class Bench:
    """One running system and its load."""

    system: System
    server: Server
    load: Load

    def cpu_per_delivery(self, request: bytes, events: int, times: int, answers: int = 1) -> float:
        """Send `request`, which publishes `events`, `times` times; each time wait until all have them."""
        self.load.reset()
        before = self.server.cpu()
        for turn in range(1, times + 1):
            self.load.publish(request, answers)
            self.load.wait(turn * events)
        used = self.server.cpu() - before
        return used / (times * events * len(self.load.counts)) * 1e6


@contextmanager
def running(system: System) -> Iterator[Bench]:
    with Server(system.command) as server:
        load = Load(server.port)
        try:
            yield Bench(system, server, load)
        finally:
            load.close()


def deliveries(systems: Iterable[System], size: Size, say: Callable[[str], None]) -> Samples:
    """
    Return CPU microseconds per delivery, one event at a time and in bursts.

    All systems run at once with their subscribers connected, and take short turns: whatever
    slows the machine down in one round affects all of them, so the ratios within a round are
    reliable even if the microseconds are not.
    """
    samples: Samples = {}
    with ExitStack() as stack:
        benches = [stack.enter_context(running(system)) for system in systems]
        for bench in benches:
            bench.load.connect(size.subscribers)
        for turn in range(size.rounds):
            say(f"deliveries, round {turn + 1} of {size.rounds}")
            for bench in benches:
                if turn < size.slow_rounds or not bench.system.slow:
                    for measure, value in take_turn(bench, size, bursts=turn < size.burst_rounds):
                        samples.setdefault((measure, bench.system.name), []).append(value)
    return samples


def take_turn(bench: Bench, size: Size, bursts: bool) -> Iterator[tuple[str, float]]:
    port = bench.server.port
    # This also warms the caches, which the others' turns left cold.
    bench.load.settle()
    yield "one", bench.cpu_per_delivery(one(port), 1, size.events)
    if bursts:
        times = 1 if bench.system.slow else size.bursts
        yield "pipelined", bench.cpu_per_delivery(one(port) * BURST, BURST, times, answers=BURST)
        if bench.system.ndjson:
            yield "ndjson", bench.cpu_per_delivery(ndjson(port, BURST), BURST, times)


def idle_memory(system: System, size: Size) -> float:
    """Return the server's bytes per idle connection that has had an event before."""
    few, many = size.idle
    with running(system) as bench:
        bench.load.connect(few)
        bench.load.settle()
        before = bench.server.memory()
        bench.load.connect(many - few)
        bench.load.settle()
        return (bench.server.memory() - before) / (many - few)


@dataclass(frozen=True)
class Step:
    """The longest step of the event loop in milliseconds: by the clock, and without waits for a core."""

    clock: float
    on_core: float


def longest_step(system: System, size: Size) -> Step:
    """Publish singly and in bursts to many subscribers; the server's own probe reports."""
    with running(system) as bench:
        bench.load.connect(size.many)
        bench.load.settle()
        probe(bench)
        port = bench.server.port
        bench.cpu_per_delivery(one(port), 1, size.events)
        bench.cpu_per_delivery(one(port) * BURST, BURST, size.bursts, answers=BURST)
        bench.cpu_per_delivery(ndjson(port, BURST), BURST, size.bursts)
        return probe(bench)


def probe(bench: Bench) -> Step:
    with urllib.request.urlopen(f"http://127.0.0.1:{bench.server.port}/probe") as answer:
        report = json.load(answer)
    return Step(report["longest"], report["on_core"])


@dataclass(frozen=True)
class Return:
    """What it took until all clients that reconnected had what they missed."""

    seconds: float
    cpu: float
    peak: int


def reconnect(system: System, size: Size) -> Return:
    """Let many clients reconnect at the same moment, each to `missed` events."""
    with running(system) as bench:
        position = bench.load.position()
        for _ in range(size.missed):
            bench.load.publish(one(bench.server.port))
            bench.load.wait(0)
        bench.server.reset_peak()
        before, start = bench.server.cpu(), time.monotonic()
        bench.load.connect(size.many, last_event_id=position, at_once=size.many)
        bench.load.wait(size.missed)
        return Return(time.monotonic() - start, bench.server.cpu() - before, bench.server.peak())
