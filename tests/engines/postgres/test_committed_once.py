"""Processes that publish in transactions and are killed: what was committed is stored, once and in order."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from support.postgres_server import PostgresServer
from support.processes import Process
from support.waiting import wait_until

WORKER = Path(__file__).parents[2] / "apps" / "transaction_worker.py"
TRANSACTIONS = 120


def test_exactly_what_was_committed_is_published(url: str, server: PostgresServer) -> None:
    check_transactions(url, server, TRANSACTIONS)


def check_transactions(url: str, server: PostgresServer, count: int) -> None:
    database = url.rpartition("/")[2]
    server.sql(database, "CREATE TABLE done (name text, before text[])")

    def start(name: str, first: int, last: int) -> Process:
        return Process([sys.executable, WORKER, url, name, str(first), str(last)])

    def number_of(query: str) -> int:
        return int(server.sql(database, query))

    share = count // 4
    with start("a", 0, share) as one, start("b", 0, share) as two:
        with start("c", 0, share) as three, start("d", 0, share) as four:
            for process, name in ((three, "c"), (four, "d")):
                query = f"SELECT count(*) FROM done WHERE name LIKE '{name}.%'"
                wait_until(lambda query=query: number_of(query) >= share // 4)
                process.kill()
        done = {
            name: 1
            + number_of(
                f"SELECT coalesce(max(substr(name, 3)::int), -1) FROM done WHERE name LIKE '{name}.%'"
            )
            for name in "cd"
        }
        with start("c", done["c"], share) as three, start("d", done["d"], share) as four:
            for process in (one, two, three, four):
                process.wait_line("done")
            wait_until(lambda: number_of("SELECT count(*) FROM tidewire.outbox") == 0)
    committed = orjson.loads(server.sql(database, "SELECT json_object_agg(name, before) FROM done"))
    text = server.sql(
        database, "SELECT json_agg(convert_from(data, 'UTF8') ORDER BY \"offset\") FROM tidewire.entries"
    )
    stored = orjson.loads(text)
    assert sorted(stored) == sorted(committed)
    place = {name: index for index, name in enumerate(stored)}
    late = [(a, b) for b, before in committed.items() for a in before if place[a] > place[b]]
    assert late == [], "published after what had been committed, but stored before it"
    assert len(stored) >= count * 2 // 3 - 4
