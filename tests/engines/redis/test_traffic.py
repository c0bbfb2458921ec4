"""What a node asks of the server: no more than it needs."""

from __future__ import annotations

from contextlib import closing

import redis

from support.redis_server import RedisServer
from tidewire import Hub

BATCHES, EVENTS, SIZE = 20, 20, 5_000


async def test_a_node_does_not_read_again_what_it_has_stored(server: RedisServer, url: str) -> None:
    hub = Hub(url)
    with closing(redis.Redis(port=server.port)) as client:
        await hub.publish("t", "the first")
        before = sent(client)
        for _ in range(BATCHES):
            await hub.publish_many([{"topic": "t", "data": "x" * SIZE}] * EVENTS)
        # The first entry of a batch ends a call that waits. No other comes back.
        assert sent(client) - before < BATCHES * EVENTS * SIZE / 4
    await hub.close()


def sent(client: redis.Redis) -> int:
    """Return the bytes that the server has sent."""
    return int(client.info("stats")["total_net_output_bytes"])
