"""
This checkout beside another one, such as a worktree of an earlier commit: what the changes in between cost.

Two processes of the same program differ in cost by a few percent for as long as they run. So both hubs are
started many times, they take turns at starting first, and each ratio is the median over all starts.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from statistics import median

from benchmarks.load import DATA
from benchmarks.measure import Size, running, take_turn
from benchmarks.process import ROOT, Server
from benchmarks.publishing import Resume, acked_singly
from benchmarks.systems import System
from benchmarks.table import markdown

ENGINES = {"memory": "memory", "disk": "sqlite:///{folder}/log.db"}
STARTS = 24
# Turns of each hub at a start.
TURNS = 4
# Events of a resume: as many as the window of memory has, and what takes a while from disk.
HISTORY = {"memory": 9_900, "disk": 300_000}
# CPU is counted over about this many events.
RESUMED = 300_000

# Microseconds of CPU for a unit of work, by measure: for each start a list, with a figure for each turn.
Figures = dict[str, list[list[float]]]


def table(other: Path, size: Size, quick: bool, say: Callable[[str], None]) -> str:
    """Measure both checkouts, and return a table with a row for each measure."""
    checkouts = {"other": other, "this": ROOT}
    figures: dict[str, Figures] = {name: {} for name in checkouts}
    starts, share = (2, 0.01) if quick else (STARTS, 1.0)
    for start in range(starts):
        say(f"start {start + 1} of {starts}")
        order = list(checkouts)[:: -1 if start % 2 else 1]
        for engine in ENGINES:
            commands = {name: command(checkouts[name], ENGINES[engine]) for name in order}
            deliver(commands, engine, size, figures)
            # Its ratio differs less from start to start.
            if start % 4 == 0:
                resume(commands, engine, share, figures)
            if engine == "disk":
                publish(commands, size, figures)
    header = ["CPU", "the other checkout", "this one", "ratio, median of the starts", "least and most"]
    return markdown(header, ([cells(measure, figures)] for measure in figures["this"]))


def command(checkout: Path, engine: str) -> str:
    return f"env PYTHONPATH={checkout}/src {{python}} -m tidewire serve --engine {engine} --port {{port}}"


def cells(measure: str, figures: dict[str, Figures]) -> list[str]:
    others, ours = figures["other"][measure], figures["this"][measure]
    ratios = [median(b) / median(a) for a, b in zip(others, ours, strict=True)]
    us = [f"{median(chain.from_iterable(turns)):.3g} us" for turns in (others, ours)]
    return [measure, *us, f"{median(ratios):.3f}", f"{min(ratios):.2f} to {max(ratios):.2f}"]


def take_turns(names: Sequence[str]) -> Iterator[str]:
    for turn in range(TURNS):
        yield from names[:: -1 if turn % 2 else 1]


def begin(figures: dict[str, Figures], measure: str) -> None:
    """Begin the lists of another start."""
    for of_checkout in figures.values():
        of_checkout.setdefault(measure, []).append([])


def deliver(commands: dict[str, str], engine: str, size: Size, figures: dict[str, Figures]) -> None:
    texts = {"one": "single events", "pipelined": "pipelined", "ndjson": "NDJSON"}
    titles = {kind: f"a delivery, {engine}, {text}" for kind, text in texts.items()}
    for title in titles.values():
        begin(figures, title)
    with ExitStack() as stack:
        hubs = {
            name: stack.enter_context(running(System(name, line, ndjson=True)))
            for name, line in commands.items()
        }
        for bench in hubs.values():
            bench.load.connect(size.subscribers)
        for name in take_turns(list(hubs)):
            for kind, microseconds in take_turn(hubs[name], size, bursts=True):
                figures[name][titles[kind]][-1].append(microseconds)


def publish(commands: dict[str, str], size: Size, figures: dict[str, Figures]) -> None:
    title = f"a publish, disk, {size.publishers} connections"
    begin(figures, title)
    with ExitStack() as stack:
        hubs = {name: stack.enter_context(Server(line, pinned=False)) for name, line in commands.items()}
        for name in take_turns(list(hubs)):
            before = hubs[name].cpu()
            # The publishes of the short run before it are counted as well.
            seconds = size.seconds * 9 / 8
            count = acked_singly(hubs[name], size.publishers, size.seconds) * seconds
            figures[name][title][-1].append((hubs[name].cpu() - before) / count * 1e6)


def resume(commands: dict[str, str], engine: str, share: float, figures: dict[str, Figures]) -> None:
    count = max(1, int(HISTORY[engine] * share))
    title = f"an event of a resume, {engine}, {count:,} of a topic"
    begin(figures, title)
    times = max(1, int(RESUMED * share) // count)
    with ExitStack() as stack:
        hubs = {name: stack.enter_context(Server(line, pinned=False)) for name, line in commands.items()}
        for hub in hubs.values():
            fill(hub.port, count)
        for name in take_turns(list(hubs)):
            before = hubs[name].cpu()
            for _ in range(times):
                Resume(hubs[name].port, "history", count).rate()
            figures[name][title][-1].append((hubs[name].cpu() - before) / count / times * 1e6)


def fill(port: int, count: int) -> None:
    body = b'{"topic": "history", "data": "%b"}\n' % DATA * count
    kind = {"Content-Type": "application/x-ndjson"}
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/events", body, kind)).read()
