"""The stream that `connect` of the async client returns."""

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

    One task reads. `close` and `restart` may be called from any task and wake the reader. If the reader is
    cancelled, for example by a timeout, its connection is closed; the next read opens a new one, which
    resumes.
    """

    def __init__(
        self, subscription: Subscription, link: AsyncLink, own_client: httpx2.AsyncClient | None
    ) -> None:
        self._subscription = subscription
        self._link = link
        self._own_client = own_client
        self._reader: asyncio.Task[object] | None = None
        self._reader_done: asyncio.Event | None = None  # set if `close` waits for the reader

    @property
    def url(self) -> str:
        """The URL of each request, before any redirect."""
        return self._subscription.url

    @property
    def last_event_id(self) -> str:
        """The id of the newest event taken from the iterator. Another stream can continue from it."""
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
        """Yield the bytes as they arrive instead of events. It reconnects and resumes as usual."""
        while (chunk := await self._read(self._subscription.next_raw)) is not None:
            yield chunk

    async def restart(self) -> None:
        """Replace the connection by a new one at once. A reader continues with that."""
        self._subscription.restart()

    async def close(self) -> None:
        """End the stream for good. A waiting reader wakes and stops."""
        self._subscription.close()
        if self._reader is None:
            await self._release()
        elif self._reader is not asyncio.current_task():
            self._reader_done = self._reader_done or asyncio.Event()
            await self._reader_done.wait()

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
                if self._reader_done is not None:
                    self._reader_done.set()

    async def _release(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._link.drop()
            if self._own_client is not None:
                await self._own_client.aclose()
