"""
What goes to a hub and comes back as one answer: publishing, ending, history. Written once for both clients.

As in `subscription`, whatever may take time goes through a `Caller`, whose coroutines suspend in the async
client and never do in the sync one.

Rule: whoever has patience gets one event stored once. Each event has a key, made here if need be, and a
      request that failed in a way that may pass is sent again as it was until it is acked.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import httpx2
import orjson

from ...errors import InvalidInput, TidewireError, Unavailable
from . import publishing, requests
from .items import Page, page_of
from .publishing import Batch, Receipt
from .reconnect import Policy, passes, patience_left
from .requests import Headers, HeaderSource, Timeouts

T = TypeVar("T")

TIMEOUTS = Timeouts()

# How often a request is sent again while it fails.
POLICY = Policy(retry=0.2, cap=5.0)

# Seconds. A hub keeps a key for ten minutes: sent again after that, an event would be stored twice.
MAX_PATIENCE = 540.0


class Caller(Protocol):
    """Sends requests, and whatever else takes time."""

    @property
    def client(self) -> httpx2.Client | httpx2.AsyncClient: ...

    async def send(self, request: httpx2.Request) -> httpx2.Response: ...

    async def sleep(self, seconds: float) -> None: ...

    async def call(self, function: Callable[..., Any]) -> Any: ...


class Ingested(NamedTuple):
    """What became of a batch: the receipts of what is stored, and what stopped the rest."""

    receipts: list[Receipt]
    error: TidewireError | None


class Exchange:
    """All requests to the hub at `url` that have one answer."""

    def __init__(self, url: str, headers: HeaderSource, caller: Caller, patience: float) -> None:
        if not 0 <= patience <= MAX_PATIENCE:
            raise InvalidInput(f"patience is from 0 to {MAX_PATIENCE:g} seconds")
        if not callable(headers):
            requests.merged({}, headers)  # what is wrong with them is said now
        self._url = requests.events_url(url)
        self._headers = headers
        self._caller = caller
        self._patience = patience

    async def publish(
        self, topic: str, data: Any, event: str | None, key: str | None, retry: int | None
    ) -> Receipt:
        body = publishing.publish_body(topic, data, event, key or self._new_key(), retry)
        return requests.parse_problem(await self._post(body, {"Content-Type": "application/json"}))

    async def publish_batch(self, events: Iterable[Mapping[str, Any] | bytes]) -> list[Receipt]:
        lines = [line for event in events if (line := publishing.event_line(event))]
        headers = {"Content-Type": "application/json", **self._key_header()}
        answer = await self._post(b"[" + b",".join(lines) + b"]", headers)
        return cast(list[Receipt], orjson.loads(answer))

    async def ingest(self, batch: Batch) -> Ingested:
        headers = {"Content-Type": "application/x-ndjson", **self._key_header()}
        body = b"\n".join(batch.lines)
        stored: list[Receipt] = []

        async def attempt() -> None:
            # Sent again as a whole, since a line's key is its number in the request.
            stored.clear()
            stored.extend(publishing.receipts(batch, await self._answer("POST", self._url, headers, body)))

        try:
            await self._acked(attempt)
        except TidewireError as error:
            return Ingested(stored, error)
        return Ingested(stored, None)

    async def end(self, topic: str, reason: str | None) -> Receipt:
        url = self._url.copy_add_param("topic", topic)
        url = url if reason is None else url.copy_add_param("reason", reason)
        return requests.parse_problem(await self._acked(lambda: self._answer("DELETE", url, {})))

    async def history(self, topics: str | Iterable[str], since: str | None, limit: int | None) -> Page:
        url = self._url
        for term in requests.terms_of(topics):
            url = url.copy_add_param("topic", term)
        url = url if since is None else url.copy_set_param("since", since)
        url = url if limit is None else url.copy_set_param("limit", limit)
        accept = {"Accept": "application/json"}
        return page_of(await self._acked(lambda: self._answer("GET", url, accept)))

    async def _post(self, body: bytes, headers: Headers) -> bytes:
        return await self._acked(lambda: self._answer("POST", self._url, headers, body))

    # -- until it is acked

    def _new_key(self) -> str | None:
        return secrets.token_urlsafe(12) if self._patience else None

    def _key_header(self) -> Headers:
        """Return the header by which each event of a request that has no key gets one."""
        key = self._new_key()
        return {} if key is None else {"Idempotency-Key": key}

    async def _acked(self, attempt: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self._patience
        failures = 0
        while True:
            try:
                return await attempt()
            except TidewireError as error:
                failures += 1
                wait = self._wait(error, failures, deadline - time.monotonic())
                if wait is None:
                    raise
            await self._caller.sleep(wait)

    def _wait(self, error: TidewireError, failures: int, left: float) -> float | None:
        if not passes(error.status):
            return None
        return patience_left(POLICY, error.retry_after, failures, left, random.random)

    async def _answer(
        self, method: str, url: httpx2.URL, headers: Headers, body: bytes | None = None
    ) -> bytes:
        """Return the body of an answer of 200; raise what any other means."""
        request = self._caller.client.build_request(
            method, url, content=body, headers=await self._all(headers), timeout=TIMEOUTS.until_head()
        )
        try:
            response = await self._caller.send(request)
        except httpx2.RequestError as error:
            raise publishing.lost(url, error) from error
        return publishing.answer(response)

    async def _all(self, ours: Headers) -> list[tuple[bytes, bytes]]:
        theirs = self._headers
        if callable(theirs):
            try:
                theirs = cast(Headers, await self._caller.call(theirs))
            except OSError as error:
                # A token server that is away, say: nothing was sent.
                detail = f"no headers for the request: {requests.why(error)}"
                raise Unavailable(detail, code="unreachable") from error
        return requests.merged(ours, theirs)
