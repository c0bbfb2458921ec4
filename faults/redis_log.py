"""Two hubs on one log in Redis: the server dies, forgets, is tampered with or silent (F12 to F14, F17)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

from faults.proxy import Proxy
from faults.redis_server import RedisServer, program
from faults.scenario import Context, Fault, NotPossible, Result
from faults.served import wait_until
from faults.two_hubs import Deed, lost_is_told, run
from faults.workload import Workload


@contextlib.contextmanager
def server_of(context: Context) -> Iterator[tuple[RedisServer, Proxy, str]]:
    """A server, a proxy in front of it, and the URL of a log that is reached through the proxy."""
    if program() is None:
        raise NotPossible("redis-server is not installed")
    folder = context.folder / "redis"
    folder.mkdir()
    with RedisServer(folder) as server, Proxy(("127.0.0.1", server.port)) as proxy:
        yield server, proxy, f"redis://127.0.0.1:{proxy.address[1]}/0"


def restarted(context: Context) -> Result:
    """F12: kill -9 of the server, started again at once."""
    times = context.times(smoke=2, full=5)
    with server_of(context) as (server, _, url):

        def deed(work: Workload) -> None:
            server.kill()
            server.start()

        return run(
            context, url, [("kill -9 of the server", deed)] * times, "kills", 2.0 if context.smoke else 4.0
        )


def tampered_with(context: Context) -> Result:
    """F13: another program at the log's keys and connections."""
    with server_of(context) as (server, _, url):
        deeds: list[Deed] = [
            ("CLIENT KILL", lambda work: server.ask("CLIENT", "KILL", "TYPE", "normal")),
            ("XTRIM", lambda work: server.ask("XTRIM", "{tidewire}:log", "MAXLEN", "50")),
            ("FLUSHALL", lambda work: server.ask("FLUSHALL")),
            ("DEL of the hash", lambda work: server.ask("DEL", "{tidewire}:meta")),
            ("DEBUG SLEEP", lambda work: server.ask("DEBUG", "SLEEP", "2" if context.smoke else "5")),
        ]
        return run(context, url, deeds, "deeds", 2.0 if context.smoke else 5.0, loss=True)


def set_back(context: Context) -> Result:
    """F14: a replica that lacks the newest entries is promoted."""
    with server_of(context) as (server, proxy, url), contextlib.ExitStack() as stack:
        primary = server

        def replica_of(primary: RedisServer, number: int) -> RedisServer:
            folder = context.folder / f"replica-{number}"
            folder.mkdir()
            replica = stack.enter_context(RedisServer(folder))
            replica.ask("REPLICAOF", "127.0.0.1", str(primary.port))
            up = b"master_link_status:up"
            wait_until(lambda: up in replica.ask("INFO", "replication"), 60, "the replica follows")
            return replica

        def promote(work: Workload) -> None:
            nonlocal primary
            replica = replica_of(primary, len(work.faults))
            # The primary has no password, so it refuses the replica from now on.
            replica.ask("CONFIG", "SET", "masterauth", "wrong")
            replica.ask("CLIENT", "KILL", "TYPE", "master")
            work.steady(1.0 if context.smoke else 3.0)
            primary.kill()
            replica.ask("REPLICAOF", "NO", "ONE")
            proxy.target = "127.0.0.1", replica.port
            primary = replica

        times = context.times(smoke=1, full=3)
        return run(
            context,
            url,
            [("promotion", promote)] * times,
            "promotions",
            1.0 if context.smoke else 8.0,
            loss=True,
            bars=lambda work, outcome: lost_is_told(work, times),
        )


def silent(context: Context) -> Result:
    """F17: the proxy swallows everything, without a reset."""
    with server_of(context) as (_, proxy, url):

        def deed(work: Workload) -> None:
            proxy.fall_silent(6.0 if context.smoke else 30.0)

        return run(context, url, [("blackhole", deed)], "blackholes", 5.0)


def paused(context: Context) -> Result:
    """F17: the server is stopped and goes on."""
    with server_of(context) as (server, _, url):

        def deed(work: Workload) -> None:
            server.signal(signal.SIGSTOP)
            try:
                time.sleep(6.0 if context.smoke else 15.0)
            finally:
                server.signal(signal.SIGCONT)

        return run(context, url, [("SIGSTOP of the server", deed)], "stops", 5.0)


FAULTS = [
    Fault("F12", "redis: two hubs, kill -9 of the server, started again", "smoke", restarted),
    Fault("F13", "redis: two hubs, keys and connections deleted by others", "full", tampered_with),
    Fault("F14", "redis: two hubs, a replica without the newest events is promoted", "smoke", set_back),
    Fault("F17", "redis: two hubs, 30 s of silence without a reset", "full", silent),
    Fault("F17", "redis: two hubs, the server is stopped for 15 s", "full", paused),
]
