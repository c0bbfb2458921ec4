"""The rows of the table for several processes that share one log on disk."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.load import TIMEOUT, Load, one
from benchmarks.measure import Size
from benchmarks.process import ROOT, Server, take_all_cores
from benchmarks.publishing import ACKED, exchange, hops, in_ms, p99
from benchmarks.systems import DISK
from benchmarks.table import Bar, Row

Say = Callable[[str], None]

WORKERS = 4
LIGHT = ROOT / "benchmarks" / "servers" / "light_worker.py"
# Seconds for which idle workers are watched, as a multiple of a round.
IDLE = 5


def rows(size: Size, say: Say) -> Iterator[Row]:
    yield together_row(size, say)
    yield light_row(size, say)
    yield fan_out_row(size, say)
    yield across_row(size, say)
    yield idle_row(size, say)


@contextmanager
def workers(count: int) -> Iterator[list[Server]]:
    """Run hubs on one log; the log is `log.db` in the folder that is removed at the end."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        command = DISK.command.replace("{folder}", folder)
        yield [stack.enter_context(Server(command, pinned=False)) for _ in range(count)]


def file_of(servers: list[Server]) -> str:
    return next(part for part in servers[0].command if "sqlite:///" in part).removeprefix("sqlite:///")


class Publishers:
    """Connections to several servers, each of which sends its next event after each answer."""

    def __init__(self, servers: list[Server], connections: int) -> None:
        self._poll = select.epoll()
        self._sockets = {}
        self._request = one(servers[0].port)
        for server in servers:
            for _ in range(connections):
                sock = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets[sock.fileno()] = sock
                self._poll.register(sock, select.EPOLLIN)
                sock.sendall(self._request)

    def rate(self, seconds: float) -> float:
        """Return the answers per second of all."""
        self._exchange(seconds / 8)
        start = time.monotonic()
        return self._exchange(seconds) / (time.monotonic() - start)

    def _exchange(self, seconds: float) -> int:
        return exchange(self._poll, self._sockets, self._request, ACKED, seconds)

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._poll.close()


def rate_of(servers: list[Server], connections: int, seconds: float) -> tuple[float, float]:
    """Return the events per second that all acknowledge together, and the CPU seconds of one of them."""
    publishers = Publishers(servers, connections)
    try:
        before, start = cpu(servers), time.monotonic()
        rate = publishers.rate(seconds)
        return rate, (cpu(servers) - before) / (rate * (time.monotonic() - start))
    finally:
        publishers.close()


def cpu(servers: list[Server]) -> float:
    return sum(server.cpu() for server in servers)


def together_row(size: Size, say: Say) -> Row:
    alone, together, ratios, wal = [], [], [], 0
    with workers(1) as single, workers(WORKERS) as several:
        log = Path(f"{file_of(several)}-wal")
        for turn in range(size.disk_rounds):
            say(f"publishes of {WORKERS} workers, round {turn + 1} of {size.disk_rounds}")
            alone.append(rate_of(single, size.publishers, size.seconds))
            together.append(rate_of(several, size.publishers, size.seconds))
            ratios.append(together[-1][0] / alone[-1][0])
            wal = max(wal, log.stat().st_size)
    (one_rate, one_cpu), (rate, all_cpu) = (
        [median(values) for values in zip(*found, strict=True)] for found in (alone, together)
    )
    return Row(
        f"events acked by {WORKERS} workers on one log together, {size.publishers} connections each",
        f"{rate:,.0f}/s ({all_cpu * 1e6:.0f} us CPU each), one worker alone {one_rate:,.0f}/s"
        f" ({one_cpu * 1e6:.0f} us); longest WAL {wal / 2**20:.0f} MiB",
        "",
        [Bar(">= 0.8 x one worker", median(ratios), 0.8, at_least=True)],
    )


