"""Clients that vanish without closing their connection: F7."""

from __future__ import annotations

import contextlib
import time

from faults.load import Load, ask, ended, stream_bars
from faults.netns import Network
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import Served

STREAMS = 100  # on each side
QUIET = 10
RATE = 100.0
SIZE = 200
# Entries kept. The log is filled before anything is measured, so that memory does not grow with it.
KEPT = 2000
FILL_RATE = 2000.0
TIMEOUT = 15.0
# A quiet stream first has to write something: its heartbeat.
QUIET_TIMEOUT = 60.0
OPTIONS: tuple[str, ...] = ("--open", "--window-entries", f"{KEPT}", "--retention-entries", f"{KEPT}")
OPTIONS += ("--max-streams-per-address", "0")


def half_open(context: Context) -> Result:
    """F7: 200 subscribers; for half of them every packet is dropped."""
    with contextlib.ExitStack() as stack:
        good, bad = stack.enter_context(Network()), stack.enter_context(Network())
        hub = stack.enter_context(Served(context.folder, context.engine_url(), *OPTIONS, host="0.0.0.0"))
        load = stack.enter_context(Load((good.hub, hub.port)))
        fill = load.publish(FILL_RATE, SIZE)
        load.run(TIMEOUT, lambda: len(fill.acks) > KEPT)
        load.silence()
        with good.inside():
            living = load.open(STREAMS)
        with bad.inside():
            dying = load.open(STREAMS, address=(bad.hub, hub.port))
            quiet = [stack.enter_context(ask((bad.hub, hub.port), what=f"quiet/{n}")) for n in range(QUIET)]
        steady = load.publish(RATE, SIZE)
        load.run(5.0)
        memory, descriptors = hub.memory(), hub.descriptors()
        begun = time.monotonic()
        bad.blackhole()
        busy = wait_for(load, hub, STREAMS + QUIET) - begun
        load.run(0.5)  # until the connection that read the metric is gone
        freed_memory, freed = hub.memory(), descriptors - hub.descriptors()
        idle = wait_for(load, hub, STREAMS) - begun
        load.close(dying)
        load.settle()
        return Result(
            happened=STREAMS + len(quiet),
            unit="half-open streams",
            acked=len(steady.acks),
            figures=[f"quiet streams were freed after {idle:.1f} s"],
            bars=[
                at_most("all streams with events were freed after", busy, 33.0),
                at_most("memory afterwards", freed_memory / memory, 1.05, "x before"),
                exactly("descriptors freed", freed, len(dying)),
                *stream_bars(living),
                exactly("other streams ended", ended(living), 0),
            ],
        )


def wait_for(load: Load, hub: Served, streams: int) -> float:
    """Return when the hub had only `streams` open streams, or the time at which this gave up waiting."""
    give_up = time.monotonic() + QUIET_TIMEOUT
    while hub.metric("tidewire_open_streams") > streams and time.monotonic() < give_up:
        load.run(0.25)
    return time.monotonic()


FAULTS = [
    Fault("F7", "200 subscribers, half of them half-open", "full", half_open, needs=("root", "ip", "nft")),
]
