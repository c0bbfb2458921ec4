"""The functions of the sync client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpx2

from ...items import Page
from ..core import connecting
from ..core.publishing import Receipt
from ..core.reconnect import Change, Policy
from ..core.requests import Headers, Timeouts, check_client
from .link import SyncLink, new_client
from .publisher import Publisher
from .stream import Stream


def connect(
    url: str,
    *,
    topics: str | Iterable[str] = (),
    since: str | None = None,
    last_event_id: str | None = None,
    headers: Headers | Callable[[], Headers] | None = None,
    method: str | None = None,
    body: Any = None,
    client: httpx2.Client | None = None,
    timeouts: Timeouts | None = None,
    reconnect: bool | Policy | None = None,
    store: str | os.PathLike[str] | None = None,
    comments: bool = False,
    limit: int = 16 * 1024 * 1024,
    on_change: Callable[[Change], Any] | None = None,
) -> Stream:
    """
    Subscribe: a context manager and iterator of `Event` that reconnects and resumes automatically.

    `url` is any SSE endpoint; with `topics` (topics or patterns) it is the URL of a hub. `since` (`start`,
    `last:10`, `10m`, a position…) is where a hub starts; `last_event_id` continues after an event, with any
    server. Once the `with` block is entered the stream is open: every event published from then on arrives.

    The request: `headers` is a mapping, or a function that is called before each request and returns one,
    for a token that expires (an `OSError` or network error in it counts as a failed attempt). They are not
    sent to another origin. `method` and `body` are the same for each request; a body that is not text or
    bytes is sent as JSON, and with a body the method is POST by default. `client` is your own
    `httpx2.Client`, with its proxies, certificates and auth; it stays open. `timeouts` is a `Timeouts`.

    Reconnecting: `reconnect` is True, False (stop when the stream ends) or a `Policy`. By default only a GET
    reconnects, since another method may act twice. `store` is a file that keeps the position between two runs
    of the program: the id of an event is written when you ask for the next event.

    Items: events, and among them a `Gap` if events may be missing and an `End` when a topic ends. With
    `comments=True` also `Comment` items. `limit` is the maximum size of one event in bytes. `on_change` is
    called with an `Opened`, `Resumed`, `Wait` or `Stop` when the connection changes.

    The iterator ends when the server ends the stream for good (204), when all `topics` have ended, and when
    it is closed. Network errors, 408, 425, 429 and 5xx are retried.

    Raises `InvalidInput` at once if the request cannot be sent or `store` belongs to another subscription,
    and `TypeError` if `client` is another HTTP client.
    The iterator raises `StreamRefused` if the answer will not change (another 4xx, not an event stream) or
    a hub reports that the token is no longer valid and nothing provides a new one, `TooLarge` if an event
    exceeds `limit`, and `Unavailable` if the policy's attempts are used up.
    """
    check_client(client, httpx2.Client)
    chosen = client or new_client()
    link = SyncLink(chosen)
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


def publish(
    url: str,
    topic: str,
    data: Any,
    *,
    event: str | None = None,
    key: str | None = None,
    retry: int | None = None,
    headers: Headers | Callable[[], Headers] | None = None,
    client: httpx2.Client | None = None,
    retry_for: float = 30.0,
) -> Receipt:
    """
    Publish one event to the hub at `url` and return its receipt. For many events use a `Publisher`.

    `data` is text, UTF-8 bytes, or any JSON value. `retry` is in milliseconds. Without a `key` one is made.
    After a transient failure the event is sent again for `retry_for` seconds, always with the same key, so it
    is stored once.

    Raises the hub's error (`TopicEnded`, `TooLarge`, …), `Unavailable` if no hub answers, and `Unknown` if
    the answer was lost: the event may or may not be stored. `error.stored` is False or `"unknown"`.
    """
    with Publisher(url, headers=headers, client=client, retry_for=retry_for) as hub:
        return hub.publish(topic, data, event=event, key=key, retry=retry)


def publish_many(
    url: str,
    events: Iterable[Mapping[str, Any] | bytes],
    *,
    atomic: bool = False,
    first: int = 1,
    headers: Headers | Callable[[], Headers] | None = None,
    client: httpx2.Client | None = None,
    retry_for: float = 30.0,
) -> Iterator[Receipt]:
    """
    Publish any number of events and yield receipts, as `Publisher.publish_many` does.

    Nothing is sent until you ask for the first receipt.
    """
    with Publisher(url, headers=headers, client=client, retry_for=retry_for) as hub:
        yield from hub.publish_many(events, atomic=atomic, first=first)


def end(
    url: str,
    topic: str,
    *,
    reason: str | None = None,
    headers: Headers | Callable[[], Headers] | None = None,
    client: httpx2.Client | None = None,
    retry_for: float = 30.0,
) -> Receipt:
    """End a topic of the hub at `url` and return its receipt, as `Publisher.end` does."""
    with Publisher(url, headers=headers, client=client, retry_for=retry_for) as hub:
        return hub.end(topic, reason=reason)


def history(
    url: str,
    topics: str | Iterable[str],
    *,
    since: str | None = None,
    limit: int | None = None,
    headers: Headers | Callable[[], Headers] | None = None,
    client: httpx2.Client | None = None,
    retry_for: float = 30.0,
) -> Page:
    """Return a page of past events of topics of the hub at `url`, as `Publisher.history` does."""
    with Publisher(url, headers=headers, client=client, retry_for=retry_for) as hub:
        return hub.history(topics, since=since, limit=limit)
