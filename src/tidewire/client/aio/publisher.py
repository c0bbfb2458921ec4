"""The publisher of the async client."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2

from ...items import Page
from ..core.exchange import Exchange
from ..core.publishing import Batch, Cutter, Receipt
from ..core.requests import Headers, check_client
from .link import new_client

Lines = Iterable[Mapping[str, Any] | bytes] | AsyncIterable[Mapping[str, Any] | bytes]


class Publisher:
    """
    Publishes to a hub over persistent connections.

        async with Publisher("http://localhost:8000") as hub:
            await hub.publish("orders/7", {"status": "paid"}, event="status")

    All tasks of an event loop may share one `Publisher`.

    `headers` are sent with each request: a mapping, or a function or coroutine function that is called before
    each request and returns one. `client` is your own, with its proxies, certificates and auth; it stays
    open. After a transient failure a request is sent again for `retry_for` seconds (at most 540). Each event
    has a key, made if you give none, so it is stored once. With `retry_for=0` there is one attempt and no key
    is made.

    Its methods raise the hub's error (`TopicEnded`, `TooLarge`, …), `Unavailable` if no hub answers, and
    `Unknown` if the answer was lost: the event may or may not be stored. `error.stored` is False or
    `"unknown"`.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers | Callable[[], Headers | Awaitable[Headers]] | None = None,
        client: httpx2.AsyncClient | None = None,
        retry_for: float = 30.0,
    ) -> None:
        self._caller = AsyncCaller(client)
        self._exchange = Exchange(url, headers or {}, self._caller, retry_for)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Nothing is buffered: every published event has been acknowledged."""
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

        `data` is text, UTF-8 bytes, or any JSON value. `retry` is in milliseconds. If an event with the same
        `key` was published to the topic in the last ten minutes, by any client, this one is not stored again.
        """
        return await self._exchange.publish(topic, data, event, key, retry)

    async def publish_many(
        self, events: Lines, *, atomic: bool = False, first: int = 1
    ) -> AsyncIterator[Receipt]:
        """
        Publish any number of events and yield receipts. Nothing is sent until you ask for the first receipt.

        An event is a mapping with `topic`, `data`, and optionally `event`, `key` and `retry`, or one line of
        JSON as bytes. Requests hold up to 1,000 events; one is sent when it is full or `events` ends. A
        receipt has `lines` (from, to), the ids `first` and `last`, and `duplicates`. Lines are counted from
        `first`.

        With `atomic=True` all events go in one request, up to 1,000 of them, and are stored all or none. Each
        has a receipt like that of `publish`.

        Raises the error of the first event that is refused (`error.members["line"]`). The events before it
        are stored, and their receipts were yielded.
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

        Its streams get a `hub.end` with the `reason`. Publishing to it raises `TopicEnded` from then on.
        """
        return await self._exchange.end(topic, reason)

    async def history(
        self, topics: str | Iterable[str], *, since: str | None = None, limit: int | None = None
    ) -> Page:
        """
        Return a page of past events of topics or patterns, oldest first: at most `limit` events, up to 1,000.

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
    """A `Caller` on the event loop. Any number of tasks may use it."""

    def __init__(self, client: httpx2.AsyncClient | None) -> None:
        check_client(client, httpx2.AsyncClient)
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
