"""Half an hour of clients that connect and leave: F24."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Sequence

from faults.outcome import MIB
from faults.scenario import Bar, Context, Fault, Result, at_most
from faults.served import Served
from faults.workload import DEFAULT_POLICY, Scale, Workload

MINUTES = 30
CONNECTS = 50.0
# A loaded machine may be a little slower.
ENOUGH = 45.0
# Seconds that a visitor stays.
STAY = 2.0
SLOPE = 1.0
# About a hundred visitors are connected at any time; a leak of one in a thousand would be 30.
DESCRIPTORS = 10.0
WAL_MIB = 80.0

SCALE = Scale(rate=100, subscribers=20, policy=DEFAULT_POLICY)
# Small, so that everything that fills up is full after the warm-up, and the log is trimmed all the time.
RETENTION = 5000
OPTIONS = ("--window-entries", "2000", "--retention-entries", str(RETENTION), "--key-age", "30")


def soak(context: Context) -> Result:
    """F24: 50 connects a second, 100 publishes a second; nothing grows."""
    minutes = context.runs or MINUTES
    wal = context.folder / "events.db-wal"
    with Served(context.folder, context.engine_url(), *OPTIONS) as hub, Workload(hub, SCALE) as work:
        work.gauges.extra = lambda: wal.stat().st_size if wal.exists() else 0
        visits = work.crowd.start(run_visits(hub.host, hub.port, work.topics))
        with work.fault("visits"):
            for minute in range(minutes):
                work.steady(60)
                context.say(f"  {minute + 1} of {minutes} min")
        visits.cancel()
        opened = hub.metric("tidewire_opened_streams_total") / (60 * minutes)
        outcome = work.finish(trimmed=True)
    # The first fifth is the warm-up.
    samples = work.gauges.samples[len(work.gauges.samples) // 5 :]
    memory = slope([(at, mem / MIB) for at, mem, _, _ in samples]) * 600
    descriptors = slope([(at, float(count)) for at, _, count, _ in samples]) * 600
    return Result(
        happened=outcome.happened,
        unit=f"soak of {minutes} min",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[
            Bar(f"streams opened >= {ENOUGH:g}/s", f"{opened:.1f}/s", opened >= ENOUGH),
            Bar(f"events kept >= {RETENTION:,}", f"{len(work.log):,}", len(work.log) >= RETENTION),
            at_most("memory per 10 min", memory, SLOPE, "MiB"),
            at_most("descriptors per 10 min", descriptors, DESCRIPTORS, ""),
            at_most("WAL", max(wal for *_, wal in samples) / MIB, WAL_MIB, "MiB"),
            *outcome.bars(),
        ],
    )


async def run_visits(host: str, port: int, topics: Sequence[str]) -> None:
    """Start `CONNECTS` visits per second until cancelled."""
    due = time.monotonic()
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(visit(host, port, random.choice(topics)))
            due += 1 / CONNECTS
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def visit(host: str, port: int, topic: str) -> None:
    """Open a stream, read for a while or not at all, and abort the connection."""
    with contextlib.suppress(OSError):
        source, sink = await asyncio.open_connection(host, port)
        try:
            sink.write(f"GET /events/{topic} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            if random.random() < 0.5:
                await asyncio.sleep(STAY)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STAY):
                        while await source.read(65536):
                            pass
        finally:
            sink.transport.abort()


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much the values grow per second (least squares)."""
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*points, strict=True)).slope


FAULTS = [Fault("F24", "soak: 50 connects and 100 publishes a second", "soak", soak)]
