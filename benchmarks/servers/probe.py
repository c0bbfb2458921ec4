"""
How long the event loop was busy, measured from inside and without changing what is measured.

A timer ticks every millisecond. A step of the loop that takes 15 ms makes one tick come 15 ms after
the one before, whatever the step did: callbacks, writes, garbage collection. So the longest time
between two ticks is the longest step, plus a tick or two at most.

On a shared machine, a tick may also be late because the loop's thread had no core. The kernel counts
that time per thread (`schedstat`, second field), and the report has both figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PERIOD = 0.001


class Probe:
    """Wraps an ASGI app: the first GET /probe starts the ticks, each later one reports and starts again."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.schedstat = -1
        self.restart()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope.get("path") != "/probe":
            await self.app(scope, receive, send)
        else:
            await self.answer(send)

    async def answer(self, send: Send) -> None:
        body = json.dumps({"longest": self.longest / 1e6, "on_core": self.longest_on_core / 1e6}).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.restart()
        if self.schedstat < 0:
            self.schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
            self.last = self.now()
            self.tick()

    def restart(self) -> None:
        self.longest = self.longest_on_core = 0

    def now(self) -> tuple[int, int]:
        waited = int(os.pread(self.schedstat, 100, 0).split()[1])
        return time.perf_counter_ns(), waited

    def tick(self) -> None:
        now = self.now()
        elapsed, waited = now[0] - self.last[0], now[1] - self.last[1]
        self.last = now
        self.longest = max(self.longest, elapsed)
        self.longest_on_core = max(self.longest_on_core, elapsed - waited)
        asyncio.get_running_loop().call_later(PERIOD, self.tick)
