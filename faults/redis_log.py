"""Two hubs on one log in Redis: the server dies, is tampered with, stops or falls silent (F12, F13, F17)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from faults.history import history
from faults.proxy import Proxy
from faults.redis_server import RedisServer, program
from faults.scenario import Context, Fault, NotPossible, Result, at_most, exactly
from faults.served import several
from faults.workload import Workload, scale_of

HUBS = 2
# Seconds within which every publish is answered.
ANSWER = 5.0

Deed = Callable[[RedisServer, Proxy], object]


@contextlib.contextmanager
def cluster(context: Context) -> Iterator[tuple[RedisServer, Proxy, Workload]]:
    """A server, a proxy in front of it, and two hubs under load that reach it through the proxy."""
    if program() is None:
        raise NotPossible("redis-server is not installed")
    scale = scale_of(context)
    folder = context.folder / "redis"
    folder.mkdir()
    with RedisServer(folder) as server, Proxy(("127.0.0.1", server.port)) as proxy:
        url = f"redis://127.0.0.1:{proxy.address[1]}/0"
        with several(context.folder, url, HUBS, *scale.options) as hubs:
            with Workload(hubs[0], scale, hubs[1:]) as work:
                work.steady(scale.before)
                yield server, proxy, work


def run(
    context: Context, deeds: Sequence[tuple[str, Deed]], unit: str, pause: float, *, loss: bool = False
) -> Result:
    with cluster(context) as (server, proxy, work):
        for name, deed in deeds:
            with work.fault(name):
                deed(server, proxy)
            work.steady(pause)
        outcome = work.finish(loss_allowed=loss)
        same = {str(history(hub.url)) for hub in work.hubs}
        answers = max((answer.took for p in work.publishers for answer in p.answers), default=0.0)
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
            *outcome.bars(),
        ],
    )


def restarted(context: Context) -> Result:
    """F12: kill -9 of the server, started again at once."""

    def deed(server: RedisServer, proxy: Proxy) -> None:
        server.kill()
        server.start()

    times = context.times(smoke=2, full=5)
    return run(context, [("kill -9 of the server", deed)] * times, "kills", 2.0 if context.smoke else 4.0)


def tampered_with(context: Context) -> Result:
    """F13: another program at the log's keys and connections."""
    deeds: list[tuple[str, Deed]] = [
        ("CLIENT KILL", lambda server, proxy: server.ask("CLIENT", "KILL", "TYPE", "normal")),
        ("XTRIM", lambda server, proxy: server.ask("XTRIM", "{tidewire}:log", "MAXLEN", "50")),
        ("FLUSHALL", lambda server, proxy: server.ask("FLUSHALL")),
        ("DEL of the hash", lambda server, proxy: server.ask("DEL", "{tidewire}:meta")),
        ("DEBUG SLEEP", lambda server, proxy: server.ask("DEBUG", "SLEEP", "2" if context.smoke else "5")),
    ]
    return run(context, deeds, "deeds", 2.0 if context.smoke else 5.0, loss=True)


def silent(context: Context) -> Result:
    """F17: the proxy swallows everything, without a reset."""
    seconds = 6.0 if context.smoke else 30.0

    def deed(server: RedisServer, proxy: Proxy) -> None:
        proxy.blackhole = True
        try:
            time.sleep(seconds)
        finally:
            proxy.blackhole = False

    return run(context, [("blackhole", deed)], "blackholes", 5.0)


def paused(context: Context) -> Result:
    """F17: the server is stopped and goes on."""

    def deed(server: RedisServer, proxy: Proxy) -> None:
        server.signal(signal.SIGSTOP)
        try:
            time.sleep(6.0 if context.smoke else 15.0)
        finally:
            server.signal(signal.SIGCONT)

    return run(context, [("SIGSTOP of the server", deed)], "stops", 5.0)


FAULTS = [
    Fault("F12", "redis: two hubs, kill -9 of the server, started again", "smoke", restarted),
    Fault("F13", "redis: two hubs, keys and connections deleted by others", "full", tampered_with),
    Fault("F17", "redis: two hubs, 30 s of silence without a reset", "full", silent),
    Fault("F17", "redis: two hubs, the server is stopped for 15 s", "full", paused),
]
