"""The hub's process runs out of descriptors: F25."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from benchmarks.process import cpu_seconds

from faults.load import Load, RawStream, ended, stream_bars
from faults.scenario import Bar, Context, Fault, Result, at_most, exactly
from faults.served import Served

LIMIT = 256
CLIENTS = 400
# Connections that send nothing, and take every descriptor that the streams leave.
SILENT = 100
RATE = 150.0
SIZE = 200
TIMEOUT = 10.0
# Seconds until new streams have an event. The smoke tier runs among other tests.
AFTER = {"smoke": 30.0, "full": 3.0, "soak": 3.0}
# A hub that spins uses a whole core.
CPU = 0.5


def no_descriptors(context: Context) -> Result:
    """F25: 400 clients of a hub that may have 256 descriptors."""
    before = ("prlimit", f"--nofile={LIMIT}:{LIMIT}")
    with (
        Served(context.folder, context.engine_url(), before=before) as hub,
        Load((hub.host, hub.port)) as load,
    ):
        steady = load.publish(RATE, SIZE)
        clients = load.open(CLIENTS)
        load.run(TIMEOUT, lambda: all(c.opened_at or c.ended_at for c in clients))
        streams = [client for client in clients if client.is_open]
        accepted = len(streams)
        seconds = 2.0 if context.smoke else 5.0
        usual = share_of_cpu(load, hub, seconds)
        with silent_connections(load) as silent:
            full = share_of_cpu(load, hub, seconds)
            most, turned_away = hub.descriptors(), sum(map(was_closed, silent))
        bars = [
            *replace(load, streams, AFTER[context.tier]),
            at_most("CPU without free descriptors", full, usual + CPU, "cores"),
            exactly("streams ended in the meantime", ended(streams), 0),
            *stream_bars(clients),
        ]
        load.settle()
        return Result(
            happened=turned_away,
            unit="connections that got no descriptor",
            acked=len(steady.acks),
            figures=[
                f"{accepted} streams, {sum(c.refused for c in clients)} told to try again",
                f"{most} descriptors at most",
                f"CPU before {usual:.2f} cores",
            ],
            bars=bars,
        )


def share_of_cpu(load: Load, hub: Served, seconds: float) -> float:
    begun, before = time.monotonic(), cpu_seconds(hub.pid)
    load.run(seconds)
    return (cpu_seconds(hub.pid) - before) / (time.monotonic() - begun)


@contextlib.contextmanager
def silent_connections(load: Load) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(load.address, TIMEOUT)) for _ in range(SILENT)]


def was_closed(sock: socket.socket) -> bool:
    """Whether the hub closed a connection on which nothing was sent."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def replace(load: Load, streams: list[RawStream], seconds: float) -> list[Bar]:
    """Close some streams and open new ones in their place, which have an event within `seconds`."""
    leaving, streams[:] = streams[:50], streams[50:]
    load.close(leaving)
    begun = time.monotonic()
    load.run(1.0)
    coming = load.open(len(leaving))
    load.run(max(TIMEOUT, seconds), lambda: all(stream.events for stream in coming))
    return [
        exactly("new streams afterwards", sum(s.is_open for s in coming), len(leaving)),
        at_most("all of them have an event after", time.monotonic() - begun, seconds),
    ]


FAULTS = [
    Fault("F25", "256 descriptors, 400 clients", "smoke", no_descriptors, needs=("prlimit",)),
]
