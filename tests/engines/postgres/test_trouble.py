"""A server that stops, hangs, or has lost events: refused in time, told, and over by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from support.postgres_server import VERSIONS, PostgresServer
from support.waiting import wait_until_async
from tidewire import Hub
from tidewire.engines.postgres.engine import durability_of
from tidewire.errors import InvalidInput, StartRefused, TidewireError, Unavailable
from tidewire.testing.wire import listen


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of these tests alone: they stop it."""
    if not VERSIONS:
        pytest.skip("PostgreSQL is not installed")
    server = PostgresServer(VERSIONS[-1])
    try:
        yield server
    finally:
        server.remove()


@contextlib.asynccontextmanager
async def open_hub(url: str, **settings: float) -> AsyncIterator[Hub]:
    hub = Hub(url, **settings)
    async with hub.lifespan():
        yield hub


async def publish_until_stored(hub: Hub, data: str) -> None:
    """Publish with a key until that is acknowledged."""

    async def stored() -> bool:
        with contextlib.suppress(Unavailable):
            await hub.publish("t", data, key=data)
            return True
        return False

    await wait_until_async(stored)


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


async def test_a_server_that_starts_again(url: str, server: PostgresServer) -> None:
    async with open_hub(url) as hub:
        wire = await listen(hub.node, "t")
        await hub.publish("t", "before")
        life = (await hub.head()).life
        server.stop(signal.SIGQUIT)
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await hub.publish("t", "refused")
        assert time.monotonic() - began < 6
        await wait_until_async(lambda: not hub.node.log.up)
        assert not wire.ended
        server.start()
        await publish_until_stored(hub, "after")
        await wait_until_async(lambda: wire.data == ["before", "after"])
        assert wire.gaps == []
        assert (await hub.head()).life != life


async def test_connections_that_are_ended_all_the_time(url: str, server: PostgresServer) -> None:
    """No event is lost and none is stored twice, though nothing repeats a publish but its key."""
    end = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = '{}' AND pid <> pg_backend_pid()"
    )
    async with open_hub(url) as hub:
        wire = await listen(hub.node, "t")
        publishing = asyncio.ensure_future(_publish_all(hub, 300))
        loop = asyncio.get_running_loop()
        for _ in range(5):
            await loop.run_in_executor(None, server.sql, "postgres", end.format(database_of(url)))
            await asyncio.sleep(0.1)
        await publishing
        await wait_until_async(lambda: len(wire.data) >= 300)
        assert wire.data == [str(number) for number in range(300)]
        assert wire.gaps == []


async def _publish_all(hub: Hub, count: int) -> None:
    for number in range(count):
        await publish_until_stored(hub, str(number))
        await asyncio.sleep(0.002)


async def test_a_server_that_does_not_answer(url: str, server: PostgresServer) -> None:
    async with open_hub(url, engine_timeout=1.0) as hub:
        wire = await listen(hub.node, "t")
        await hub.publish("t", "before")
        pids = server.sql(
            "postgres", f"SELECT pid FROM pg_stat_activity WHERE datname = '{database_of(url)}'"
        )
        stopped = [server.pid, *map(int, pids.split())]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await hub.publish("t", "hangs", key="hangs")
            assert time.monotonic() - began < 5
            await wait_until_async(lambda: not hub.node.log.up)
            assert not wire.ended
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        await publish_until_stored(hub, "hangs")
        await publish_until_stored(hub, "after")
        await wait_until_async(lambda: wire.data == ["before", "hangs", "after"])
        assert wire.gaps == []


async def test_a_log_that_went_back_is_told(url: str, server: PostgresServer) -> None:
    """The newest entries are missing, as after the promotion of a standby or in a restored backup."""
    back = """
      DELETE FROM tidewire.entries WHERE "offset" > 3;
      UPDATE tidewire.meta SET (head, total, "check") =
        (SELECT "offset", total, "check" FROM tidewire.entries WHERE "offset" = 3)
    """
    async with open_hub(url) as hub:
        receipts = [await hub.publish("t", str(number)) for number in range(1, 7)]
        wire = await listen(hub.node, "t", since=str(receipts[4].position))
        server.sql(database_of(url), back)
        await wait_until_async(lambda: wire.gaps)
        assert [gap["reason"] for gap in wire.gaps] == ["foreign"]
        again = await hub.publish("t", "other")
        assert again.position.offset == 4
        assert str(again.position) not in {str(receipt.position) for receipt in receipts}
    # And with nobody there to see it.
    server.sql(database_of(url), back)
    server.stop()
    server.start()
    async with open_hub(url) as hub:
        await hub.publish("t", "third")
        kept = await listen(hub.node, "t", since=str(receipts[2].position))
        lost = await listen(hub.node, "t", since=str(again.position))
        await wait_until_async(lambda: kept.data == ["third"] and lost.gaps)
        assert (kept.gaps, [gap["reason"] for gap in lost.gaps]) == ([], ["foreign"])


async def test_a_schema_that_is_dropped(url: str, server: PostgresServer) -> None:
    async with open_hub(url) as hub:
        first = await hub.publish("t", "gone")
        wire = await listen(hub.node, "t", since=str(first.position))
        server.sql(database_of(url), "DROP SCHEMA tidewire CASCADE")
        await publish_until_stored(hub, "new")
        await wait_until_async(lambda: wire.data == ["new"])
        assert [gap["reason"] for gap in wire.gaps] == ["foreign"]


async def refusal_of(url: str) -> str:
    with pytest.raises(TidewireError) as refused:
        async with open_hub(url):
            pass
    assert isinstance(refused.value, StartRefused | InvalidInput)
    return refused.value.detail


async def test_what_is_wrong_at_the_start_is_said(url: str, server: PostgresServer) -> None:
    database = database_of(url)
    assert "cannot be reached" in await refusal_of("postgresql://nobody@127.0.0.1:1/nothing")
    assert f'database "{database}x" does not exist' in await refusal_of(f"{url}x")
    assert "not valid" in await refusal_of("postgresql://localhost/?no_such_thing=1")
    server.sql("postgres", "CREATE ROLE guest LOGIN")
    guest = url.replace("tester@", "guest@")
    assert 'CREATE SCHEMA tidewire AUTHORIZATION "guest"' in await refusal_of(guest)
    server.sql(database, 'CREATE SCHEMA tidewire AUTHORIZATION "guest"')
    async with open_hub(guest) as hub:
        await hub.publish("t", "with the least rights")
    server.sql(database, "UPDATE tidewire.meta SET version = 99")
    assert "a later version of Tidewire" in await refusal_of(url)
    server.sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "ENCODING 'UTF8'" in await refusal_of(server.url("latin"))


@pytest.mark.parametrize(
    ("settings", "durability"),
    [
        (("on", "on", ""), "disk"),
        (("on", "local", "one, two"), "disk"),
        (("on", "on", "one, two"), "quorum"),
        (("on", "remote_apply", "ANY 1 (one, two)"), "quorum"),
        (("on", "remote_write", "one"), "disk"),
        (("on", "off", "one"), "process"),
        (("off", "on", "one"), "process"),
    ],
)
def test_the_durability_follows_from_the_settings_of_the_server(
    settings: tuple[str, str, str], durability: str
) -> None:
    assert durability_of(*settings) == durability


async def test_the_durability_is_read_at_the_start(url: str) -> None:
    async with open_hub(f"{url}?options=-c%20synchronous_commit%3Doff") as hub:
        receipt = await hub.publish("t")
        assert (hub.durability, receipt.position.offset) == ("process", 1)
