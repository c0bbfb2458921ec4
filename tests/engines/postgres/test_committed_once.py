"""Processes that publish in transactions and are killed: what was committed is stored, once and in order."""

from __future__ import annotations

from faults.transactions import attempt

from support.postgres_server import PostgresServer

TRANSACTIONS = 120


def test_exactly_what_was_committed_is_published(url: str, server: PostgresServer) -> None:
    """Fault F15 has a thousand of them."""
    database = url.rpartition("/")[2]
    tally = attempt(url, lambda text: server.sql(database, text), TRANSACTIONS)
    assert [bar for bar in tally.bars() if not bar.met] == []
    assert tally.committed >= TRANSACTIONS * 2 // 3 - 4
