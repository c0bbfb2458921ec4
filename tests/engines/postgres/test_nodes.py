"""Several nodes on one log: what only PostgreSQL has. For the rest see tests/engines/test_nodes.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from support.postgres_server import VERSIONS, PostgresServer, postgres_server
from support.waiting import wait_until_async
from tidewire import Hub
from tidewire.engines.postgres import bell, engine
from tidewire.engines.postgres.following import NEWS, News, news_after
from tidewire.engines.postgres.link import Connection
from tidewire.engines.postgres.schema import LOCKS
from tidewire.engines.postgres.state import LogState
from tidewire.testing.wire import listen


@contextlib.asynccontextmanager
async def open_hub(url: str, **settings: float) -> AsyncIterator[Hub]:
    hub = Hub(url, **settings)
    async with hub.lifespan():
        yield hub


async def test_without_notifications_nodes_look_by_themselves(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler: no notification arrives, and no session is a node's own."""
    monkeypatch.setattr(bell, "OWN", 0.0)
    monkeypatch.setattr(bell, "listen", not_listening)
    async with open_hub(url) as one, open_hub(url) as two:
        wire = await listen(two.node, "t")
        await listen(one.node, "t")
        for number in range(20):
            await one.publish("t", str(number))
        await wait_until_async(lambda: wire.data == [str(number) for number in range(20)])
        await wait_until_async(lambda: one.subscribers("t") == two.subscribers("t") == 2)
        assert one.node.engine.presence.lives(two.node.engine.presence.name)


async def test_a_group_that_comes_after_what_others_stored_meanwhile(
    url: str, server: PostgresServer
) -> None:
    """It was judged before, and its node learns of the other entry while it is being stored."""
    database = url.rpartition("/")[2]
    waiting = f"""
      SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{database}'
    """
    # A commit of the topic `slow` waits until this test lets it go on.
    trigger = """
      CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
      CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON tidewire.entries DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.topic = 'slow') EXECUTE FUNCTION hold();
    """
    # The publishes wait for as long as this test holds the locks, which on a busy machine is many seconds.
    patient = {"engine_timeout": 60.0}
    async with (
        open_hub(url, **patient) as one,
        open_hub(url, **patient) as two,
        await AsyncConnection.connect(url) as held,
    ):
        wires = [await listen(hub.node, "slow", "quick") for hub in (one, two)]
        await one.publish("quick", "first")
        await wait_until_async(lambda: all(wire.data == ["first"] for wire in wires))
        server.sql(database, trigger)
        await held.execute("SELECT pg_advisory_lock(1)")
        await held.execute("SELECT FROM tidewire.meta FOR UPDATE")
        quick = asyncio.ensure_future(two.publish("quick", "quick"))
        await wait_until_async(lambda: server.sql(database, waiting) == "1")
        slow = asyncio.ensure_future(one.publish_many([{"topic": "slow", "data": data} for data in "12"]))
        await wait_until_async(lambda: server.sql(database, waiting) == "2")
        await held.commit()  # both go on, one after the other; the advisory lock stays
        await wait_until_async(lambda: wires[0].data == ["first", "quick"])
        await held.execute("SELECT pg_advisory_unlock(1)")
        await held.commit()
        receipts = [await quick, *await slow]
        assert [receipt.position.offset for receipt in receipts] == [2, 3, 4]
        life = (await one.head()).life
        await one.publish("quick", "last")
        await wait_until_async(lambda: all(wire.data[-1] == "last" for wire in wires))
        for wire in wires:
            assert wire.data == ["first", "quick", "1", "2", "last"]
            ids = [str(receipt.position) for receipt in receipts]
            assert [event.id for event in wire.events[1:4]] == ids
            assert wire.gaps == []
        assert (await two.head()).life == life


async def test_a_node_that_did_not_hear_itself_tries_again_soon(
    url: str, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a server that is so busy at the start that its notification comes too late."""
    heard, tries = bell.wait, 0

    async def wait(connection: Any, seconds: float) -> bool:
        nonlocal tries
        tries += 1
        return tries > 1 and await heard(connection, seconds)

    monkeypatch.setattr(bell, "wait", wait)
    locks = f"""
      SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCKS} AND database =
        (SELECT oid FROM pg_database WHERE datname = '{url.rpartition("/")[2]}')
    """
    async with open_hub(url):
        await wait_until_async(lambda: server.sql("postgres", locks) == "1", 30)
        assert tries > 1


async def not_listening(connection: object) -> None:
    pass


async def test_a_node_does_not_look_for_what_it_has_stored(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Counter[object] = Counter()

    async def counted(connection: Connection, state: LogState) -> News:
        looks[state] += 1
        return await news_after(connection, state)

    async with open_hub(url) as one, open_hub(url) as two:
        wire = await listen(two.node, "t")
        await wait_until_async(lambda: one.node.engine.presence.has_peers)
        monkeypatch.setattr(engine, "news_after", counted)
        for number in range(30):
            await one.publish("t", str(number))
            await wait_until_async(lambda: len(wire.data) == number + 1)  # noqa: B023
    # Each event is one look of the other node. Now and then, all look.
    assert looks.total() < 45, looks


async def test_a_look_at_a_new_log_is_not_compiled() -> None:
    """Compiling the query takes longer than all else that happens between two nodes."""
    server = postgres_server(VERSIONS[0])  # newer ones expect fewer rows in a table that is not analysed
    url = server.url(server.new_database())
    async with open_hub(url):
        with psycopg.connect(url) as connection:
            values = {"head": 0, "last": 1000, "size": 1 << 20, "floor": 1}
            (plan,) = connection.execute(f"EXPLAIN (FORMAT JSON) {NEWS}", values).fetchone() or ([],)
            ((limit,),) = connection.execute("SELECT current_setting('jit_above_cost')::float").fetchall()
    assert plan[0]["Plan"]["Total Cost"] < limit / 2


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_another_isolation_level_by_default_refuses_no_publish(url: str, level: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = {}").format(database, level)
        )
    async with open_hub(url) as one, open_hub(url) as two:
        for _ in range(20):
            await asyncio.gather(*(hub.publish("t", "x") for hub in (one, two) for _ in range(5)))
        assert (await one.publish("t", "x")).position.offset == 201


async def test_text_arrives_as_it_was_published(url: str) -> None:
    """Values go to the server as arrays, in which some characters mean something."""
    topics = ['a"b', "a\\b", "a,b", "{a}", "NULL", "null", "a b", "é/🙂"]
    async with open_hub(url) as one, open_hub(url) as two:
        wires = [await listen(two.node, topic) for topic in topics]
        for topic in topics:
            await one.publish(topic, topic, event=topic, key=topic)
        await wait_until_async(lambda: all(wire.data for wire in wires))
        for topic, wire in zip(topics, wires, strict=True):
            assert [(event.data, event.event) for event in wire.events if event.data] == [(topic, topic)]
