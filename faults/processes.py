"""Four processes share one log: F29."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from faults.history import history
from faults.publishers import Publisher
from faults.scenario import Bar, Context, Fault, Result, at_most, exactly
from faults.served import Served, several, wait_until
from faults.workload import Workload, scale_of

PROCESSES = 4
# Two publishers at each process.
PUBLISHERS = 8
PAUSE = 3.0
STOPPED = 10.0
# Seconds without an ack that the other processes may have. The smoke tier runs among other tests.
OUTAGE = {"smoke": 10.0, "full": 1.0, "soak": 1.0}
# Seconds within which a publish is answered while a process is stopped inside its commit.
ANSWER = 5.0
# The byte of the shared memory file that SQLite's writer locks.
WRITE_LOCK = 120
# How often a process is stopped until that happens inside its commit.
ATTEMPTS = 300


@dataclass
class Broken:
    """One fault: the process it was done to, when, and whether that held up the commits of the others."""

    hub: Served
    begin: float = field(default_factory=time.monotonic)
    end: float = 0.0
    in_commit: bool = False


@contextlib.contextmanager
def cluster(context: Context) -> Iterator[Workload]:
    scale = replace(scale_of(context), publishers=PUBLISHERS)
    with (
        several(
            context.folder, context.engine_url(), PROCESSES, *scale.options, module="faults.busy_hub"
        ) as hubs,
        Workload(hubs[0], scale, hubs[1:]) as work,
    ):
        work.steady(scale.before)
        yield work


def run(
    context: Context, times: int, unit: str, pause: float, deed: Callable[[Workload, Broken, int], None]
) -> Result:
    chance = random.Random(29)
    broken = []
    with cluster(context) as work:
        for number in range(times):
            hit = Broken(chance.choice(work.hubs))
            with work.fault(unit):
                deed(work, hit, number)
            hit.end = time.monotonic()
            broken.append(hit)
            context.say(f"  {unit} {number + 1}: {hit.end - hit.begin:.1f} s, in a commit: {hit.in_commit}")
            work.steady(pause)
        outcome = work.finish()
        same = {tuple(history(hub)) for hub in work.hubs}
    return Result(
        happened=len(broken),
        unit=unit,
        acked=outcome.acked,
        reports=[outcome.report],
        figures=[*outcome.figures(), f"{sum(hit.in_commit for hit in broken)} inside a commit"],
        bars=[
            *bars_of_others(context, work, broken),
            exactly("histories of the processes", len(same), 1),
            *outcome.bars(),
        ],
    )


def bars_of_others(context: Context, work: Workload, broken: list[Broken]) -> list[Bar]:
    """What the other processes' publishers may notice."""
    free = [outage_of_others(work, hit) for hit in broken if not hit.in_commit]
    held = [hit for hit in broken if hit.in_commit]
    answers = [
        answer.took
        for hit in held
        for publisher in others(work, hit)
        for answer in publisher.answers
        if hit.begin <= answer.at <= hit.end + ANSWER
    ]
    bars = [at_most("the others' longest time without an ack", max(free, default=0.0), OUTAGE[context.tier])]
    if held:
        bars.append(at_most("answers while a process is stopped in its commit", max(answers), ANSWER))
    return bars


def others(work: Workload, hit: Broken) -> list[Publisher]:
    at = work.hubs.index(hit.hub)
    return [publisher for publisher in work.publishers if publisher.number % len(work.hubs) != at]


def outage_of_others(work: Workload, hit: Broken) -> float:
    """Return the longest time without an ack that a publisher at another process had."""
    waits = [
        after - before
        for publisher in others(work, hit)
        for before, after in pairwise(at for at, _, _ in publisher.acked)
        if after > hit.begin and before < hit.end
    ]
    return max(waits, default=0.0)


# -- what is done to a process


def killed(work: Workload, hit: Broken, number: int) -> None:
    hit.hub.kill()
    hit.hub.start()


def kept_busy(work: Workload, hit: Broken, number: int) -> None:
    """Its event loop is busy, or it also keeps Python's lock, for two seconds."""
    hit.hub.signal(signal.SIGUSR2 if number % 2 else signal.SIGUSR1)
    time.sleep(0.1)
    wait_until(lambda: hit.hub.status("/health/live", timeout=10) == 200, 20, "the process answers again")


def stopped(seconds: float) -> Callable[[Workload, Broken, int], None]:
    def deed(work: Workload, hit: Broken, number: int) -> None:
        """Every second time, inside a commit, if that can be had."""
        for _ in range(ATTEMPTS if number % 2 else 1):
            hit.begin = time.monotonic()
            hit.hub.signal(signal.SIGSTOP)
            time.sleep(0.01)
            hit.in_commit = holds_write_lock(hit.hub, work)
            if hit.in_commit or not number % 2:
                break
            hit.hub.signal(signal.SIGCONT)
            time.sleep(random.uniform(0.001, 0.02))
        hit.hub.signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            hit.hub.signal(signal.SIGCONT)

    return deed


def holds_write_lock(hub: Served, work: Workload) -> bool:
    """Whether a process is inside a commit, as the kernel's table of locks says."""
    inode = os.stat(shared_memory(hub)).st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "->" in words or words[1] != "POSIX" or words[3] != "WRITE":
            continue
        if int(words[4]) == hub.pid and int(words[5].rpartition(":")[2]) == inode:
            first, last = int(words[6]), int(words[7])
            if first <= WRITE_LOCK <= last:
                return True
    return False


def shared_memory(hub: Served) -> Path:
    engine = hub.command[hub.command.index("--engine") + 1]
    return Path(engine.removeprefix("sqlite:///") + "-shm")


def restarted(work: Workload, hit: Broken, number: int) -> None:
    """One after another, as a deployment does it."""
    hit.hub = work.hubs[number % len(work.hubs)]
    hit.hub.stop()
    hit.hub.start()


# -- the faults


def kills(context: Context) -> Result:
    """F29: kill -9 of one of them every 3 s, restarted at once."""
    pause = 1.0 if context.smoke else PAUSE
    return run(context, context.times(smoke=3, full=10), "kills", pause, killed)


def busy(context: Context) -> Result:
    """F29: one of them is busy for 2 s."""
    return run(context, context.times(smoke=2, full=10), "busy processes", 1.0, kept_busy)


def stops(context: Context) -> Result:
    """F29: one of them is stopped for 10 s."""
    return run(context, context.times(smoke=1, full=20), "stops", 2.0, stopped(STOPPED))


def rolling_restart(context: Context) -> Result:
    """F29: each of them is stopped cleanly and started again."""
    return run(context, context.times(smoke=2, full=8), "restarts", 1.0, restarted)


FAULTS = [
    Fault("F29", "sqlite: four processes on one log, kill -9 of one every 3 s", "smoke", kills),
    Fault("F29", "sqlite: four processes on one log, one is busy for 2 s", "full", busy),
    Fault(
        "F29",
        "sqlite: four processes on one log, one is stopped for 10 s",
        "full",
        stops,
        needs=("/proc/locks",),
    ),
    Fault("F29", "sqlite: four processes on one log, a rolling restart", "full", rolling_restart),
]
