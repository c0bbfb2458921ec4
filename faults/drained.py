"""One of two hubs on one log is stopped, and its streams go to the other one: F18."""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import replace

from faults.herd import allow_streams, join
from faults.postgres_log import DATABASE, version
from faults.postgres_server import PostgresServer
from faults.redis_log import server_of
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import several
from faults.two_hubs import HUBS
from faults.workload import Workload, scale_of

TOPIC = "idle"
# How many times the mean the reconnects of one second may be.
FLAT = 3
# Seconds that a hub may take to exit beyond the window in which it ends its streams.
EXIT = 5.0


def run(context: Context, url: str) -> Result:
    """F18: SIGTERM for a hub with 2,000 idle streams, which it ends within 20 s."""
    streams, window = (100, 2) if context.smoke else (2000, 20)
    allow_streams(streams)
    scale = scale_of(context)
    scale = replace(scale, options=(*scale.options, "--drain", str(window)))
    with (
        several(context.folder, url, HUBS, *scale.options) as hubs,
        Workload(hubs[0], scale, hubs[1:]) as work,
    ):
        crowd = join(work, streams, TOPIC, hubs)
        work.steady(scale.before)
        with work.fault("SIGTERM"):
            begun = time.monotonic()
            hubs[0].signal(signal.SIGTERM)
            code = hubs[0].wait(window + 10 * EXIT)
            took = time.monotonic() - begun
        hubs[0].start()
        work.steady(window / 4)
        outcome = work.finish()
    back = [at - begun for witness in crowd for at in witness.connected_at[1:]]
    most = max(Counter(map(int, back)).values(), default=0)
    return Result(
        happened=outcome.happened,
        unit=f"hub with {streams:,} idle streams stopped",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[
            exactly("exit code", code, 0),
            at_most("stopped after", took, window + EXIT),
            exactly("streams opened again", len(back), streams),
            at_most("most reconnects in a second", most, FLAT * streams / window, "reconnects"),
            *outcome.bars(),
        ],
    )


def on_redis(context: Context) -> Result:
    with server_of(context) as (_, _, url):
        return run(context, url)


def on_postgres(context: Context) -> Result:
    with PostgresServer(version()) as server:
        return run(context, server.url(DATABASE))


FAULTS = [
    Fault("F18", "redis: two hubs, one with 2,000 idle streams is stopped", "smoke", on_redis),
    Fault("F18", "postgres: two hubs, one with 2,000 idle streams is stopped", "full", on_postgres),
]
