"""
A stream over plain ASGI `send`: the portable way, for any server.

One task sends; one waits for the client to leave. Between the two and the hub
lies a slot of at most two joins: what does not fit waits in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..subscriber import Subscriber

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiWire:
    """The wire of a subscriber whose socket belongs to an ASGI server."""

    __slots__ = (
        "_aborted",
        "_ended",
        "_gone",
        "_send",
        "_sending",
        "_slot",
        "_subscriber",
        "_task",
        "_waiter",
    )

    def __init__(self, subscriber: Subscriber, send: Send) -> None:
        self._subscriber = subscriber
        self._send = send
        self._slot = b""
        self._sending = False
        self._ended = False
        self._gone = False
        self._aborted = False
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[Any] | None = None

    def write(self, data: bytes, /) -> None:
        full = self._sending or bool(self._slot)
        self._slot = self._slot + data if self._slot else data
        self._wake()
        if full:
            self._subscriber.pause_writing()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def abort(self) -> None:
        self._aborted = True
        if self._task is not None:
            self._task.cancel()

    def acknowledged(self) -> int | None:
        return None

    async def run(self, receive: Receive) -> None:
        """Send until the stream ends or the client leaves. The head and the first bytes are sent already."""
        self._task = asyncio.current_task()
        watch = asyncio.ensure_future(self._watch(receive))
        try:
            self._subscriber.attach(self, "asgi")
            await self._pump()
        except asyncio.CancelledError:
            if not self._aborted:
                raise
        except OSError:
            pass  # ASGI: send raises this when the client is gone
        finally:
            self._task = None
            watch.cancel()
            self._subscriber.lost()

    async def _pump(self) -> None:
        while not self._gone:
            if self._slot:
                data, self._slot = self._slot, b""
                self._sending = True
                self._subscriber.resume_writing()
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
                self._sending = False
            elif self._ended:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter

    async def _watch(self, receive: Receive) -> None:
        await disconnected(receive)
        self._gone = True
        self._subscriber.lost()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def disconnected(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
