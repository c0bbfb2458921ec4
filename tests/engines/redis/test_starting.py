"""Which servers a log may be in, what receipts then say, and what is said of all others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.ports import free_port
from support.redis_server import RedisServer, redis_server
from tidewire import Hub
from tidewire.engines.redis.url import make_pool, place_of
from tidewire.errors import InvalidInput, StartRefused, StoreFull
from tidewire.log.clock import LogClock


@contextmanager
def changed(server: RedisServer, **config: str) -> Iterator[None]:
    """Run with other settings of the server."""
    names = [name.replace("_", "-") for name in config]
    before = {name: server.ask("CONFIG", "GET", name)[1] for name in names}
    for name, value in zip(names, config.values(), strict=True):
        server.ask("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            server.ask("CONFIG", "SET", name, value)


async def opened(url: str, **settings: Any) -> str:
    """Open and close a hub. Return its durability."""
    hub = Hub(url, **settings)
    await hub.open()
    durability = hub.durability
    await hub.close()
    return durability


async def refusal(url: str) -> str:
    with pytest.raises(StartRefused) as refused:
        await opened(url)
    return str(refused.value)


async def test_the_durability_is_what_the_server_gives(server: RedisServer, url: str) -> None:
    assert await opened(url) == "disk"
    with changed(server, appendfsync="everysec"):
        assert await opened(url) == "process"
    with changed(server, appendonly="no"):
        assert await opened(url) == "memory"


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_a_server_that_may_drop_the_log_is_refused(server: RedisServer, url: str, policy: str) -> None:
    with changed(server, maxmemory_policy=policy):
        text = await refusal(url)
    assert policy in text
    assert "noeviction" in text
    with changed(server, maxmemory_policy="volatile-lru"):
        await opened(url)


async def test_a_server_that_cannot_be_reached() -> None:
    url = f"redis://ann:secret@127.0.0.1:{free_port()}/0"
    text = await refusal(url)
    assert "cannot open the log redis://ann:***@127.0.0.1" in text
    assert "cannot be reached" in text
    assert "secret" not in text


async def test_a_key_of_another_type(server: RedisServer, url: str) -> None:
    prefix = place_of(url).prefix
    server.ask("SET", f"{{{prefix}}}:log", "something else")
    assert "WRONGTYPE" in await refusal(url)
    server.ask("DEL", f"{{{prefix}}}:log")
    server.ask("HSET", f"{{{prefix}}}:meta", "version", "one")
    assert "use another prefix" in await refusal(url)
    server.ask("HSET", f"{{{prefix}}}:meta", "version", "2")
    assert "later version" in await refusal(url)


async def test_a_replica_is_refused(server: RedisServer, tmp_path: Path) -> None:
    with redis_server(tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}") as replica:
        assert "replica" in await refusal(replica.log_url("r"))


async def test_a_user_needs_the_documented_rights_and_no_others(server: RedisServer, url: str) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/redis.md").read_text("utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("ACL SETUSER"))
    prefix = place_of(url).prefix
    server.ask(*line.replace("{tidewire}", f"{{{prefix}}}").split())
    own = url.replace("127.0.0.1", "tidewire:secret@127.0.0.1")
    hub = Hub(own, retention_entries=5)
    await hub.open()
    for number in range(10):
        await hub.publish("a", str(number), key=f"k{number}")
    await hub.end("a")
    await hub.close()
    assert "refuses this user" in await refusal(own.replace("secret", "wrong"))
    server.ask("ACL", "SETUSER", "tidewire", "-xreadgroup", "-evalsha", "-eval", "-multi")
    assert "may not do what a log needs" in await refusal(own)


async def test_a_server_without_memory_refuses_and_loses_nothing(server: RedisServer, url: str) -> None:
    hub = Hub(url)
    await hub.open()
    first = await hub.publish("a", "1", key="k")
    with changed(server, maxmemory="1"):
        with pytest.raises(StoreFull):
            await hub.publish("a", "2")
        repeat = await hub.publish("a", "1", key="k")
        assert (repeat.position, repeat.duplicate) == (first.position, True)
    assert (await hub.publish("a", "3")).position.offset == 2
    await hub.close()


async def test_scripts_that_the_server_has_forgotten(server: RedisServer, url: str) -> None:
    hub = Hub(url)
    await hub.open()
    for number in range(1, 4):
        assert (await hub.publish("a", "x")).position.offset == number
        server.ask("SCRIPT", "FLUSH")
    await hub.close()


@pytest.mark.parametrize(
    "url",
    ["redis://h/0?prefix=", "redis://h/0?prefix={a}", "redis://h?prefix=a%20b", "redis+sentinel://h:1/"],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Hub(url)
    assert refused.value.code == "invalid_engine"


def test_urls() -> None:
    for url, host, port, db in [
        ("redis://h:7/3", "h", 7, 3),
        ("valkey://ann:pw@h:7/3?prefix=x", "h", 7, 3),
        ("rediss://h:7/3", "h", 7, 3),
        ("valkeys://h:7/3?ssl_cert_reqs=none", "h", 7, 3),
    ]:
        options = make_pool(place_of(url)).connection_kwargs
        assert (options["host"], options["port"], options["db"]) == (host, port, db)
    for url in ("unix:///run/r.sock?db=2", "redis+unix:///run/r.sock?db=2"):
        options = make_pool(place_of(url)).connection_kwargs
        assert (options["path"], options["db"]) == ("/run/r.sock", 2)
    assert place_of("redis://h/0?prefix=x&db=1").prefix == "x"


async def test_the_logs_clock_is_the_servers(server: RedisServer, url: str) -> None:
    hub = Hub(url)
    node = await hub.open()
    seconds, micros = server.ask("TIME")
    assert abs(node.engine.now() - (int(seconds) + int(micros) / 1e6)) < 2  # type: ignore[attr-defined]
    assert abs(node.engine.now() - LogClock()()) < 5  # type: ignore[attr-defined]
    await hub.close()
