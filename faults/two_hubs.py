"""Two hubs under load on one log in a server to which something is done (F12, F13 and F15 to F17)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faults.history import history
from faults.outcome import Outcome
from faults.scenario import Bar, Context, Result, at_most, exactly
from faults.served import several
from faults.workload import Workload, scale_of

HUBS = 2
# Seconds within which every publish is answered.
ANSWER = 5.0

# What is done, and its name in the recording.
Deed = tuple[str, Callable[[Workload], object]]


def run(
    context: Context,
    url: str,
    deeds: Sequence[Deed],
    unit: str,
    pause: float,
    *,
    loss: bool = False,
    bars: Callable[[Workload, Outcome], Sequence[Bar]] = lambda work, outcome: (),
) -> Result:
    """
    Do one deed after another, with `pause` seconds after each.

    `loss`: the server may lose acknowledged events, which the hubs must tell. `bars` returns what must also
    hold; the hubs still run when it is called.
    """
    scale = scale_of(context)
    with (
        several(context.folder, url, HUBS, *scale.options) as hubs,
        Workload(hubs[0], scale, hubs[1:]) as work,
    ):
        work.steady(scale.before)
        for name, deed in deeds:
            with work.fault(name):
                deed(work)
            work.steady(pause)
        outcome = work.finish(loss_allowed=loss)
        same = {str(list(history(hub))) for hub in work.hubs}
        answers = max((answer.took for answer in outcome.answers), default=0.0)
        others = bars(work, outcome)
    return Result(
        happened=outcome.happened,
        unit=unit,
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        # A node that cannot compare an id with its entry any more tells a gap.
        needless_allowed=loss,
        bars=[
            at_most("the longest wait for an answer", answers, ANSWER),
            exactly("histories of the hubs", len(same), 1),
            *others,
            *outcome.bars(),
        ],
    )
