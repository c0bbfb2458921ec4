"""
The client for programs without asyncio.

    from tidewire.client.sync import connect, publish

    with connect("http://localhost:8000", topics=["orders/*"]) as stream:
        for event in stream:
            print(event.id, event.topic, event.data)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2

from ..event_stream import Comment, Decoder, Event
from ..reconnect import Change, Opened, Policy, Stop, Wait
from . import publishing, requests
from .publishing import Receipt
from .session import Session
from .sync_stream import CONNECT_TIMEOUT, HEAD_TIMEOUT, Stream, new_client

__all__ = [
    "Comment",
    "Event",
    "Opened",
    "Policy",
    "Stop",
    "Stream",
    "Wait",
    "connect",
    "end",
    "publish",
    "publish_many",
]


def connect(
    url: str,
    *,
    topics: Iterable[str] = (),
    since: str | None = None,
    last_event_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    client: httpx2.Client | None = None,
    reconnect: bool | Policy = True,
    comments: bool = False,
    silence: float | None = None,
    limit: int = 16 * 1024 * 1024,
    on_change: Callable[[Change], None] | None = None,
) -> Stream:
    """
    Subscribe: a context manager and an iterator of `Event`, which reconnects and resumes by itself.

    `url` is any SSE endpoint; with `topics` (or patterns) it is where a hub is. `since` (`start`, `last:10`,
    `10m`, a position…) says where a hub starts; `last_event_id` goes on after an event, with any server.
    At the end of the `with` line the stream is open: what is published from then on arrives.

    `headers` go with each request, but not to another origin. `client` is your own, with its proxies,
    certificates and auth, and stays open. `reconnect` may be a `Policy`; with False the end of the first
    connection is the end. `comments=True` yields `Comment` items too. `silence` is the number of seconds
    without a byte after which the connection is given up for dead; without it a hub's announced heartbeat
    decides (2.5 of them). `limit` bounds the bytes of one event. `on_change` is called with an `Opened`,
    `Wait` or `Stop` whenever the connection changes.

    A hub's `hub.gap`, `hub.end` and `hub.auth` come as events like any other; `hub.position` and `hub.open`
    only move `last_event_id`. The iterator ends when the server says that nothing more will come (204).
    It raises `StreamRefused` for an answer that will not change (4xx, no event stream), `TooLarge` for an
    event beyond `limit`, and `Unavailable` when the policy's attempts are used up. Network errors, 408, 425,
    429 and 5xx are waited out.
    """
    policy = reconnect if isinstance(reconnect, Policy) else Policy(reconnect=reconnect)
    decoder = Decoder(limit, requests.check_last_event_id(last_event_id or ""), comments)
    session = Session(decoder, policy, random.random, on_change)
    return Stream(requests.stream_url(url, topics, since), session, headers or {}, client, silence)


def publish(
    url: str,
    topic: str,
    data: Any,
    *,
    event: str | None = None,
    key: str | None = None,
    retry: int | None = None,
    headers: Mapping[str, str] | None = None,
    client: httpx2.Client | None = None,
) -> Receipt:
    """
    Publish one event to the hub at `url` and return its receipt: `id`, `duplicate`, `durability`.

    `data` is text, UTF-8 bytes, or anything that JSON can say. `retry` is in milliseconds. With a `key` it is
    safe to publish again after an error: within ten minutes the hub stores a key once.
    Raises what the hub says (`TopicEnded`, `TooLarge`, …), `Unavailable` where no hub answers, and `Unknown`
    when the answer was lost: then nobody can say whether the event is stored. `error.stored` says it too.
    """
    body = publishing.publish_body(topic, data, event, key, retry)
    response = post(requests.events_url(url), body, "application/json", headers, client)
    return requests.parse_problem(publishing.answer(response))


def publish_many(
    url: str,
    events: Iterable[Mapping[str, Any] | bytes],
    *,
    first: int = 1,
    headers: Mapping[str, str] | None = None,
    client: httpx2.Client | None = None,
) -> Iterator[Receipt]:
    """
    Publish any number of events and yield receipts: `lines` (from, to), `first` and `last` id, `duplicates`.

    An event is a mapping with `topic`, `data`, and perhaps `event`, `key`, `retry`; bytes are such an object
    as JSON, on one line. They go in requests of at most 1,000 lines; lines are counted from `first` over all
    of them. Nothing is sent before the first receipt is asked for.
    Raises as `publish` does, at the first line that is refused (`error.members["line"]`); the lines before it
    are stored.
    """
    with borrowed(client) as sender:
        target = requests.events_url(url)
        for batch in publishing.batches(events, first):
            response = post(target, b"\n".join(batch.lines), "application/x-ndjson", headers, sender)
            yield from publishing.receipts(batch, publishing.answer(response))


def end(
    url: str,
    topic: str,
    *,
    reason: str | None = None,
    headers: Mapping[str, str] | None = None,
    client: httpx2.Client | None = None,
) -> Receipt:
    """
    End a topic of the hub at `url` and return its receipt.

    Its streams get `hub.end` with the `reason`, and nothing can be published to it any more.
    """
    target = requests.events_url(url).copy_add_param("topic", topic)
    target = target if reason is None else target.copy_add_param("reason", reason)
    response = send("DELETE", target, requests.merged({}, headers or {}), client)
    return requests.parse_problem(publishing.answer(response))


def post(
    url: httpx2.URL,
    body: bytes,
    content_type: str,
    headers: Mapping[str, str] | None,
    client: httpx2.Client | None,
) -> httpx2.Response:
    return send("POST", url, requests.merged({"Content-Type": content_type}, headers or {}), client, body)


def send(
    method: str,
    url: httpx2.URL,
    headers: list[tuple[bytes, bytes]],
    client: httpx2.Client | None,
    body: bytes | None = None,
) -> httpx2.Response:
    timeout = httpx2.Timeout(CONNECT_TIMEOUT, read=HEAD_TIMEOUT, write=HEAD_TIMEOUT)
    with borrowed(client) as sender:
        try:
            return sender.request(
                method, url, content=body, headers=headers, timeout=timeout, follow_redirects=False
            )
        except httpx2.RequestError as error:
            raise publishing.lost(url, error) from error


@contextmanager
def borrowed(client: httpx2.Client | None) -> Iterator[httpx2.Client]:
    """Give the caller's client, which stays open, or one of our own for the time being."""
    if client is not None:
        yield client
    else:
        with new_client() as ours:
            yield ours
