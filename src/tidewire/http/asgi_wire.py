"""
A stream over plain ASGI `send`: the portable way, for any server.

The request's task waits until the client disconnects. A second task sends; it exists
only while there is something to send, so an idle stream costs one task. Between the
hub and `send` there is a slot for one join; anything more waits in the log.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from ..delivery.stopping import drains_of_loop
from ..delivery.subscriber import END_TIMEOUT, Subscriber
from ..delivery.tasks import start
from .asgi import Receive, Send, disconnected
from .offer import Offer, finish_cut, send_cut


class AsgiWire:
    """The wire of a subscriber whose socket belongs to an ASGI server."""

    __slots__ = (
        "_context",
        "_cut",
        "_ended",
        "_failure",
        "_offer",
        "_send",
        "_sender",
        "_slot",
        "_subscriber",
        "_task",
    )

    def __init__(self, subscriber: Subscriber, send: Send, offer: Offer | None = None) -> None:
        self._subscriber = subscriber
        self._send = send
        self._offer = offer
        self._slot = b""
        self._ended = False
        self._cut = False  # the body must not end properly
        self._failure: Exception | None = None
        self._sender: asyncio.Task[None] | None = None
        # The task of the request; None once the stream is over.
        self._task: asyncio.Task[Any] | None = None
        # A publish starts the sender, which must not run in the publisher's context.
        self._context = contextvars.copy_context()

    def write(self, data: bytes, /) -> None:
        full = self._sender is not None
        self._slot = self._slot + data if self._slot else data
        self._start_sending()
        if full:
            self._subscriber.pause_writing()

    def end(self) -> None:
        """End the body properly, but do not wait for a client that no longer reads."""
        self._ended = True
        self._start_ending()

    def cut(self) -> None:
        """Close without ending the body, once what was written is sent."""
        self._ended = self._cut = True
        self._start_ending()

    def _start_ending(self) -> None:
        self._start_sending()
        asyncio.get_running_loop().call_later(END_TIMEOUT, self.abort)

    def abort(self) -> None:
        if self._task is not None:
            self._cut = self._subscriber.plain
            self._finish()

    def acknowledged(self) -> int | None:
        return None

    def tolerate_stalls(self, tolerate: bool) -> None:
        """Do nothing: the socket belongs to the server."""

    async def run(self, receive: Receive) -> None:
        """Send until the stream ends or the client disconnects. Head and first bytes were sent before."""
        self._task = current_task()
        drains_of_loop().chain_signals()
        try:
            self._subscriber.attach(self, "asgi")
            await disconnected(receive)
        except asyncio.CancelledError:
            # If the stream is over, `_finish` cancelled the task; otherwise the server did.
            if self._task is not None:
                raise
            current_task().uncancel()
            if self._failure is not None:
                raise self._failure from None
            if self._cut:
                await send_cut(self._send)
                await finish_cut(self._offer)
        finally:
            self._task = None
            if self._sender is not None:
                self._sender.cancel()
            self._subscriber.lost()

    def _start_sending(self) -> None:
        if self._sender is None and self._task is not None:
            self._sender = start(self._pump(), self._context)

    async def _pump(self) -> None:
        try:
            while self._slot:
                data, self._slot = self._slot, b""
                self._subscriber.resume_writing()
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
            if self._ended:
                if not self._cut:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                self._finish()
        except OSError:  # ASGI: send raises this once the client has disconnected
            self._cut = False
            self._finish()
        except Exception as failure:
            self._failure = failure
            self._finish()
        finally:
            self._sender = None

    def _finish(self) -> None:
        """End the task of the request."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()


def current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "requests are answered in tasks"
    return task
