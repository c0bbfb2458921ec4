"""Publishing within a transaction of the program: all or nothing with its data, once, in an allowed order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from support.postgres_server import PostgresServer
from support.waiting import wait_until, wait_until_async
from tidewire import Hub
from tidewire.errors import InvalidInput

psycopg = pytest.importorskip("psycopg")
asyncpg = pytest.importorskip("asyncpg")
sqlalchemy = pytest.importorskip("sqlalchemy")
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine  # noqa: E402
from sqlalchemy.orm import Session  # noqa: E402

Transaction = Callable[[Hub, str], contextlib.AbstractAsyncContextManager[Any]]


class Rollback(Exception):
    """Raised within a transaction to end it."""


@contextlib.asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@contextlib.asynccontextmanager
async def by_psycopg_sync(url: str) -> AsyncIterator[Any]:
    with psycopg.connect(url) as connection:
        yield connection


@contextlib.asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def by_asyncpg_pool(url: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(url, min_size=1) as pool, pool.acquire() as connection:
        async with connection.transaction():
            yield connection


@contextlib.asynccontextmanager
async def by_async_session(url: str, driver: str = "psycopg") -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql:", f"postgresql+{driver}:"))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


def by_async_session_on_asyncpg(url: str) -> Any:
    return by_async_session(url, "asyncpg")


@contextlib.asynccontextmanager
async def by_async_connection(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def by_session(url: str) -> AsyncIterator[Any]:
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with Session(engine) as session, session.begin():
            yield session
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def by_connection(url: str) -> AsyncIterator[Any]:
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


EVERY = [
    by_psycopg,
    by_psycopg_sync,
    by_asyncpg,
    by_asyncpg_pool,
    by_async_session,
    by_async_session_on_asyncpg,
    by_async_connection,
    by_session,
    by_connection,
]


@contextlib.asynccontextmanager
async def open_hub(url: str) -> AsyncIterator[Hub]:
    hub = Hub(url)
    async with hub.lifespan():
        yield hub


async def stored(hub: Hub, count: int) -> list[str]:
    """Wait until the log has as many events, and return their data."""

    async def enough() -> bool:
        return len((await hub.history("**")).events) >= count

    await wait_until_async(enough)
    return [event.data for event in (await hub.history("**")).events]


@pytest.mark.parametrize("transaction", EVERY, ids=lambda way: way.__name__)
async def test_an_event_is_published_if_its_transaction_commits(url: str, transaction: Any) -> None:
    async with open_hub(url) as hub:
        with contextlib.suppress(Rollback):
            async with transaction(url) as connection:
                assert await hub.publish("a", "never", connection=connection) is None
                raise Rollback
        async with transaction(url) as connection:
            await hub.publish("a", {"n": 1}, event="e", retry=700, key="k", connection=connection)
            await hub.publish("a", "x\x00y", connection=connection)
        await stored(hub, 2)
        one, two = (await hub.history("**")).events
        assert (one.topic, one.data, one.event) == ("a", '{"n":1}', "e")
        assert two.data == "x\x00y"
        await hub.publish("a", "direct")
        assert await stored(hub, 3) == ['{"n":1}', "x\x00y", "direct"]


def test_djangos_connection(url: str, server: PostgresServer) -> None:
    django = pytest.importorskip("django")
    configuration = importlib.import_module("django.conf").settings
    if not configuration.configured:
        configuration.configure(USE_TZ=True)
        django.setup()
    base = importlib.import_module("django.db.backends.postgresql.base")
    settings = {
        "NAME": url.rpartition("/")[2],
        "USER": "tester",
        "PASSWORD": "",
        "HOST": "127.0.0.1",
        "PORT": server.port,
        "OPTIONS": {},
        "TIME_ZONE": None,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "AUTOCOMMIT": True,
        "ATOMIC_REQUESTS": False,
        "TEST": {},
    }

    async def main() -> list[str]:
        async with open_hub(url) as hub:
            await asyncio.get_running_loop().run_in_executor(None, use, hub)
            return await stored(hub, 1)

    def use(hub: Hub) -> None:
        connection = base.DatabaseWrapper(settings)
        connection.set_autocommit(False)
        assert hub.publish_soon("a", "never", connection=connection) is None
        connection.rollback()
        hub.publish_soon("a", "committed", connection=connection)
        connection.commit()
        connection.close()

    assert asyncio.run(main()) == ["committed"]


async def test_what_had_committed_comes_first(url: str) -> None:
    """The older transaction publishes last: neither when it began nor when it commits decides."""
    async with open_hub(url) as hub:
        async with by_psycopg(url) as older, by_psycopg(url) as newer:
            await older.execute("CREATE TABLE t (n integer)")  # it has its number now
            await hub.publish("a", "first", connection=newer)
            await newer.commit()
            await hub.publish("b", "second", connection=older)
            await older.commit()
        assert await stored(hub, 2) == ["first", "second"]


async def test_an_event_without_a_transaction_comes_after_what_had_committed(url: str) -> None:
    async with open_hub(url) as hub:
        for number in range(20):
            async with by_psycopg(url) as connection:
                await hub.publish("a", f"{number}.1", connection=connection)
            receipt = await hub.publish("b", f"{number}.2")
            assert receipt.position.offset == 2 * number + 2
        assert await stored(hub, 40) == [f"{number}.{part}" for number in range(20) for part in (1, 2)]


async def test_an_open_transaction_holds_up_nothing(url: str) -> None:
    async with open_hub(url) as hub:
        async with by_psycopg(url) as slow:
            await hub.publish("a", "slow", connection=slow)
            async with by_psycopg(url) as quick:
                await hub.publish("a", "quick", connection=quick)
            await hub.publish("a", "direct")
            assert await stored(hub, 2) == ["quick", "direct"]
        assert await stored(hub, 3) == ["quick", "direct", "slow"]


async def test_many_events_of_one_transaction_keep_their_order(url: str) -> None:
    async with open_hub(url) as hub:
        async with by_psycopg(url) as connection:
            for number in range(2500):
                await hub.publish("a", str(number), connection=connection)
        receipt = await hub.publish("a", "after")
        assert receipt.position.offset == 2501
        page = await hub.history("a", since="start", limit=1000)
        found = page.events
        while page.more:
            page = await hub.history("a", since=page.next, limit=1000)
            found += page.events
        assert [event.data for event in found] == [*map(str, range(2500)), "after"]


async def test_a_node_that_starts_later_moves_what_was_left(url: str, server: PostgresServer) -> None:
    async with open_hub(url):
        pass
    async with by_psycopg(url) as connection:
        await connection.execute("INSERT INTO tidewire.outbox (topic, data) VALUES ('a', 'by hand')")
    async with open_hub(url) as hub:
        assert await stored(hub, 1) == ["by hand"]
        wait_until(lambda: server.sql(url.rpartition("/")[2], "SELECT count(*) FROM tidewire.outbox") == "0")


async def test_what_cannot_be_an_event_is_dropped_and_logged(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(url) as hub:
        await hub.end("over")
        async with by_psycopg(url) as connection:
            for topic in ("$bad", "over", "good"):
                await connection.execute(
                    "INSERT INTO tidewire.outbox (topic, data) VALUES (%s, 'x')", (topic,)
                )

        async def good() -> bool:
            return bool((await hub.history("good")).events)

        await wait_until_async(good)
        dropped = [record for record in caplog.records if "cannot be stored" in record.message]
        assert len(dropped) == 2


async def test_a_key_of_a_transaction_repeats_nothing(url: str) -> None:
    async with open_hub(url) as hub:
        for _ in range(3):
            async with by_psycopg(url) as connection:
                await hub.publish("a", "once", key="k", connection=connection)
        await hub.publish("a", "once", key="k")
        await hub.publish("a", "end")
        assert await stored(hub, 2) == ["once", "end"]


async def test_a_connection_that_cannot_be_used_is_refused(url: str, server: PostgresServer) -> None:
    async with open_hub(url) as hub:
        with pytest.raises(InvalidInput, match="but not builtins.str"):
            await hub.publish("a", connection="postgresql://")
        async with by_psycopg(server.url(server.new_database())) as elsewhere:
            with pytest.raises(InvalidInput, match="does not have the log of this hub"):
                await hub.publish("a", connection=elsewhere)
            await elsewhere.rollback()
        server.sql("postgres", "DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN")
        weak = url.replace("tester@", "weak@")
        async with by_psycopg(weak) as connection:
            with pytest.raises(InvalidInput, match="GRANT INSERT ON tidewire.outbox"):
                await hub.publish("a", connection=connection)
            await connection.rollback()
            server.sql(
                url.rpartition("/")[2],
                "GRANT USAGE ON SCHEMA tidewire TO weak; GRANT INSERT ON tidewire.outbox TO weak",
            )
            await hub.publish("a", "with the least rights", connection=connection)
        assert await stored(hub, 1) == ["with the least rights"]
        with pytest.raises(InvalidInput, match="await hub.publish"):
            async with by_psycopg(url) as connection:
                hub.publish_soon("a", connection=connection)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_other_engines_say_that_they_have_no_transactions(kind: str, tmp_path: Path) -> None:
    async with open_hub("memory" if kind == "memory" else f"sqlite:///{tmp_path}/log.db") as hub:
        with pytest.raises(InvalidInput, match="needs a hub with its log in PostgreSQL"):
            await hub.publish("a", connection=object())
        with pytest.raises(InvalidInput, match="needs a hub with its log in PostgreSQL"):
            hub.publish_soon("a", connection=object())
