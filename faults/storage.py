"""The disk is full, fails once, or stalls: F4, F5 and F6."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from faults.disks import ext4, fill, frozen, memory_disk
from faults.outcome import Outcome
from faults.publishers import Answer
from faults.scenario import Bar, Context, Fault, Result, at_most, exactly
from faults.served import Served, wait_until
from faults.workload import Scale, Workload, scale_of

DISK_MIB = 32
# Short, so that a heartbeat is due while the disk stalls.
HEARTBEAT = 2.0
LATE = 1.0
STALL = 10.0
ANSWER = 5.0


# -- F4


def full_disk(context: Context) -> Result:
    """F4: the disk is full for a while, then has room again, without a restart."""
    scale = scale_of(context)
    with memory_disk(context.folder, 2 * DISK_MIB) as ram, ext4(ram, "disk", DISK_MIB) as disk:
        with hub_on(context, disk, scale) as hub, Workload(hub, scale) as work:
            work.steady(scale.before)
            with work.fault("disk full"):
                filler = fill(disk)
                begun = time.monotonic()
                wait_until(lambda: answered(work, begun, 507), 30, "a publish is refused for a full disk")
                work.steady(scale.during)
                filler.unlink()
            end = work.faults[-1][1]
            work.steady(scale.before)
            outcome = work.finish()
    refused = [answer for answer in outcome.answers if answer.status == 507]
    return Result(
        happened=outcome.happened if refused else 0,
        unit="full disk",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=[*outcome.figures(), f"{len(refused)} publishes refused with 507"],
        bars=[
            at_most("slowest 507", max((answer.took for answer in refused), default=0), 1.0),
            exactly("507 without stored:false", sum(answer.stored is not False for answer in refused), 0),
            exactly("other refusals", others(outcome, begun, end), {}),
            exactly("streams that ended", reconnects(outcome), 0),
            at_most("first ack once there is room", first_ack(outcome, end), ANSWER),
            silence(outcome),
            *outcome.bars(),
        ],
    )


def answered(work: Workload, since: float, status: int) -> bool:
    newest = (answer for publisher in work.publishers for answer in publisher.answers[-3:])
    return any(answer.status == status and answer.at >= since for answer in newest)


def others(outcome: Outcome, begin: float, end: float) -> dict[int, int]:
    """Count the answers that are neither an ack nor a refusal for the full disk."""
    found = outcome.statuses(begin, end)
    return {status: count for status, count in found.items() if status not in (200, 507)}


def first_ack(outcome: Outcome, moment: float) -> float:
    return next((a.at - moment for a in outcome.answers if a.acked and a.at >= moment), float("inf"))


# -- F5


def broken_fsync(context: Context) -> Result:
    """F5: one fsync fails with EIO. What it should have made durable may be lost; later fsyncs hide that."""
    scale, log = scale_of(context), context.folder / "strace"
    with Served(context.folder, context.engine_url(), *scale.options) as hub, Workload(hub, scale) as work:
        work.steady(scale.before)
        with work.fault("fsync failed"):
            with failing_fsync(hub.pid, log):
                wait_until(lambda: out_of_service(hub), 20, "the hub is not ready, or gone")
                gave_up = time.monotonic()
            work.steady(3)
            how = "not ready" if hub.exit_code is None else f"exited with {hub.exit_code}"
            code = hub.stop() if hub.exit_code is None else hub.exit_code
            down = time.monotonic()
            hub.start()
        work.steady(scale.before)
        outcome = work.finish()
    # The last failure is the writer's; a checkpoint's fsync may have failed before it.
    *_, moment = moments = moments_of_failure(log)
    # An ack of the commit before it may still have been in flight.
    late = [a for a in outcome.answers if a.acked and moment + 0.25 < a.at < down]
    unknown = [a for a in outcome.answers if moments[0] <= a.at <= moment + ANSWER and a.stored == "unknown"]
    return Result(
        happened=outcome.happened,
        unit="failure of fsync",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=[
            *outcome.figures(),
            f"{how} after {gave_up - moment:.2f} s",
            f"exit code {code} when stopped",
        ],
        bars=[
            exactly("acks after the failure", len(late), 0),
            Bar("publishes answered `unknown` >= 1", f"{len(unknown)}", bool(unknown)),
            *outcome.bars(),
        ],
    )


@contextlib.contextmanager
def failing_fsync(pid: int, log: Path) -> Iterator[None]:
    """Make the first fsync or fdatasync of each thread of the process fail with EIO."""
    calls = "fsync,fdatasync"
    command = ["strace", "-f", "-ttt", "-p", str(pid), "-o", str(log), "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:error=EIO:when=1"]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGTERM)
        tracer.wait(10)


def moments_of_failure(log: Path) -> list[float]:
    """Return when calls failed, by the monotonic clock."""
    lines = [line for line in log.read_text().splitlines() if "INJECTED" in line]
    offset = time.time() - time.monotonic()
    return [float(re.findall(r"[0-9]+\.[0-9]+", line)[0]) - offset for line in lines]


def out_of_service(hub: Served) -> bool:
    return hub.exit_code is not None or hub.status("/health/ready") == 503


# -- F6


def stalled_disk(context: Context) -> Result:
    """F6: every write and every fsync waits ten seconds; nothing else may wait."""
    scale = scale_of(context)
    with memory_disk(context.folder, 2 * DISK_MIB) as ram, ext4(ram, "disk", DISK_MIB) as disk:
        with hub_on(context, disk, scale) as hub, Workload(hub, scale) as work:
            work.steady(scale.before)
            with work.fault("disk stalled"), frozen(disk):
                work.steady(STALL)
            work.steady(scale.before)
            outcome = work.finish()
    begin, end = work.faults[0]
    lags = outcome.probe.lags(begin, end)
    slowest = max((a.took for a in outcome.answers if begin <= a.at), default=0.0)
    stalled = max_ack_gap(outcome.answers, begin, end)
    return Result(
        happened=outcome.happened if stalled > STALL / 2 else 0,
        unit="stall of 10 s",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[
            at_most("event-loop lag during the stall", max(lags, default=0) * 1000, 100, "ms"),
            silence(outcome),
            exactly("streams that ended", reconnects(outcome), 0),
            at_most("slowest answer to a publish", slowest, ANSWER),
            *outcome.bars(),
        ],
    )


def max_ack_gap(answers: list[Answer], begin: float, end: float) -> float:
    """Return the longest time without an ack between two moments."""
    times = [begin, *(a.at for a in answers if a.acked and begin <= a.at <= end), end]
    return max(later - earlier for earlier, later in pairwise(times))


# -- shared


def hub_on(context: Context, disk: Path, scale: Scale) -> Served:
    options = [*scale.options, "--heartbeat", f"{HEARTBEAT:g}"]
    return Served(context.folder, context.engine_url(disk), *options)


def silence(outcome: Outcome) -> Bar:
    longest = max(witness.silence for witness in outcome.work.witnesses)
    return at_most("longest silence of a stream", longest, HEARTBEAT + LATE)


def reconnects(outcome: Outcome) -> int:
    return sum(witness.streams - 1 for witness in outcome.work.witnesses)


FAULTS = [
    Fault(
        "F4",
        "sqlite on a full disk, then room again",
        "full",
        full_disk,
        needs=("root", "mount", "mkfs.ext4"),
    ),
    Fault("F5", "sqlite: one fsync fails", "full", broken_fsync, needs=("strace",)),
    Fault(
        "F6",
        "sqlite: the disk stalls for 10 s",
        "full",
        stalled_disk,
        needs=("root", "mount", "mkfs.ext4", "fsfreeze"),
    ),
]
