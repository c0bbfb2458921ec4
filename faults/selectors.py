"""Many streams that each ask for one topic of all and one of their own: F8 (G12)."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterable
from functools import partial

from benchmarks.process import cpu_seconds

from faults.beside import Beside
from faults.load import Awaited, Load, ask
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import Served

STREAMS = 1_000
BATCHES = 10
BATCH = 1_000
QUIET = 5.0
TIMEOUT = 60.0
# Ends the data of every event, and occurs nowhere else.
MARK = b"~"
EVENT = {"topic": "all", "data": "0123456789" * 10 + MARK.decode()}


def distinct(context: Context) -> Result:
    """F8: batches to a topic that all streams ask for, each beside a topic of its own."""
    with Served(context.folder, "memory") as hub, Beside(hub, context.folder) as beside:
        shared, _ = deliver(hub, lambda number: "?topic=all&topic=user/0")
        with Load((hub.host, hub.port)) as load:
            load.run(QUIET)
        beside.disturb()
        own, complete = deliver(hub, lambda number: f"?topic=all&topic=user/{number}")
        return Result(
            happened=BATCHES,
            unit=f"batches of {BATCH:,} to {STREAMS:,} streams of a selector each",
            acked=BATCHES * BATCH,
            figures=[
                f"CPU per delivery {own:.3g} us, with one shared selector {shared:.3g} us",
                *beside.figures(),
            ],
            bars=[
                beside.bars(2.0, 20.0)[0],
                at_most("CPU of distinct selectors", own / shared, 2.0, "x shared"),
                exactly("streams with every event", complete, STREAMS),
            ],
        )


def deliver(hub: Served, what: Callable[[int], str]) -> tuple[float, int]:
    """Publish the batches; return the hub's CPU microseconds per delivery, and how many streams had all."""
    with Load((hub.host, hub.port)) as load:
        streams = [
            Awaited(ask(load.address, what=what(number)), 0.0, MARK, BATCHES * BATCH)
            for number in range(STREAMS)
        ]
        load.watch(streams)
        load.run(1.0)
        before = cpu_seconds(hub.pid)
        for number in range(1, BATCHES + 1):
            publish(hub)
            load.run(TIMEOUT, partial(have_all, streams, number))
        used = cpu_seconds(hub.pid) - before
        return used / (STREAMS * BATCHES * BATCH) * 1e6, sum(stream.left == 0 for stream in streams)


def have_all(streams: Iterable[Awaited], batches: int) -> bool:
    return all(stream.left <= (BATCHES - batches) * BATCH for stream in streams)


def publish(hub: Served) -> None:
    connection = http.client.HTTPConnection(hub.host, hub.port, timeout=TIMEOUT)
    connection.request("POST", "/events", json.dumps([EVENT] * BATCH), {"Content-Type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    if status != 200:
        raise RuntimeError(f"a batch was refused: {status}")


TITLE = "1,000 streams of one common topic and one of their own, batches of 1,000"
FAULTS = [Fault("F8", TITLE, "full", distinct)]
