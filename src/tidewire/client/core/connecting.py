"""What the arguments of `connect` come to. No I/O but the reading of a position store."""

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
from .subscription import Call, Link, Subscription


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
    """Return a subscription that is not open yet. Raise `InvalidInput` for what could never be sent."""
    terms = requests.terms_of(topics)
    target = requests.stream_url(url, terms, since)
    content, content_headers = requests.content_of(body)
    method = (method or ("GET" if content is None else "POST")).upper()
    headers = headers or {}
    if not callable(headers):
        requests.stream_headers(headers, None)  # what is wrong with them is said now
    positions = PositionStore(store, requests.http_url(url), terms) if store is not None else None
    start = (positions and positions.position) or last_event_id or ""
    session = Session(
        Decoder(limit, requests.check_last_event_id(start), comments),
        policy(reconnect, method),
        random.random,
        terms,
        renews=callable(headers) or client.auth is not None,
    )
    call = Call(method, target, headers, content, content_headers, timeouts)
    return Subscription(call, session, link, client, positions, on_change)


def policy(reconnect: bool | Policy | None, method: str) -> Policy:
    """Return when to reconnect: by default not where that would do again what a request has done."""
    if isinstance(reconnect, Policy):
        return reconnect
    return Policy(reconnect=method == "GET" if reconnect is None else reconnect)
