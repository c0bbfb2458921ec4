"""Publishing for programs with asyncio."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2

from ..core.exchange import Exchange
from ..core.items import Page
from ..core.publishing import Batch, Cutter, Receipt
from ..core.requests import Headers
from .link import new_client

Lines = Iterable[Mapping[str, Any] | bytes] | AsyncIterable[Mapping[str, Any] | bytes]


class Publisher:
    """
    A hub to publish to, over connections that are kept.

        async with Publisher("http://localhost:8000") as hub:
            await hub.publish("orders/7", {"status": "paid"}, event="status")

    One `Publisher` may serve all tasks of an event loop.

    `headers` go with each request: a mapping, or a function (a coroutine function, if you like) that is
    asked for one before each. `client` is your own, with its proxies, certificates and auth, and stays
    open. `patience`: for so many seconds (at most 540) a request that fails in a way that may pass is sent
    again, with the same keys, so that each event is stored once; an event without a key gets one. With 0
    there is one attempt, and no key is made.

    Its methods raise what the hub says (`TopicEnded`, `TooLarge`, …), `Unavailable` where no hub answers,
    and `Unknown` when the answer was lost: then nobody can say whether the event is stored. `error.stored`
    says it too.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers | Callable[[], Headers | Awaitable[Headers]] | None = None,
        client: httpx2.AsyncClient | None = None,
        patience: float = 30.0,
    ) -> None:
        self._caller = AsyncCaller(client)
        self._exchange = Exchange(url, headers or {}, self._caller, patience)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections. Nothing waits in it: what was published is acked."""
        await self._caller.close()

    async def publish(
        self,
        topic: str,
        data: Any,
        *,
        event: str | None = None,
        key: str | None = None,
        retry: int | None = None,
    ) -> Receipt:
        """
        Publish one event and return its receipt: `id`, `duplicate`, `durability`.

        `data` is text, UTF-8 bytes, or anything that JSON can say. `retry` is in milliseconds. Within ten
        minutes the hub stores a `key` of a topic once, whoever sends it.
        """
        return await self._exchange.publish(topic, data, event, key, retry)

    async def publish_many(
        self, events: Lines, *, atomic: bool = False, first: int = 1
    ) -> AsyncIterator[Receipt]:
        """
        Publish any number of events and yield receipts. Nothing is sent before the first is asked for.

        An event is a mapping with `topic`, `data`, and perhaps `event`, `key`, `retry`; bytes are such an
        object as JSON, on one line. They go in requests of at most 1,000 lines, when so many are there or
        `events` is at its end; a receipt has `lines` (from, to), `first` and `last` id, `duplicates`. Lines
        are counted from `first`. Raises at the first line that is refused (`error.members["line"]`); the
        lines before it are stored, and their receipts have come.

        `atomic`: all events in one request, stored all or none, with a receipt for each as `publish` has
        it. A hub takes up to 1,000.
        """
        if atomic:
            for receipt in await self._exchange.publish_batch([event async for event in each(events)]):
                yield receipt
            return
        cutter = Cutter(first)
        async for event in each(events):
            if batch := cutter.add(event):
                async for receipt in self._ingest(batch):
                    yield receipt
        if batch := cutter.rest():
            async for receipt in self._ingest(batch):
                yield receipt

    async def end(self, topic: str, *, reason: str | None = None) -> Receipt:
        """
        End a topic and return its receipt.

        Its streams get `hub.end` with the `reason`, and nothing can be published to it any more.
        """
        return await self._exchange.end(topic, reason)

    async def history(
        self, topics: str | Iterable[str], *, since: str | None = None, limit: int | None = None
    ) -> Page:
        """
        Return a page of what topics (or patterns) have had, oldest first: at most `limit` events, 1,000 of
        them.

        `since`: `start` (default), `last:10`, `10m`, an ISO time, a position, or the `next` of another page.
        """
        return await self._exchange.history(topics, since, limit)

    async def _ingest(self, batch: Batch) -> AsyncIterator[Receipt]:
        receipts, error = await self._exchange.ingest(batch)
        for receipt in receipts:
            yield receipt
        if error is not None:
            raise error


async def each(events: Lines) -> AsyncIterator[Mapping[str, Any] | bytes]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event


class AsyncCaller:
    """A `Caller` on the event loop. For any number of tasks."""

    def __init__(self, client: httpx2.AsyncClient | None) -> None:
        self.client = client or new_client()
        self._owns_client = client is None

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        return await self.client.send(request, follow_redirects=False)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def call(self, function: Callable[..., Any]) -> Any:
        result = function()
        return await result if inspect.isawaitable(result) else result

    async def close(self) -> None:
        if self._owns_client:
            with anyio.CancelScope(shield=True):
                await self.client.aclose()
