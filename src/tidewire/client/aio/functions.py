"""
The functions of the client for programs with asyncio.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import httpx2

from ..core import connecting
from ..core.items import Page
from ..core.publishing import Receipt
from ..core.reconnect import Change, Policy
from ..core.requests import Headers, Timeouts
from .link import AsyncLink, new_client
from .publisher import Lines, Publisher
from .stream import Stream


def connect(
    url: str,
    *,
    topics: str | Iterable[str] = (),
    since: str | None = None,
    last_event_id: str | None = None,
    headers: Headers | Callable[[], Headers | Awaitable[Headers]] | None = None,
    method: str | None = None,
    body: Any = None,
    client: httpx2.AsyncClient | None = None,
    timeouts: Timeouts | None = None,
    reconnect: bool | Policy | None = None,
    store: str | os.PathLike[str] | None = None,
    comments: bool = False,
    limit: int = 16 * 1024 * 1024,
    on_change: Callable[[Change], Any] | None = None,
) -> Stream:
    """
    Subscribe: an async context manager and async iterator of `Event`, which reconnects and resumes by itself.

    `url` is any SSE endpoint; with `topics` (or patterns) it is where a hub is. `since` (`start`, `last:10`,
    `10m`, a position…) says where a hub starts; `last_event_id` goes on after an event, with any server.
    At the end of the `async with` line the stream is open: what is published from then on arrives.

    The request: `headers` go with each one, but not to another origin; instead of a mapping it may be a
    function (or a coroutine function) that is asked for one before each, for a token that expires (an
    `OSError` or network error in it counts as a failed attempt). `method` and `body` are sent again as they
    are on each reconnection; a body that is no text or bytes is sent as JSON, and the method is POST where
    there is one. `client` is your own `httpx2.AsyncClient`, with its proxies, certificates and auth, and
    stays open. `timeouts` is a `Timeouts`.

    Reconnecting: `reconnect` is True, False (the end of the stream is the end) or a `Policy`. By default
    only a GET is sent again, since another method may do again what it did. `store` is a file that keeps
    the position from one run of the program to the next: the id of an event is written when the one after
    it is asked for.

    What comes: a hub's gap and the end of a topic stand among the events, as `Gap` and `End`. `comments=True`
    yields `Comment` items too. `limit` bounds the bytes of one event. `on_change` is called with an `Opened`,
    `Resumed`, `Wait` or `Stop` whenever the connection changes; they have what the server answered.

    The iterator ends when the server says that nothing more will come (204), when all of `topics` have ended,
    and when it is closed. It raises `StreamRefused` for an answer that will not change (4xx, no event stream)
    and where a hub says that the token is no longer good and no function gives another one, `TooLarge` for an
    event beyond `limit`, and `Unavailable` when the policy's attempts are used up. Network errors, 408, 425,
    429 and 5xx are waited out. Raises `InvalidInput` at once for what could never be sent, and for a `store`
    that belongs to another subscription.
    """
    chosen = client or new_client()
    link = AsyncLink(chosen)
    subscription = connecting.subscription(
        url,
        chosen,
        link,
        topics=topics,
        since=since,
        last_event_id=last_event_id,
        headers=headers,
        method=method,
        body=body,
        timeouts=timeouts or Timeouts(),
        reconnect=reconnect,
        store=store,
        comments=comments,
        limit=limit,
        on_change=on_change,
    )
    return Stream(subscription, link, chosen if client is None else None)


async def publish(
    url: str,
    topic: str,
    data: Any,
    *,
    event: str | None = None,
    key: str | None = None,
    retry: int | None = None,
    headers: Headers | Callable[[], Headers | Awaitable[Headers]] | None = None,
    client: httpx2.AsyncClient | None = None,
    patience: float = 30.0,
) -> Receipt:
    """
    Publish one event to the hub at `url` and return its receipt, as a `Publisher` does for many.

    `data` is text, UTF-8 bytes, or anything that JSON can say. `retry` is in milliseconds. Without a `key`
    one is made. For `patience` seconds a publish that fails in a way that may pass is sent again, which the
    key makes safe: the event is stored once. Raises what the hub says (`TopicEnded`, `TooLarge`, …),
    `Unavailable` where no hub answers, and `Unknown` when the answer was lost: then nobody can say whether
    the event is stored. `error.stored` says it too.
    """
    async with Publisher(url, headers=headers, client=client, patience=patience) as hub:
        return await hub.publish(topic, data, event=event, key=key, retry=retry)


async def publish_many(
    url: str,
    events: Lines,
    *,
    atomic: bool = False,
    first: int = 1,
    headers: Headers | Callable[[], Headers | Awaitable[Headers]] | None = None,
    client: httpx2.AsyncClient | None = None,
    patience: float = 30.0,
) -> AsyncIterator[Receipt]:
    """
    Publish any number of events and yield receipts, as `Publisher.publish_many` does.

    Nothing is sent before the first receipt is asked for.
    """
    async with Publisher(url, headers=headers, client=client, patience=patience) as hub:
        async for receipt in hub.publish_many(events, atomic=atomic, first=first):
            yield receipt


async def end(
    url: str,
    topic: str,
    *,
    reason: str | None = None,
    headers: Headers | Callable[[], Headers | Awaitable[Headers]] | None = None,
    client: httpx2.AsyncClient | None = None,
    patience: float = 30.0,
) -> Receipt:
    """End a topic of the hub at `url` and return its receipt, as `Publisher.end` does."""
    async with Publisher(url, headers=headers, client=client, patience=patience) as hub:
        return await hub.end(topic, reason=reason)


async def history(
    url: str,
    topics: str | Iterable[str],
    *,
    since: str | None = None,
    limit: int | None = None,
    headers: Headers | Callable[[], Headers | Awaitable[Headers]] | None = None,
    client: httpx2.AsyncClient | None = None,
    patience: float = 30.0,
) -> Page:
    """Return a page of what topics of the hub at `url` have had, as `Publisher.history` does."""
    async with Publisher(url, headers=headers, client=client, patience=patience) as hub:
        return await hub.history(topics, since=since, limit=limit)
