"""
Measure everything side by side and print one markdown table.

    python -m benchmarks            the table of docs/explanation/performance.md, in some minutes
    python -m benchmarks --steps    the table of docs/explanation/fan-out.md
    python -m benchmarks --quick    the same with next to no load: only shows that it runs
    python -m benchmarks --against ../before    this checkout beside another one, in about ten minutes

Progress goes to stderr, the table to stdout. The large table is also written into its page, unless something
was left out: measure it on a quiet machine. The exit code is 0 whether or not a bar is met.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median

from benchmarks import against, disk, facts, nodes, selectors, systems, tokens, workers
from benchmarks.load import Late, raise_file_limit
from benchmarks.measure import QUICK, Samples, Size, deliveries, idle_memory, longest_step, reconnect
from benchmarks.process import leave_server_core
from benchmarks.systems import OURS, System
from benchmarks.table import HEADER, PAGE, Bar, Row, figures, markdown, ratio, write_into

MEASURES = ["deliveries", "idle", "step", "reconnect", "selectors", "disk", "workers", "nodes"]
MEASURES += ["tokens", "decoder", "module"]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- the rows of the large table


def rows(compared: Sequence[System], measures: Sequence[str], size: Size) -> Iterator[Row]:
    names = [system.name for system in compared]
    if "deliveries" in measures:
        yield from delivery_rows(compared, size)
    if "idle" in measures:
        yield idle_row(compared, size)
    if "step" in measures:
        yield step_row([system for system in systems.PROBED if system.name in names], size)
    if "reconnect" in measures:
        yield reconnect_row([system for system in compared if system.resumes], size)
    if "selectors" in measures:
        yield selectors.row(size, say)
    if "disk" in measures:
        yield from disk.rows(size, say)
    if "workers" in measures:
        yield from workers.rows(size, say)
    if "nodes" in measures:
        yield from nodes.rows(size, say)
    if "tokens" in measures:
        yield from tokens.rows(size, say)
    if "decoder" in measures:
        yield from decoder_rows(size)
    if "module" in measures:
        yield module_row()


def delivery_rows(compared: Sequence[System], size: Size) -> Iterator[Row]:
    samples = deliveries(compared, size, say)
    title = f"CPU per delivery, {size.subscribers:,} subscribers, 100 bytes: "
    yield row(title + "one event at a time", samples, "one", "us", single_bars(samples))
    for measure, text in [("pipelined", "64 publishes pipelined"), ("ndjson", "64 lines in one body")]:
        yield row(title + text, samples, measure, "us", burst_bars(samples, measure))


def row(title: str, samples: Samples, measure: str, unit: str, bars: Sequence[Bar]) -> Row:
    names = {name: None for _, name in samples}
    others = [name for name in names if name not in OURS]
    return Row(title, figures(samples, measure, OURS, unit), figures(samples, measure, others, unit), bars)


def single_bars(samples: Samples) -> list[Bar]:
    bars = [
        ("takeover <= 1.25 x floor", "takeover", "floor", 1.25),
        ("takeover below Nchan", "takeover", "Nchan", 1.0),
        ("portable <= 0.5 x sse-starlette", "portable", "sse-starlette", 0.5),
    ]
    return [
        Bar(text, ratio(samples, ("one", name), ("one", other)), limit)
        for text, name, other, limit in bars
        if ("one", name) in samples and ("one", other) in samples
    ]


def burst_bars(samples: Samples, measure: str) -> list[Bar]:
    return [
        # Bursts have fewer rounds than single events: the medians are compared.
        Bar(
            f"{name} <= 0.2 x one at a time",
            median(samples[measure, name]) / median(samples["one", name]),
            0.2,
        )
        for name in OURS
        if (measure, name) in samples
    ]


def idle_row(compared: Sequence[System], size: Size) -> Row:
    samples = idle_samples(compared, size)
    limits = [("takeover", 4.0), ("portable", 12.0)]
    bars = [
        Bar(f"{name} <= {limit:.0f} KiB", median(samples["idle", name]), limit, "KiB")
        for name, limit in limits
        if ("idle", name) in samples
    ]
    title = f"server memory per idle connection, {size.idle[1]:,} of them"
    return row(title, samples, "idle", "KiB", bars)


def idle_samples(compared: Sequence[System], size: Size) -> Samples:
    samples: Samples = {}
    for system in compared:
        say(f"idle connections, {system.name}")
        samples["idle", system.name] = [idle_memory(system, size) / 1024 for _ in range(size.repeats)]
    return samples


def step_row(probed: Sequence[System], size: Size) -> Row:
    texts, bars = [], []
    for system in probed:
        say(f"longest step, {system.name}")
        steps = [longest_step(system, size) for _ in range(size.repeats)]
        clock, on_core = max(step.clock for step in steps), max(step.on_core for step in steps)
        texts.append(f"{system.name} {on_core:.3g} ms ({clock:.3g} ms with waits for a core)")
        bars.append(Bar(f"{system.name} <= 20 ms", on_core, 20.0, "ms"))
    title = f"longest step of the event loop while publishing, {size.many:,} subscribers"
    return Row(title, ", ".join(texts), "", bars)


def reconnect_row(compared: Sequence[System], size: Size) -> Row:
    texts = {system.name: reconnect_text(system, size) for system in compared}
    ours = ", ".join(text for name, text in texts.items() if name in OURS)
    others = ", ".join(text for name, text in texts.items() if name not in OURS)
    title = (
        f"{size.many:,} clients reconnect at once, each to {size.missed} missed events: all caught up after"
    )
    return Row(title, ours, others)


def reconnect_text(system: System, size: Size) -> str:
    say(f"reconnect, {system.name}")
    try:
        runs = [reconnect(system, size) for _ in range(size.repeats)]
    except Late as late:
        return f"{system.name} never ({late})"
    seconds, cpu = median(run.seconds for run in runs), median(run.cpu for run in runs)
    peak = median(run.peak for run in runs) / 2**20
    return f"{system.name} {seconds:.2g} s ({cpu:.2g} s CPU, {peak:.0f} MiB high water)"


def decoder_rows(size: Size) -> Iterator[Row]:
    try:
        from benchmarks import decoder
    except ImportError as missing:
        say(f"{missing.name} is not installed; the decoders are left out")
        return
    say("decoders")
    for measured in decoder.rows(size.decoder_rounds, size.decoder_share):
        texts = [f"{name} {us:.3g} us" for name, us in measured.figures.items()]
        bar = Bar("the fastest other >= 2 x ours", measured.ratio, 2.0, at_least=True)
        bars = [bar] if measured.chunks == "16 KiB" else []
        title = f"decoder, CPU per event, {measured.stream}, chunks of {measured.chunks}"
        yield Row(title, texts[0], ", ".join(texts[1:]), bars)


def module_row() -> Row:
    module = files("tidewire.web").joinpath("tidewire.js").read_bytes()
    size = len(gzip.compress(module, 9))
    bars = [Bar("<= 6,500 bytes", size, 6_500, "bytes")]
    return Row("the browser client, gzipped", f"tidewire.js {size:,} bytes", "", bars)


# -- the table of the explanation


def steps_table(steps: Sequence[System], size: Size) -> str:
    samples = deliveries(steps, size, say) | idle_samples(steps, size)
    header = ["a subscriber is", "one event at a time", "x floor", "64 pipelined", "idle connection"]
    return markdown(header, ([step_cells(samples, system.name)] for system in steps))


def step_cells(samples: Samples, name: str) -> list[str]:
    one, burst, idle = (median(samples[measure, name]) for measure in ("one", "pipelined", "idle"))
    over_floor = ratio(samples, ("one", name), ("one", "floor"))
    return [name, f"{one:.3g} us", f"{over_floor:.2f}", f"{burst:.3g} us", f"{idle:.3g} KiB"]


# -- the command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure Tidewire and others side by side; print a markdown table."
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: hardly any load, no real figures")
    parser.add_argument("--steps", action="store_true", help="from the naive server to ours, step by step")
    parser.add_argument(
        "--against", metavar="CHECKOUT", type=checkout, help="this checkout beside another: what changes cost"
    )
    parser.add_argument("--only", metavar="A,B", default="", help="only these systems")
    parser.add_argument("--measures", metavar="A,B", default=",".join(MEASURES), help=", ".join(MEASURES))
    return parser.parse_args()


def checkout(text: str) -> Path:
    path = Path(text).resolve()
    # Without it, the installed package would be measured, which is this checkout.
    if not (path / "src" / "tidewire").is_dir():
        raise argparse.ArgumentTypeError(f"{path} has no src/tidewire; create it with `git worktree add`")
    if " " in str(path):
        raise argparse.ArgumentTypeError(f"the path {path} has a space; use one without")
    return path


def chosen(known: Sequence[System], only: str) -> list[System]:
    names = only.split(",") if only else [system.name for system in known]
    wanted = [system for system in known if system.name in names]
    for system in wanted:
        if not system.installed:
            say(f"{system.name} is not installed; it is left out")
    return [system for system in wanted if system.installed]


def is_complete(compared: Sequence[System], measures: Sequence[str], measured: Sequence[Row]) -> bool:
    """Return whether nothing was left out: neither systems nor measures, nor the decoders of others."""
    decoders = any(row.measure.startswith("decoder") for row in measured)
    return compared == systems.ALL and measures == MEASURES and decoders


def main() -> None:
    options = arguments()
    size = QUICK if options.quick else Size()
    limit = raise_file_limit()
    if limit < size.many + 100:
        sys.exit(f"{size.many:,} connections need more than {limit:,} open files; raise `ulimit -Hn`")
    leave_server_core()
    complete = False
    if options.against:
        table = against.table(options.against, size, options.quick, say)
    elif options.steps:
        table = steps_table(chosen(systems.STEPS, options.only), size)
    else:
        compared, measures = chosen(systems.ALL, options.only), options.measures.split(",")
        measured = list(rows(compared, measures, size))
        complete = not options.quick and is_complete(compared, measures, measured)
        table = markdown(HEADER, (row.cells() for row in measured))
    if options.quick:
        say("a smoke run: these figures mean nothing")
    text = f"{table}\n\n{facts.machine()}; load average {os.getloadavg()[0]:.1f}. {facts.versions()}."
    print(text)
    if complete:
        write_into(PAGE, text)
        say(f"written into {PAGE}: look at its notes, and at the figures in the README")


if __name__ == "__main__":
    main()
