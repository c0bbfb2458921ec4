"""Connections are reset all the time: F10."""

from __future__ import annotations

import random

from faults.netns import kill_sockets, peers
from faults.scenario import Context, Fault, Result, exactly
from faults.served import Served
from faults.workload import Workload, scale_of

SHARE = 5


def sockets_killed(context: Context) -> Result:
    """F10: `ss -K` on a fifth of the hub's sockets, every second."""
    scale, killed = scale_of(context), 0
    with (
        Served(context.folder, context.engine_url(), *scale.options) as hub,
        Workload(hub, scale) as work,
    ):
        work.steady(scale.before)
        for _ in range(int(scale.during)):
            with work.fault("ss -K"):
                killed += kill_a_share(hub.port)
            work.steady(1)
        outcome = work.finish()
    gaps = sum(len(witness.gaps) for witness in work.witnesses)
    return Result(
        happened=killed,
        unit="sockets killed",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[exactly("gaps", gaps, 0), *outcome.bars()],
    )


def kill_a_share(port: int) -> int:
    """Reset a fifth of the connections to a port of this machine; return how many."""
    all_peers = peers(port)
    unlucky = random.sample(all_peers, -(-len(all_peers) // SHARE))
    return sum(kill_sockets("sport", "=", f":{port}", "dst", peer) for peer in unlucky)


FAULTS = [
    Fault("F10", "a fifth of the sockets reset every second", "smoke", sockets_killed, needs=("root", "ss")),
]
