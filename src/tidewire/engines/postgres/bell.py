"""
Waking the other nodes: after a commit, one notification for all that wait for it.

Rule 1: a notification says only that there may be something new: nodes read the log by offset. So a lost one
        does no harm.
Rule 2: it is sent in a transaction of its own, which waits for no disk. In the transaction of a commit, it
        would hold up all other transactions of the server that notify.
Rule 3: behind a pooler no notification arrives. A node that has not heard its own looks at the log often.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ...errors import TidewireError
from ...log.tasks import start
from .link import Connection, Link
from .schema import LOCKS

logger = logging.getLogger("tidewire")

CHANNEL = "tidewire"
NOTIFY = f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{CHANNEL}', '')"
# Seconds between two attempts to listen again.
RETRY_EVERY = 0.5
# Seconds for which one call waits for notifications.
WAIT = 60.0
# Seconds in which a node hears its own notification, unless it is behind a pooler.
OWN = 1.0
# Seconds until a node that did not hear it tries again. The pause doubles up to `WAIT`: a busy server may
# have been late, but a pooler seldom goes away.
AGAIN = 2.0


class Bell:
    """
    Listens over one link and rings over another. `rung` is called at each notification of another node.

    `hears` is called with whether notifications arrive: with True once this node's session holds the lock
    number `lock` as well.
    """

    def __init__(
        self,
        listening: Link,
        ringing: Link,
        lock: int,
        rung: Callable[[], None],
        hears: Callable[[bool], None],
    ) -> None:
        self._listening = listening
        self._ringing = ringing
        self._lock = lock
        self._rung = rung
        self._hears = hears
        self._due = asyncio.Event()
        self._tasks = [start(self._listen()), start(self._ring())]

    def ring(self) -> None:
        """Tell the other nodes soon that there is something new."""
        self._due.set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _ring(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._ringing.run(notify)
            except TidewireError as error:
                logger.debug("cannot notify the other nodes: %s", error)

    async def _listen(self) -> None:
        pause = AGAIN
        while True:
            try:
                direct = await self._begin()
                if direct:
                    pause = AGAIN
                self._hears(direct)
                self._rung()  # something may have come while nobody listened
                while direct:
                    await self._listening.run(self._wait, timeout=2 * WAIT)
                await asyncio.sleep(pause)
                pause = min(2 * pause, WAIT)
            except TidewireError as error:
                logger.debug("cannot listen for notifications: %s", error)
                await asyncio.sleep(RETRY_EVERY)

    async def _begin(self) -> bool:
        """Listen, and return whether notifications arrive."""
        await self._listening.run(listen)
        self._due.set()
        heard = await self._listening.run(lambda connection: wait(connection, OWN))
        if heard:
            # Several sessions may hold it: the one before may not have ended yet.
            await self._listening.run(self._take_lock)
        else:
            await self._listening.close()
        return bool(heard)

    async def _take_lock(self, connection: Connection) -> None:
        await connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (LOCKS, self._lock))

    async def _wait(self, connection: Connection) -> None:
        # What this node has stored it knows already.
        if await wait(connection, WAIT) - set(self._ringing.session[:1]):
            self._rung()


async def listen(connection: Connection) -> None:
    await connection.execute(f"LISTEN {CHANNEL}")


async def wait(connection: Connection, seconds: float) -> set[int]:
    """Return the processes of the server whose notifications arrive; none if none arrives in time."""
    return {found.pid async for found in connection.notifies(timeout=seconds, stop_after=1)}


async def notify(connection: Connection) -> None:
    await connection.execute(NOTIFY)
