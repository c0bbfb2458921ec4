"""A connection whose work is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from tidewire.engines.postgres.bell import listen, wait
from tidewire.engines.postgres.link import Connection, Link


async def test_its_descriptor_is_free_only_once_its_work_has_ended(url: str) -> None:
    """Work that still waits for it would take the events of what has it then."""
    link = Link(url, 10.0)
    await link.run(listen)
    waits = asyncio.Event()

    async def work(connection: Connection) -> None:
        waits.set()
        await wait(connection, 60)

    working = asyncio.ensure_future(link.run(work, timeout=60))
    await waits.wait()
    working.cancel()
    with contextlib.ExitStack() as stack:
        # One step later the connection is closed. The next sockets get the descriptors that are free.
        await asyncio.sleep(0)
        for _ in range(20):
            for sock in socket.socketpair():
                stack.enter_context(sock)
        done, _ = await asyncio.wait({working}, timeout=20)
    assert done
    assert working.cancelled()
