"""
A stream over plain ASGI `send`: the portable way, for any server.

The request's task waits for the client to leave. A second one sends, and exists
only while there is something to send: an idle stream costs one task. Between the
hub and `send` lies a slot of one join: what does not fit waits in the log.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from ..delivery.stopping import drains_of_loop
from ..delivery.subscriber import END_TIMEOUT, Subscriber
from .asgi import Receive, Send, disconnected


class AsgiWire:
    """The wire of a subscriber whose socket belongs to an ASGI server."""

    __slots__ = ("_context", "_ended", "_failure", "_send", "_sender", "_slot", "_subscriber", "_task")

    def __init__(self, subscriber: Subscriber, send: Send) -> None:
        self._subscriber = subscriber
        self._send = send
        self._slot = b""
        self._ended = False
        self._failure: Exception | None = None
        self._sender: asyncio.Task[None] | None = None
        # The task of the request, until the stream is over.
        self._task: asyncio.Task[Any] | None = None
        # Whoever publishes makes the sender start: it must not see their context.
        self._context = contextvars.copy_context()

    def write(self, data: bytes, /) -> None:
        full = self._sender is not None
        self._slot = self._slot + data if self._slot else data
        self._start_sending()
        if full:
            self._subscriber.pause_writing()

    def end(self) -> None:
        """End the body in good order; a client that takes nothing any more is not waited for."""
        self._ended = True
        self._start_sending()
        asyncio.get_running_loop().call_later(END_TIMEOUT, self.abort)

    def abort(self) -> None:
        self._finish()

    def acknowledged(self) -> int | None:
        return None

    def tolerate_stalls(self, tolerate: bool) -> None:
        """Nothing: the socket is the server's."""

    async def run(self, receive: Receive) -> None:
        """Send until the stream ends or the client leaves. The head and the first bytes are sent already."""
        self._task = current_task()
        drains_of_loop().chain_signals()
        try:
            self._subscriber.attach(self, "asgi")
            await disconnected(receive)
        except asyncio.CancelledError:
            # Ours, if the stream is over; the server's, if it is not.
            if self._task is not None:
                raise
            current_task().uncancel()
            if self._failure is not None:
                raise self._failure from None
        finally:
            self._task = None
            if self._sender is not None:
                self._sender.cancel()
            self._subscriber.lost()

    def _start_sending(self) -> None:
        if self._sender is None and self._task is not None:
            loop = asyncio.get_running_loop()
            self._sender = loop.create_task(self._pump(), context=self._context)

    async def _pump(self) -> None:
        try:
            while self._slot:
                data, self._slot = self._slot, b""
                self._subscriber.resume_writing()
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
            if self._ended:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                self._finish()
        except OSError:
            self._finish()  # ASGI: send raises this when the client is gone
        except Exception as failure:
            self._failure = failure
            self._finish()
        finally:
            self._sender = None

    def _finish(self) -> None:
        """Let the task of the request return."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()


def current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "requests are answered in tasks"
    return task
