"""Redis over TLS, and behind Sentinel: a failover is followed, and what it lost is told."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from support.ports import free_port
from support.redis_server import RedisServer, programs, redis_server
from support.waiting import wait_until, wait_until_async
from tidewire import Hub
from tidewire.errors import StartRefused, Unavailable
from tidewire.testing.wire import listen

PRIMARY = "orders"

# The wheel of Valkey has no TLS.
redis_of_the_system = pytest.mark.skipif("redis" not in programs(), reason="redis-server is not installed")


@contextlib.asynccontextmanager
async def open_hub(url: str) -> AsyncIterator[Hub]:
    hub = Hub(url)
    async with hub.lifespan():
        yield hub


@redis_of_the_system
async def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    names = {"ca": authority.cert_pem, "key": certificate.private_key_pem}
    for name, pem in {**names, "cert": certificate.cert_chain_pems[0]}.items():
        pem.write_to_path(tmp_path / name)
    port = free_port()
    tls = {
        "tls-port": str(port),
        "tls-ca-cert-file": str(tmp_path / "ca"),
        "tls-cert-file": str(tmp_path / "cert"),
        "tls-key-file": str(tmp_path / "key"),
        "tls-auth-clients": "no",
    }
    with redis_server(tmp_path / "server", programs()["redis"], **tls):
        url = f"rediss://127.0.0.1:{port}/0"
        with pytest.raises(StartRefused, match="certificate verify failed"):
            await Hub(url).open()
        async with open_hub(f"{url}?ssl_ca_certs={tmp_path}/ca") as hub:
            wire = await listen(hub.node, "t")
            await hub.publish("t", "hello")
            await wait_until_async(lambda: wire.data == ["hello"])
            assert hub.durability == "disk"


@contextlib.contextmanager
def sentinel(folder: Path, primary: RedisServer) -> Iterator[str]:
    """Watch a primary; yield the URL of a log on the server that is the primary at the time."""
    port = free_port()
    file = folder / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {PRIMARY} 127.0.0.1 {primary.port} 1\n"
        f"sentinel down-after-milliseconds {PRIMARY} 1000\n"
        f"sentinel failover-timeout {PRIMARY} 5000\n"
    )
    process = subprocess.Popen(
        [primary.program, file, "--sentinel"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield f"redis+sentinel://127.0.0.1:{port}/{PRIMARY}/0"
    finally:
        process.kill()
        process.wait()


def has_all_of(replica: RedisServer, primary: RedisServer) -> bool:
    def log_of(server: RedisServer) -> object:
        return server.ask("HGETALL", "{tidewire}:meta"), server.ask("XLEN", "{tidewire}:log")

    return log_of(replica) == log_of(primary)


def knows_the_replica(url: str) -> bool:
    """Whether the sentinel has a replica to promote."""
    port = int(url.split("/")[2].rpartition(":")[2])
    asked = RedisServer(Path())
    asked.port = port
    with contextlib.suppress(OSError, ValueError):
        return bool(asked.ask("SENTINEL", "REPLICAS", PRIMARY))
    return False


async def publish_until_stored(hub: Hub, data: str) -> str:
    """Publish with a key until that is acknowledged; return the id."""
    ids: list[str] = []

    async def stored() -> bool:
        with contextlib.suppress(Unavailable):
            ids.append(str((await hub.publish("t", data, key=data)).position))
        return bool(ids)

    await wait_until_async(stored)
    return ids[0]


async def test_a_failover_that_sentinel_decides(tmp_path: Path) -> None:
    """The replica lacks the newest events: streams that had them are told, and no id is used again."""
    program = list(programs().values())[-1]
    with (
        redis_server(tmp_path / "primary", program) as primary,
        redis_server(tmp_path / "replica", program, replicaof=f"127.0.0.1 {primary.port}") as replica,
        sentinel(tmp_path, primary) as url,
    ):
        wait_until(lambda: knows_the_replica(url))
        async with open_hub(url) as hub:
            kept = [await publish_until_stored(hub, str(number)) for number in range(3)]
            wait_until(lambda: has_all_of(replica, primary))
            # The primary has no password, so it refuses the replica from now on.
            replica.ask("CONFIG", "SET", "masterauth", "wrong")
            replica.ask("CLIENT", "KILL", "TYPE", "master")
            lost = [await publish_until_stored(hub, f"lost {number}") for number in range(3)]
            live = await listen(hub.node, "t", since=lost[-1])
            primary.kill()
            after = await publish_until_stored(hub, "after")
            await wait_until_async(lambda: "after" in live.data)
            assert [gap["reason"] for gap in live.gaps] == ["foreign"]
            resumed = await listen(hub.node, "t", since=kept[0])
            await wait_until_async(lambda: resumed.data == ["1", "2", "after"])
            assert resumed.gaps == []
            assert after not in {*kept, *lost}
            for id in lost:
                told = await listen(hub.node, "t", since=id)
                await wait_until_async(lambda told=told: told.data == ["after"])
                assert [gap["reason"] for gap in told.gaps] == ["foreign"]
