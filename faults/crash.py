"""The process dies: F1, F3 and F20."""

from __future__ import annotations

from collections.abc import Callable

from faults.outcome import Outcome, percentile
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import Served, wait_until
from faults.workload import Scale, Workload, scale_of

KILL_EVERY = 3.0
# The smoke tier runs among other tests, on machines that may be busy: a process takes long to start there.
RECOVERY = {"smoke": 30.0, "full": 2.0, "soak": 2.0}


def repeated_kills(context: Context) -> Result:
    """F1: kill -9 every 3 s, restarted at once."""
    times, scale = context.times(smoke=3, full=10), scale_of(context)
    pause = 1.5 if context.smoke else KILL_EVERY
    starts, outcome = run_with_kills(
        context, context.engine_url(), scale, times, lambda work: work.steady(pause)
    )
    recovery = percentile(outcome.recoveries_of_hub, 0.99)
    return Result(
        happened=outcome.happened,
        unit="kills",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=[*outcome.figures(), f"ready again within {max(starts):.2f} s"],
        bars=[
            at_most("recovery p99 without the clients' waits", recovery, RECOVERY[context.tier]),
            *outcome.bars(),
        ],
    )


def run_with_kills(
    context: Context,
    engine: str,
    scale: Scale,
    times: int,
    pause: Callable[[Workload], object],
    *,
    loss_allowed: bool = False,
) -> tuple[list[float], Outcome]:
    """Kill and restart the hub under load; return how long each start took, and the outcome."""
    starts = []
    with Served(context.folder, engine, *scale.options) as hub, Workload(hub, scale) as work:
        work.steady(scale.before)
        for _ in range(times):
            with work.fault("kill -9"):
                hub.kill()
                starts.append(hub.start())
            pause(work)
        outcome = work.finish(loss_allowed=loss_allowed)
    return starts, outcome


def memory_restart(context: Context) -> Result:
    """F3: a memory hub forgets everything, and sends every subscriber a gap."""
    times = context.times(smoke=1, full=3)
    _, outcome = run_with_kills(
        context, "memory", scale_of(context), times, wait_for_reconnects, loss_allowed=True
    )
    without_gaps = sum(witness.gaps != ["foreign"] * times for witness in outcome.work.witnesses)
    return Result(
        happened=outcome.happened,
        unit="restarts",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[exactly("subscribers without one foreign gap per restart", without_gaps, 0), *outcome.bars()],
    )


def wait_for_reconnects(work: Workload) -> None:
    """Wait until every stream is open again, so that each client resumes across each restart."""
    wait_until(lambda: all(witness.is_open for witness in work.witnesses), 90, "all streams are open again")
    work.steady(1)


FAULTS = [
    Fault("F1", "sqlite: kill -9 every 3 s, restarted at once", "smoke", repeated_kills),
    Fault("F3", "memory engine restarted", "smoke", memory_restart),
]
