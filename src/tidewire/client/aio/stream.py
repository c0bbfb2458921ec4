"""A subscription for programs with asyncio: what `connect` returns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import anyio
import httpx2

from ...event_stream import Event
from ..core.subscription import Subscription
from .link import AsyncLink

T = TypeVar("T")


class Stream:
    """
    An open subscription: an async context manager and an async iterator of `Event`.

    One task reads; `close` and `restart` may be called from any other, and wake it. A reader that is
    cancelled (by a timeout, say) takes its connection with it; whoever reads on afterwards gets a new one,
    which resumes.
    """

    def __init__(
        self, subscription: Subscription, link: AsyncLink, own_client: httpx2.AsyncClient | None
    ) -> None:
        self._subscription = subscription
        self._link = link
        self._own_client = own_client
        self._reader: asyncio.Task[object] | None = None
        self._left: asyncio.Event | None = None  # somebody waits until the reader has left

    @property
    def url(self) -> str:
        """Where each connection begins, whatever it was redirected to."""
        return self._subscription.url

    @property
    def last_event_id(self) -> str:
        """The id of the newest event taken from the iterator: where another stream would go on."""
        return self._subscription.last_event_id

    async def __aenter__(self) -> Self:
        try:
            await self._read(self._subscription.open)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        item = self._subscription.ready() if self._reader is None else None
        item = item or await self._read(self._subscription.next_item)
        if item is None:
            raise StopAsyncIteration
        return item

    async def raw(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come, instead of events; resuming goes on as usual."""
        while (chunk := await self._read(self._subscription.next_raw)) is not None:
            yield chunk

    async def restart(self) -> None:
        """Drop the connection and make a new one at once; a reader goes on with that."""
        self._subscription.restart()

    async def close(self) -> None:
        """End the stream for good; a reader that waits wakes and ends."""
        self._subscription.close()
        if self._reader is None:
            await self._release()
        elif self._reader is not asyncio.current_task():
            self._left = self._left or asyncio.Event()
            await self._left.wait()

    async def _read(self, function: Callable[[], Awaitable[T]]) -> T:
        if self._reader is not None:
            raise RuntimeError("another task is reading this stream")
        self._reader = asyncio.current_task()
        try:
            return await function()
        finally:
            self._reader = None
            if self._subscription.closed:
                await self._release()
                if self._left is not None:
                    self._left.set()

    async def _release(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._link.drop()
            if self._own_client is not None:
                await self._own_client.aclose()
