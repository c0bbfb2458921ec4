"""The wall clock jumps: F22."""

from __future__ import annotations

import http.client
import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

from faults.scenario import Context, Fault, NotPossible, Result, exactly
from faults.served import Served, wait_until
from faults.workload import Workload, scale_of

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

# Far below the jumps: a log that followed the wall clock would trim everything.
RETENTION = 600
HOUR = 3600
KEY = "across the jumps"


def clock_jumps(context: Context) -> Result:
    """F22: the wall clock is an hour ahead, an hour behind with a restart, and right again."""
    scale = scale_of(context)
    pause = 1.0 if context.smoke else 10.0
    wall = context.folder / "wall"
    wall.write_text("+0")
    options = [*scale.options, "--retention-age", str(RETENTION)]
    with Served(context.folder, context.engine_url(), *options, env=faked(wall)) as hub:
        with Workload(hub, scale) as work:
            work.steady(pause)
            first = publish_with_key(work)
            for jump in (HOUR, -HOUR):
                with work.fault(f"wall clock {jump:+} s"):
                    set_wall(hub, wall, jump)
                work.steady(pause)
            again = publish_with_key(work)
            ended = sum(witness.streams - 1 for witness in work.witnesses)
            with work.fault("restart an hour behind"):
                hub.kill()
                hub.start()
            work.steady(pause)
            with work.fault("wall clock back"):
                set_wall(hub, wall, 0)
            work.steady(pause)
            after = publish_with_key(work)
            outcome = work.finish()
    return Result(
        happened=outcome.happened,
        unit="jumps and a restart",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[
            exactly("streams ended by a jump", ended, 0),
            exactly("ids of one key", len({first, again, after}), 1),
            *outcome.bars(),
        ],
    )


def faked(wall: Path) -> dict[str, str]:
    """Return an environment in which the file `wall` shifts the wall clock, and no other clock."""
    if not LIBRARIES:
        raise NotPossible("needs libfaketime (Debian: faketime)")
    return {
        "LD_PRELOAD": str(LIBRARIES[-1]),
        "FAKETIME_TIMESTAMP_FILE": str(wall),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Otherwise it also changes how long threads wait for each other: answers took 2 s.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


def set_wall(hub: Served, wall: Path, ahead: int) -> None:
    """Set the hub's wall clock `ahead` seconds ahead, and wait until its answers show that."""
    wall.write_text(f"{ahead:+}")
    wait_until(lambda: abs(wall_of(hub) - time.time() - ahead) < 60, 10, "the wall clock has jumped")


def wall_of(hub: Served) -> float:
    connection = http.client.HTTPConnection(hub.host, hub.port, timeout=10)
    try:
        connection.request("GET", "/health/live")
        answer = connection.getresponse()
        answer.read()
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    finally:
        connection.close()


def publish_with_key(work: Workload) -> str:
    """Publish the same event with the same key again, and return its id."""
    topic, data = work.topics[0], "published again and again"
    connection = http.client.HTTPConnection(work.hub.host, work.hub.port, timeout=10)
    try:
        work.recorder.invoked(KEY, topic, data)
        connection.request("POST", f"/events/{topic}", data, {"Idempotency-Key": KEY})
        receipt = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    work.recorder.ok(KEY, receipt["id"], receipt["duplicate"], receipt["durability"])
    id_: str = receipt["id"]
    return id_


FAULTS = [Fault("F22", "the wall clock jumps by an hour, both ways", "full", clock_jumps)]
