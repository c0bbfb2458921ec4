"""Clients that misbehave: F11."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from faults.gauges import sockets
from faults.load import Load, ask, ended, stream_bars
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import Served

GOOD = 20
RATE = 400.0
SIZE = 200
TIMEOUT = 10.0
RESET = struct.pack("ii", 1, 0)
KIB = 1024
# The hub reads and drops 64 KiB; the rest may be in flight when it resets the connection.
ACCEPTED = 96
PIECE = 4 * KIB


def bad_manners(context: Context) -> Result:
    """F11: half-close after the request, reset before the head, endless bytes into the stream's socket."""
    times = context.times(smoke=20, full=100)
    with Served(context.folder, context.engine_url()) as hub, Load((hub.host, hub.port)) as load:
        steady = load.publish(RATE, SIZE)
        good = load.open(GOOD)
        load.run(TIMEOUT, lambda: all(stream.events for stream in good))
        before = sockets(hub)
        early = [half_close(load, after_head=False) for _ in range(times)]
        late = [half_close(load, after_head=True) for _ in range(times)]
        resets = resets_before_head(load, times, lambda: sockets(hub) <= before)
        accepted = [endless_bytes(load) for _ in range(times)]
        load.run(1.0, lambda: sockets(hub) <= before)
        load.settle()
        return Result(
            happened=4 * times,
            unit="bad clients",
            acked=len(steady.acks),
            bars=[
                at_most("ended after a half-close before the head", max(early), 1.0),
                at_most("ended after a half-close of an open stream", max(late), 1.0),
                at_most("freed after a reset before the head", resets, 1.0),
                at_most("closed after endless bytes", max(accepted) / KIB, ACCEPTED, "KiB"),
                exactly("sockets left over after 1 s", max(0, sockets(hub) - before), 0),
                exactly("open streams", int(hub.metric("tidewire_open_streams")), GOOD),
                *stream_bars(good),
                exactly("other streams ended", ended(good), 0),
            ],
        )


def half_close(load: Load, after_head: bool) -> float:
    """Return how many seconds the hub took to end a stream whose client has closed its sending side."""
    (stream,) = load.open()
    if after_head:
        load.run(TIMEOUT, lambda: stream.opened_at)
    begun = time.monotonic()
    stream.sock.shutdown(socket.SHUT_WR)
    load.run(TIMEOUT, lambda: stream.ended_at)
    load.close([stream])
    return time.monotonic() - begun


def resets_before_head(load: Load, times: int, freed: Callable[[], bool]) -> float:
    """Return how many seconds it took until nothing was left of clients that left before their answer."""
    for _ in range(times):
        sock = ask(load.address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()
    begun = time.monotonic()
    # Connections are accepted in order: once this one is answered, all of those were accepted.
    (after,) = load.open()
    load.run(TIMEOUT, lambda: after.opened_at)
    load.close([after])
    load.run(TIMEOUT, freed)
    return time.monotonic() - begun


def endless_bytes(load: Load) -> int:
    """Return how many bytes could be sent into the socket of an open stream."""
    (stream,) = load.open()
    load.run(TIMEOUT, lambda: stream.opened_at)
    sent = 0
    while not stream.ended_at and sent < 100 * ACCEPTED * KIB:
        try:
            sent += stream.sock.send(bytes(PIECE))
        except BlockingIOError:
            pass
        except OSError:
            break
        load.run(0.002, lambda: stream.ended_at)
    load.close([stream])
    return sent


FAULTS = [Fault("F11", "half-closes, resets and endless bytes", "full", bad_manners)]
