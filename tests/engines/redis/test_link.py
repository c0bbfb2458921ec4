"""A connection that is closed before it is made."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio.connection import Connection, ConnectionPool

from support.redis_server import RedisServer
from tidewire.engines.redis.link import Link, Lost, Server
from tidewire.engines.redis.url import OPTIONS


class Slow(Connection):
    """A connection whose address is long unknown, as while Sentinel decides a failover."""

    asked = asyncio.Event()
    known = asyncio.Event()
    made: Slow

    async def connect(self) -> None:
        type(self).made = self
        self.asked.set()
        await self.known.wait()
        await super().connect()


async def test_it_does_not_stay_open(server: RedisServer) -> None:
    """The engine closes all its links when it looks at the log again. One may be connecting just then."""
    pool = ConnectionPool.from_url(f"redis://127.0.0.1:{server.port}/0", connection_class=Slow, **OPTIONS)
    known = Server(pool, "here")
    link = Link(known, 20.0)
    asking = asyncio.ensure_future(link.ask(b"PING"))
    await Slow.asked.wait()
    await link.close()
    Slow.known.set()
    with pytest.raises(Lost, match="the connection was closed"):
        await asking
    assert not Slow.made.is_connected
    assert known.run_id is None, "a link that was closed does not say which server it is"
    assert await link.ask(b"PING") == b"PONG"
    await link.close()
