"""All clients reconnect at once: F20."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence

from faults.outcome import percentile
from faults.publishers import Publisher
from faults.scenario import Context, Fault, NotPossible, Result, at_most, exactly
from faults.served import Served, wait_until
from faults.sockets import SocketSubscriber
from faults.witness import Witness
from faults.workload import STANDARD, Workload

STREAMS = 5000
# The two sides of a socket are in two processes; these are for files and the other streams.
OTHER_DESCRIPTORS = 500
TOPIC = "everyone"
RATE = 1.0
BACK = 60.0
P99 = 1.0


def herd(context: Context) -> Result:
    """F20: 5,000 streams of a hub that is killed; publishers must hardly notice that all reconnect."""
    allow_streams(STREAMS)
    with Served(context.folder, context.engine_url()) as hub, Workload(hub, STANDARD) as work:
        crowd = join(work, STREAMS, TOPIC, [work.hub])
        everyone = Publisher(99, hub.host, hub.port, [TOPIC], work.recorder, RATE, 200)
        everyone.start()
        work.publishers.append(everyone)
        work.steady(5)
        with work.fault("kill -9"):
            hub.kill()
            hub.start()
        ready = work.faults[0][1]
        wait_until(lambda: all(w.is_open and w.streams > 1 for w in crowd), 2 * BACK, "all streams are back")
        back = time.monotonic() - ready
        work.steady(5)
        outcome = work.finish()
    meanwhile = [a.took for a in outcome.answers if a.acked and ready <= a.at <= ready + back]
    return Result(
        happened=outcome.happened,
        unit=f"kill with {STREAMS:,} streams",
        acked=outcome.acked,
        reports=[outcome.report],
        figures=outcome.figures(),
        bars=[
            at_most("all streams are back after", back, BACK),
            at_most("ack p99 until then", percentile(meanwhile, 0.99), P99),
            exactly("tracebacks of the hub", int("Traceback" in hub.output()), 0),
            *outcome.bars(),
        ],
    )


def allow_streams(count: int) -> None:
    """Let this process and the hubs that it starts have as many streams. Raises `NotPossible`."""
    needed = (count + OTHER_DESCRIPTORS) / 0.8
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < needed:
        raise NotPossible(f"needs {needed:.0f} open files; raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def join(work: Workload, count: int, topic: str, hubs: Sequence[Served]) -> list[Witness]:
    """
    Add subscribers with the rules of a browser, and return once all streams are open.

    Each goes from one of `hubs` to the next when it reconnects, and begins at the first.
    """
    crowd = [Witness(work.recorder, f"crowd-{number}", [topic]) for number in range(count)]
    for witness in crowd:
        plain = SocketSubscriber([(hub.host, hub.port) for hub in hubs], witness, native=True)
        work.on_sockets.append((plain, work.crowd.start(plain.run())))
    work.witnesses += crowd
    wait_until(lambda: all(witness.is_open for witness in crowd), 60, "all streams of the crowd are open")
    return crowd


FAULTS = [Fault("F20", "5,000 streams, kill -9, all reconnect", "full", herd)]