def light_row(size: Size, say: Say) -> Row:
    say("a light worker beside three that publish all the time")
    with workers(WORKERS - 1) as servers:
        quiet = light(file_of(servers), size.delays)
        saturated = beside(servers, size)
    say("a light worker beside one that keeps Python's lock")
    with workers(1) as servers:
        holder = [sys.executable, str(LIGHT), file_of(servers), "hold"]
        process = subprocess.Popen(holder, stdout=subprocess.PIPE, preexec_fn=take_all_cores)
        try:
            assert process.stdout
            process.stdout.readline()
            held = light(file_of(servers), size.delays)
        finally:
            process.kill()
            process.communicate()
    bars = [
        Bar(f"p99 beside {name} <= 20 ms", p99(found) * 1e3, 20, "ms")
        for name, found in (("three saturated ones", saturated), ("one that keeps the lock", held))
    ]
    texts = [
        f"{name} {in_ms(found)}"
        for name, found in (("alone", quiet), ("beside three", saturated), ("beside the lock", held))
    ]
    return Row("a worker that publishes 50 events a second: its commits", "; ".join(texts), "", bars)


def light(file: str, count: int) -> list[float]:
    """Return how long the commits of a worker of its own took."""
    command = [sys.executable, str(LIGHT), file, "publish", str(count)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT, preexec_fn=take_all_cores
    )
    found: list[float] = json.loads(done.stdout)
    return found


def beside(servers: list[Server], size: Size) -> list[float]:
    publishers, found = Publishers(servers, size.publishers), []
    probe = threading.Thread(target=lambda: found.extend(light(file_of(servers), size.delays)))
    try:
        publishers.rate(size.seconds)
        probe.start()
        while probe.is_alive():
            publishers.rate(0.2)
    finally:
        publishers.close()
    probe.join()
    return found


def fan_out_row(size: Size, say: Say) -> Row:
    samples: dict[int, list[float]] = {1: [], 2: []}
    with workers(1) as single, workers(2) as several:
        groups = {1: (single, subscribed(single, size)), 2: (several, subscribed(several, size))}
        for turn in range(size.rounds):
            say(f"deliveries of one and two workers, round {turn + 1} of {size.rounds}")
            for count, (servers, loads) in groups.items():
                samples[count].append(per_delivery(servers, loads, size.events))
        for _, loads in groups.values():
            for load in loads:
                load.close()
    ratios = [two / single for single, two in zip(samples[1], samples[2], strict=True)]
    return Row(
        f"CPU per delivery of one event to {size.subscribers:,} subscribers, all processes",
        f"two workers {median(samples[2]):.3g} us, one {median(samples[1]):.3g} us",
        "",
        [Bar("two workers <= 1.15 x one", median(ratios), 1.15)],
    )


def subscribed(servers: list[Server], size: Size) -> list[Load]:
    loads = [Load(server.port) for server in servers]
    for load in loads:
        load.connect(size.subscribers // len(servers))
        settle(loads[: loads.index(load) + 1])
    return loads


def settle(loads: list[Load]) -> None:
    """Publish until everyone has had an event."""
    time.sleep(0.5)
    for load in loads:
        while load.pump(time.monotonic() + TIMEOUT, wait=0.2):
            pass
    for load in loads:
        load.reset()


def per_delivery(servers: list[Server], loads: list[Load], events: int) -> float:
    for load in loads:
        load.reset()
    before, request = cpu(servers), one(servers[0].port)
    for turn in range(1, events + 1):
        loads[0].publish(request)
        for load in loads:
            load.wait(turn)
    return (cpu(servers) - before) / (events * sum(len(load.counts) for load in loads)) * 1e6


def across_row(size: Size, say: Say) -> Row:
    say("from an ack at one worker to the delivery at another")
    with workers(2) as (here, there):
        way = hops(here.port, there.port, max(size.delays, 5))
    found = [max(0.0, hop.delivered - hop.acked) for hop in way]
    bars = [
        Bar("p50 <= 3 ms", median(found) * 1e3, 3, "ms"),
        Bar("p99 <= 20 ms", p99(found) * 1e3, 20, "ms"),
    ]
    return Row("from an ack at one worker to the delivery at another", in_ms(found), "", bars)


def idle_row(size: Size, say: Say) -> Row:
    say(f"{WORKERS} idle workers")
    with workers(WORKERS) as servers:
        time.sleep(2 * size.seconds)
        before, start = cpu(servers), time.monotonic()
        time.sleep(IDLE * size.seconds)
        share = (cpu(servers) - before) / (time.monotonic() - start) * 100
    bar = Bar("<= 2 % of a core", share, 2.0, "%")
    return Row(f"{WORKERS} idle workers on one log", f"{share:.2g} % of a core together", "", [bar])
