"""From the arguments of `connect` to a subscription. No I/O, except that it reads a position store."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from typing import Any

import httpx2

from ...event_stream import Decoder
from . import requests
from .reconnect import Change, Policy
from .requests import HeaderSource, Timeouts
from .session import Session
from .store import PositionStore
from .subscription import Link, RequestTemplate, Subscription


def subscription(
    url: str,
    client: httpx2.Client | httpx2.AsyncClient,
    link: Link,
    *,
    topics: str | Iterable[str],
    since: str | None,
    last_event_id: str | None,
    headers: HeaderSource | None,
    method: str | None,
    body: Any,
    timeouts: Timeouts,
    reconnect: bool | Policy | None,
    store: str | os.PathLike[str] | None,
    comments: bool,
    limit: int,
    on_change: Callable[[Change], Any] | None,
) -> Subscription:
    """Return a subscription that is not open yet. Raises `InvalidInput` if its request cannot be sent."""
    terms = requests.terms_of(topics)
    target = requests.stream_url(url, terms, since)
    content, content_headers = requests.content_of(body)
    method = (method or ("GET" if content is None else "POST")).upper()
    headers = headers or {}
    if not callable(headers):
        requests.stream_headers(headers, None)  # raises now if one of them cannot be sent
    positions = PositionStore(store, requests.http_url(url), terms) if store is not None else None
    start = (positions and positions.position) or last_event_id or ""
    session = Session(
        Decoder(limit, requests.check_last_event_id(start), comments),
        policy(reconnect, method),
        random.random,
        terms,
        renews_token=callable(headers) or client.auth is not None,
    )
    template = RequestTemplate(method, target, headers, content, content_headers, timeouts)
    return Subscription(template, session, link, client, positions, on_change)


def policy(reconnect: bool | Policy | None, method: str) -> Policy:
    """Return the reconnect policy. The default reconnects only a GET: other methods may act twice."""
    if isinstance(reconnect, Policy):
        return reconnect
    return Policy(reconnect=method == "GET" if reconnect is None else reconnect)
