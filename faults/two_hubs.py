"""Two hubs under load on one log in a server to which something is done (F12 to F17)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from faults.history import history
from faults.outcome import Outcome
from faults.scenario import Bar, Context, Result, at_most, exactly
from faults.served import Served, several
from faults.workload import Workload, scale_of

HUBS = 2
# Seconds within which every publish is answered. The smoke tier runs among other tests.
ANSWER = {"smoke": 7.5, "full": 5.0, "soak": 5.0}

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
            at_most("the longest wait for an answer", answers, ANSWER[context.tier]),
            exactly("histories of the hubs", len(same), 1),
            *others,
            *outcome.bars(),
        ],
    )


def lost_is_told(work: Workload, deeds: int) -> list[Bar]:
    """
    Judge the positions of acknowledged events that are not in the log any more.

    Each deed must have lost some. A new life begins after each, so those of one deed have one life.
    """
    kept = {id for id, _, _ in history(work.hub)}
    lost = [id for publisher in work.publishers for _, _, id in publisher.acked if id not in kept]
    reasons = [reason_of_gap(hub, id) for id in lost for hub in work.hubs]
    untold = [reason for reason in reasons if reason != "foreign"]
    return [
        exactly("deeds that lost events", len({id.split(".")[0] for id in lost}), deeds),
        exactly(f"lost positions ({len(lost)}) without a gap `foreign`", untold or 0, 0),
    ]


def reason_of_gap(hub: Served, position: str) -> str | None:
    """Return why a hub cannot continue a position; None if it can."""
    query = urlencode({"topic": "**", "since": position, "limit": 1})
    _, body = hub.get(f"/events?{query}", timeout=30, headers={"Accept": "application/json"})
    gap = json.loads(body)["gap"]
    return gap and str(gap["reason"])
