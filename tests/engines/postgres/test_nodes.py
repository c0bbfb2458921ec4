"""Several nodes on one log: what only PostgreSQL has. For the rest see tests/engines/test_nodes.py."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from support.waiting import wait_until_async
from tidewire import Hub
from tidewire.engines.postgres import bell
from tidewire.testing.wire import listen


@contextlib.asynccontextmanager
async def open_hub(url: str) -> AsyncIterator[Hub]:
    hub = Hub(url)
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


async def not_listening(connection: object) -> None:
    pass
