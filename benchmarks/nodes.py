"""The rows of the table for nodes with a log in Redis or PostgreSQL, beside a bare loop on its server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from statistics import median

from benchmarks.load import DATA
from benchmarks.measure import Size, deliveries
from benchmarks.process import ROOT, Server, take_all_cores
from benchmarks.publishing import HOP_EVERY, acked_in_one_body, acked_singly, hops, in_ms
from benchmarks.servers.bare_loop import loop
from benchmarks.stores import STORES, Store
from benchmarks.systems import TAKEOVER, System
from benchmarks.table import Bar, Row, ratio

Say = Callable[[str], None]


def rows(size: Size, say: Say) -> Iterator[Row]:
    present = [store for store in STORES if not store.why_not]
    for store in STORES:
        if store.why_not:
            say(f"{store.why_not}; nodes on {store.name} are left out")
    for store in present:
        with store.running() as url:
            yield delay_row(store, url, size, say)
            yield from rate_rows(store, url, size, say)
    if present:
        yield fan_out_row(present, size, say)


def node(url: str) -> str:
    return f"{{scripts}}/tidewire serve --engine {url} --port {{port}}"


# -- from one node to another


def delay_row(store: Store, url: str, size: Size, say: Say) -> Row:
    ours, bare, ratios = [], [], []
    with Server(node(url), pinned=False) as here, Server(node(url), pinned=False) as there:
        for turn in range(size.repeats):
            say(f"from node to node on {store.name}, round {turn + 1} of {size.repeats}")
            way = hops(here.port, there.port, size.delays)
            ours.append([hop.delivered - hop.sent for hop in way])
            bare.append(bare_delays(url, size.delays))
            ratios.append(median(ours[-1]) / median(bare[-1]))
    return Row(
        f"from a publish at one node to the delivery at another, {store.name}",
        in_ms(list(chain.from_iterable(ours))),
        f"the bare loop {in_ms(list(chain.from_iterable(bare)))}",
        [Bar("p50 <= 2 x the bare loop", median(ratios), 2.0)],
    )


def bare_delays(url: str, count: int) -> list[float]:
    with subprocess.Popen(
        bare_command(url, "read", count), cwd=ROOT, stdout=subprocess.PIPE, preexec_fn=take_all_cores
    ) as reader:
        assert reader.stdout
        writer = loop(url)
        reader.stdout.readline()
        time.sleep(0.5)
        for _ in range(count):
            writer.add([f"{time.perf_counter()} {DATA.decode()}"])
            time.sleep(HOP_EVERY)
        found: list[float] = json.loads(reader.stdout.readline())
        return found


def bare_command(url: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.servers.bare_loop", url, *map(str, arguments)]


# -- publishes per second


def rate_rows(store: Store, url: str, size: Size, say: Say) -> Iterator[Row]:
    singly: list[tuple[float, float]] = []
    body: list[tuple[float, float]] = []
    with Server(node(url), pinned=False) as server:
        for turn in range(size.disk_rounds):
            say(f"publishes on {store.name}, round {turn + 1} of {size.disk_rounds}")
            mine = acked_singly(server, size.publishers, size.seconds)
            singly.append((mine, bare_rate(url, size.publishers, size.seconds)))
            mine = acked_in_one_body(server, size.shared_lines)
            body.append((mine, bare_rate(url, store.batch, size.seconds)))
    title = f"events acked by one node on {store.name}"
    connections = f"{size.publishers} connections, one event a request"
    yield rate_row(f"{title}, {connections}", singly, size.publishers)
    yield rate_row(f"{title}, one NDJSON body of {size.shared_lines:,} lines", body, store.batch)


def rate_row(title: str, found: Sequence[tuple[float, float]], batch: int) -> Row:
    ours, bare = (median(values) for values in zip(*found, strict=True))
    return Row(
        title,
        f"{ours:,.0f}/s",
        f"the bare loop, batches of {batch} {bare:,.0f}/s",
        [Bar(">= 0.5 x the bare loop", median(a / b for a, b in found), 0.5, at_least=True)],
    )


def bare_rate(url: str, batch: int, seconds: float) -> float:
    done = subprocess.run(
        bare_command(url, "add", batch, seconds),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=take_all_cores,
    )
    return float(json.loads(done.stdout))


# -- deliveries


def fan_out_row(stores: Sequence[Store], size: Size, say: Say) -> Row:
    with ExitStack() as stack:
        shared = [System(store.name, node(stack.enter_context(store.running()))) for store in stores]
        samples = deliveries([TAKEOVER, *shared], size, say)
    names = ["memory", *(system.name for system in shared)]
    figures = [median(samples["one", name]) for name in (TAKEOVER.name, *names[1:])]
    return Row(
        f"CPU per delivery on a node, {size.subscribers:,} subscribers, one event at a time",
        ", ".join(f"{name} {figure:.3g} us" for name, figure in zip(names, figures, strict=True)),
        "",
        [
            Bar(f"{name} <= 1.1 x memory", ratio(samples, ("one", name), ("one", TAKEOVER.name)), 1.1)
            for name in names[1:]
        ],
    )
