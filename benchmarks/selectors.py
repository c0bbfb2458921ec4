"""The row of the table for streams that each ask for one topic of all and one of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from benchmarks.load import batch
from benchmarks.measure import Bench, Samples, Size, probe, running
from benchmarks.systems import PROBED_SERVE
from benchmarks.table import Bar, Row, ratio

DISTINCT, SHARED = "distinct", "shared"
PATHS: dict[str, Callable[[int], str]] = {
    DISTINCT: lambda number: f"/events?topic=bench&topic=user/{number}",
    SHARED: lambda number: "/events?topic=bench&topic=user/0",
}
MIB = 2**20


def row(size: Size, say: Callable[[str], None]) -> Row:
    samples = measured(size, say)
    cpu, step, most = (
        {name: median(samples[measure, name]) for name in PATHS} for measure in ("cpu", "step", "memory")
    )
    times = ratio(samples, ("cpu", DISTINCT), ("cpu", SHARED))
    longest = max(samples["step", DISTINCT])
    return Row(
        f"{size.distinct:,} distinct selectors (each `all` and a topic of its own),"
        f" batches of {size.batch:,} to `all`: CPU per delivery",
        f"distinct {cpu[DISTINCT]:.3g} us, one shared selector {cpu[SHARED]:.3g} us;"
        f" high water {most[DISTINCT]:.0f} MiB and {most[SHARED]:.0f} MiB;"
        f" longest step {step[DISTINCT]:.3g} ms and {step[SHARED]:.3g} ms",
        "",
        [
            Bar("distinct <= 2 x shared", times, 2.0),
            Bar("memory of distinct <= 1.5 x shared", most[DISTINCT] / most[SHARED], 1.5),
            Bar("longest step <= 20 ms", longest, 20.0, "ms"),
        ],
    )


def measured(size: Size, say: Callable[[str], None]) -> Samples:
    """Return microseconds per delivery and the longest step (ms) of each round, and the high water (MiB)."""
    samples: Samples = {}
    with ExitStack() as stack:
        benches = {name: stack.enter_context(running(PROBED_SERVE)) for name in PATHS}
        for name, bench in benches.items():
            bench.load.path = PATHS[name]
            bench.load.connect(size.distinct)
            bench.load.settle()
            probe(bench)
        for turn in range(size.distinct_rounds):
            say(f"distinct selectors, round {turn + 1} of {size.distinct_rounds}")
            for name, bench in benches.items():
                for measure, value in take_turn(bench, size).items():
                    samples.setdefault((measure, name), []).append(value)
        for name, bench in benches.items():
            samples["memory", name] = [bench.server.peak() / MIB]
    return samples


def take_turn(bench: Bench, size: Size) -> dict[str, float]:
    # The caches are cold after the other's turn.
    bench.load.settle()
    probe(bench)
    cpu = bench.cpu_per_delivery(batch(bench.server.port, size.batch), size.batch, 1)
    return {"cpu": cpu, "step": probe(bench).on_core}
