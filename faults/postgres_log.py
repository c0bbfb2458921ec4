"""Two hubs on one log in PostgreSQL: the server crashes, forgets, is in use or falls silent (F15 to F17)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from faults.outcome import Outcome
from faults.postgres_server import PostgresServer, installed
from faults.proxy import Proxy
from faults.scenario import Bar, Context, Fault, NotPossible, Result, at_most, exactly
from faults.two_hubs import Deed, lost_is_told, run
from faults.workload import Workload

DATABASE = "postgres"
# Seconds without an ack that a deed of F15 may cost. The smoke tier runs among other tests.
OUTAGE = {"smoke": 15.0, "full": 5.0, "soak": 5.0}
# Restoring waits for the locks of hubs, and they for its: the server then ends one of them.
RESTORES = 10
# What is in the log's schema and may be written anew.
TABLES = ("entries", "keys", "records", "marks", "lives", "meta", "retention", "outbox")


def version() -> int:
    """Return the newest version that is installed. Raises `NotPossible` if there is none."""
    with contextlib.suppress(ImportError):
        import psycopg  # noqa: F401

        if versions := installed():
            return max(versions)
    raise NotPossible("PostgreSQL and psycopg are not installed")


# -- F15


def disturbed(context: Context) -> Result:
    """F15: crashes of the server, ended connections, a transaction that stays open, VACUUM FULL."""
    times = context.times(smoke=1, full=5)
    seconds = 1.0 if context.smoke else 10.0
    with PostgresServer(version()) as server:

        def crash(work: Workload) -> None:
            server.stop(signal.SIGQUIT)
            server.start()

        def end_connections(work: Workload) -> None:
            for _ in range(times):
                server.end_connections(DATABASE)
                time.sleep(1)

        def hold_the_outbox(work: Workload) -> None:
            text = "published in a transaction that stayed open"
            work.recorder.invoked("open", work.topics[0], text)
            server.sql(
                DATABASE,
                "BEGIN",
                f"INSERT INTO tidewire.outbox (topic, data) VALUES ('{work.topics[0]}', '{text}')",
                f"SELECT pg_sleep({seconds})",
                "COMMIT",
            )
            work.recorder.unknown("open")

        def vacuum(work: Workload) -> None:
            for table in TABLES:
                server.sql(DATABASE, f"VACUUM FULL tidewire.{table}")

        def bars(work: Workload, outcome: Outcome) -> list[Bar]:
            held = [data for _, _, data in work.log if data.startswith("published in")]
            return [
                at_most("the longest time without an ack", outcome.outage, OUTAGE[context.tier]),
                exactly("events of the open transaction", len(held), 1),
            ]

        deeds: list[Deed] = [("crash of the server", crash)] * times
        deeds += [
            ("connections ended", end_connections),
            ("a transaction stays open", hold_the_outbox),
            ("VACUUM FULL", vacuum),
        ]
        pause = 1.0 if context.smoke else 4.0
        return run(context, server.url(DATABASE), deeds, "deeds", pause, bars=bars)


# -- F16


class Pair:
    """A primary and a standby that follows it over a link; the two change places."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.primary = stack.enter_context(PostgresServer(version()))
        self._follow()
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        self.url = f"postgresql://tester@{hosts}/{DATABASE}"

    def _follow(self) -> None:
        self._link = self._stack.enter_context(Proxy(("127.0.0.1", self.primary.port)))
        self.standby = self._stack.enter_context(
            PostgresServer(version(), copy_of=self._link.address[1], hot_standby="on")
        )

    def fail_over(self, behind: float) -> None:
        """Promote the standby, which lacks what the primary has stored in the last seconds."""
        self._link.blackhole = True
        time.sleep(behind)
        self.primary.stop(signal.SIGQUIT)
        self.standby.promote()
        self.primary = self.standby


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        yield Pair(stack)


def set_back(context: Context) -> Result:
    """F16: a standby that lacks the newest events is promoted, and an old dump is restored."""
    seconds = 0.5 if context.smoke else 5.0
    with pair() as servers:

        def promote(work: Workload) -> None:
            servers.fail_over(seconds)

        def put_back(path: Path) -> None:
            for attempt in range(RESTORES):
                try:
                    servers.primary.restore(DATABASE, path)
                    return
                except RuntimeError:
                    if attempt == RESTORES - 1:
                        raise

        def restore(work: Workload) -> None:
            path = servers.primary.dump(DATABASE, "tidewire")
            work.steady(seconds)
            put_back(path)

        def restore_while_away(work: Workload) -> None:
            path = servers.primary.dump(DATABASE, "tidewire")
            work.steady(seconds)
            for hub in work.hubs:
                hub.kill()
            put_back(path)
            for hub in work.hubs:
                hub.start()

        deeds: list[Deed] = [("promotion", promote), ("an old dump", restore)]
        if not context.smoke:
            deeds.append(("an old dump, without hubs", restore_while_away))
        return run(
            context,
            servers.url,
            deeds,
            "deeds",
            1.0 if context.smoke else 10.0,
            loss=True,
            bars=lambda work, outcome: lost_is_told(work, len(deeds)),
        )


# -- F17


def silent(context: Context) -> Result:
    """F17: the proxy swallows everything, without a reset."""
    with (
        PostgresServer(version()) as server,
        Proxy(("127.0.0.1", server.port)) as proxy,
    ):
        url = f"postgresql://tester@127.0.0.1:{proxy.address[1]}/{DATABASE}"

        def deed(work: Workload) -> None:
            proxy.fall_silent(6.0 if context.smoke else 30.0)

        return run(context, url, [("blackhole", deed)], "blackholes", 5.0)


FAULTS = [
    Fault(
        "F15",
        "postgres: two hubs, crashes of the server, ended connections, an open transaction, VACUUM FULL",
        "smoke",
        disturbed,
    ),
    Fault("F16", "postgres: two hubs, a standby without the newest events, an old dump", "smoke", set_back),
    Fault("F17", "postgres: two hubs, 30 s of silence without a reset", "full", silent),
]
