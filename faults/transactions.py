"""Four processes publish in transactions, two of them are killed: F15."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from faults.postgres_log import DATABASE, version
from faults.postgres_server import PostgresServer
from faults.scenario import Bar, Context, Fault, Result, exactly
from faults.served import wait_until

TIMEOUT = 300.0
KILLED = "cd"
NAMES = "ab" + KILLED


@dataclass(frozen=True)
class Tally:
    """
    What was committed, and what of it is in the log. `begun` counts transactions, `late` the events that
    were stored before another one that had been committed when they were published.
    """

    begun: int
    kills: int
    committed: int
    lost: int
    invented: int
    repeated: int
    late: int

    def bars(self) -> list[Bar]:
        counts = {name: getattr(self, name) for name in ("lost", "invented", "repeated")}
        bars = [exactly(f"committed events {name}", count, 0) for name, count in counts.items()]
        return [*bars, exactly("events before one that had been committed", self.late, 0)]


def attempt(url: str, sql: Callable[[str], str], count: int) -> Tally:
    """Run `count` transactions on a log at `url`, whose database is asked by `sql`."""
    sql("CREATE TABLE done (name text, before text[])")
    share = count // len(NAMES)

    def number_of(query: str) -> int:
        return int(sql(query))

    def done(name: str) -> int:
        return number_of(f"SELECT count(*) FROM done WHERE name LIKE '{name}.%'")

    def next_of(name: str) -> int:
        query = "SELECT 1 + coalesce(max(substr(name, 3)::int), -1) FROM done"
        return number_of(f"{query} WHERE name LIKE '{name}.%'")

    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(worker(url, name, 0, share)) for name in NAMES}
        for name in KILLED:
            wait_until(lambda name=name: done(name) >= share // 4, TIMEOUT, f"{name} has published")
            workers[name].kill()
            workers[name].wait()
        for name in KILLED:
            workers[name] = stack.enter_context(worker(url, name, next_of(name), share))
        for process in workers.values():
            assert process.stdout is not None
            if process.stdout.readline() != b"done\n":
                raise RuntimeError("a process that publishes in transactions failed")
        wait_until(
            lambda: number_of("SELECT count(*) FROM tidewire.outbox") == 0, TIMEOUT, "the outbox is empty"
        )
    return judged(sql, len(NAMES) * share)


@contextlib.contextmanager
def worker(url: str, name: str, first: int, last: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "faults.transaction_worker", url, name, str(first), str(last)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    with process:
        try:
            yield process
        finally:
            process.kill()


def judged(sql: Callable[[str], str], begun: int) -> Tally:
    committed: dict[str, list[str]] = json.loads(sql("SELECT json_object_agg(name, before) FROM done"))
    entries = "json_agg(convert_from(data, 'UTF8') ORDER BY \"offset\")"
    stored: list[str] = json.loads(sql(f"SELECT {entries} FROM tidewire.entries"))
    place = {name: index for index, name in enumerate(stored)}
    return Tally(
        begun=begun,
        kills=len(KILLED),
        committed=len(committed),
        lost=len(committed.keys() - place.keys()),
        invented=len(place.keys() - committed.keys()),
        repeated=sum(Counter(stored).values()) - len(place),
        late=sum(
            place[a] > place[b] for b, before in committed.items() for a in before if {a, b} <= place.keys()
        ),
    )


def transactions(context: Context) -> Result:
    """F15: a third of the transactions is rolled back, and two processes are killed meanwhile."""
    with PostgresServer(version()) as server:
        count = 120 if context.smoke else 1000
        tally = attempt(server.url(DATABASE), lambda text: server.sql(DATABASE, text), count)
    return Result(
        happened=tally.kills,
        unit=f"kills during {tally.begun:,} transactions",
        acked=tally.committed,
        figures=[f"{tally.committed} committed"],
        bars=tally.bars(),
    )


# Its smoke is a test: tests/engines/postgres/test_committed_once.py.
FAULTS = [
    Fault(
        "F15",
        "postgres: four processes, 1,000 transactions, a third rolled back, two kill -9",
        "full",
        transactions,
        least_acked=600,
    )
]
