"""The rows of the table for a log on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

from benchmarks.measure import Size, deliveries, running
from benchmarks.process import Server
from benchmarks.publishing import (
    Resume,
    acked_in_one_body,
    acked_singly,
    answered,
    bare_sqlite,
    delays,
    p99,
)
from benchmarks.systems import DISK, EMPTY, TAKEOVER
from benchmarks.table import Bar, Row, ratio

Say = Callable[[str], None]

# Seconds between two publishes while a reader reads the whole log.
EVERY = 0.02
# What others may wait longer beside a reader of the whole log (promise G12): twice as long, and 20 ms.
TIMES, MORE = 2.0, 0.020


def rows(size: Size, say: Say) -> Iterator[Row]:
    yield singly_row(size, say)
    yield body_row(size, say)
    yield delivery_row(size, say)
    yield resume_row(size, say)


def singly_row(size: Size, say: Say) -> Row:
    ours, floor, bare = [], [], []
    with Server(DISK.command, pinned=False) as server, Server(EMPTY.command, pinned=False) as empty:
        for turn in range(size.disk_rounds):
            say(f"publishes acked from disk, round {turn + 1} of {size.disk_rounds}")
            ours.append(acked_singly(server, size.publishers, size.seconds))
            floor.append(answered(empty, size.publishers, size.seconds / 3))
            bare.append(bare_sqlite(size.publishers, size.seconds / 3))
    return Row(
        f"events acked from disk, {size.publishers} connections, one event a request",
        f"{median(ours):,.0f}/s",
        f"SQLite alone, batches of {size.publishers} {median(bare):,.0f}/s,"
        f" uvicorn answering an empty POST {median(floor):,.0f}/s",
        [Bar(">= 15,000/s", median(ours), 15_000, "/s", at_least=True)],
    )


def body_row(size: Size, say: Say) -> Row:
    ours, bare = [], []
    with Server(DISK.command, pinned=False) as server:
        for turn in range(size.disk_rounds):
            say(f"one body of {size.lines:,} lines, round {turn + 1} of {size.disk_rounds}")
            ours.append(acked_in_one_body(server, size.lines))
            bare.append(bare_sqlite(1_000, size.seconds / 3))
    return Row(
        f"events acked from disk, one NDJSON body of {size.lines:,} lines",
        f"{median(ours):,.0f}/s",
        f"SQLite alone, batches of 1,000 {median(bare):,.0f}/s",
        [Bar(">= 100,000/s", median(ours), 100_000, "/s", at_least=True)],
    )


def delivery_row(size: Size, say: Say) -> Row:
    samples = deliveries([TAKEOVER, DISK], size, say)
    memory, disk = (median(samples["one", name]) for name in (TAKEOVER.name, DISK.name))
    return Row(
        f"CPU per delivery, {size.subscribers:,} subscribers, one event at a time: from disk and from memory",
        f"sqlite {disk:.3g} us, memory {memory:.3g} us",
        "",
        [Bar("sqlite <= 1.1 x memory", ratio(samples, ("one", DISK.name), ("one", TAKEOVER.name)), 1.1)],
    )


def resume_row(size: Size, say: Say) -> Row:
    say(f"one reader of {size.history:,} events")
    with running(DISK) as bench:
        acked_in_one_body(bench.server, size.history, "history")
        bench.load.connect(size.near)
        bench.load.settle()
        quiet = p99(delays(bench.load, None, size.delays, EVERY))
        # Retention keeps a million events: each event published in the meantime trims the oldest one.
        reader = Resume(bench.server.port, "history", size.history - size.history // 100)
        beside = p99(delays(bench.load, reader, 1, EVERY))
        rate = reader.rate()
    limit = (TIMES * quiet + MORE) * 1e3
    return Row(
        f"one reader resumes {size.history:,} events from disk",
        f"{rate:,.0f} events/s; p99 until {size.near} others have an event {beside * 1e3:.3g} ms,"
        f" without the reader {quiet * 1e3:.3g} ms",
        "",
        [Bar(f"p99 of the others <= 2 x + 20 ms = {limit:.3g} ms", beside * 1e3, limit, "ms")],
    )
