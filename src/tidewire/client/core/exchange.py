"""
Requests to a hub that have one answer: publish, end, history. Written once for both clients.

As in `subscription`, everything that may take time goes through a `Caller`, whose coroutines suspend in the
async client and never in the sync one.

Rule: unless `retry_for` is 0, each event is stored once. Each event has a key, made here if it has none, and
      after a transient failure the same request is sent again until the hub acknowledges it.
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
from ...items import Page, page_of
from . import publishing, requests
from .publishing import Batch, Receipt
from .reconnect import Policy, is_transient, retry_wait
from .requests import Headers, HeaderSource, Timeouts

T = TypeVar("T")

TIMEOUTS = Timeouts()

# The waits between attempts.
POLICY = Policy(retry=0.2, cap=5.0)

# Seconds. A hub keeps a key for ten minutes: if it is sent again after that, the event is stored twice.
MAX_RETRY_FOR = 540.0


class Caller(Protocol):
    """Sends requests, and does everything else that may take time."""

    @property
    def client(self) -> httpx2.Client | httpx2.AsyncClient: ...

    async def send(self, request: httpx2.Request) -> httpx2.Response: ...

    async def sleep(self, seconds: float) -> None: ...

    async def call(self, function: Callable[..., Any]) -> Any: ...


class Ingested(NamedTuple):
    """The result of a batch: receipts for what is stored, and the error that stopped the rest."""

    receipts: list[Receipt]
    error: TidewireError | None


class Exchange:
    """Requests to the hub at `url` that have one answer."""

    def __init__(self, url: str, headers: HeaderSource, caller: Caller, retry_for: float) -> None:
        if not 0 <= retry_for <= MAX_RETRY_FOR:
            raise InvalidInput(f"retry_for must be from 0 to {MAX_RETRY_FOR:g} seconds")
        if not callable(headers):
            requests.merged({}, headers)  # raises now if one of them cannot be sent
        self._url = requests.events_url(url)
        self._headers = headers
        self._caller = caller
        self._retry_for = retry_for

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
            # Always the whole batch: the hub derives a line's key from its number in the request.
            stored.clear()
            stored.extend(publishing.receipts(batch, await self._request("POST", self._url, headers, body)))

        try:
            await self._with_retries(attempt)
        except TidewireError as error:
            return Ingested(stored, error)
        return Ingested(stored, None)

    async def end(self, topic: str, reason: str | None) -> Receipt:
        url = self._url.copy_add_param("topic", topic)
        url = url if reason is None else url.copy_add_param("reason", reason)
        return requests.parse_problem(await self._with_retries(lambda: self._request("DELETE", url, {})))

    async def history(self, topics: str | Iterable[str], since: str | None, limit: int | None) -> Page:
        url = self._url
        for term in requests.terms_of(topics):
            url = url.copy_add_param("topic", term)
        url = url if since is None else url.copy_set_param("since", since)
        url = url if limit is None else url.copy_set_param("limit", limit)
        accept = {"Accept": "application/json"}
        return page_of(await self._with_retries(lambda: self._request("GET", url, accept)))

    async def _post(self, body: bytes, headers: Headers) -> bytes:
        return await self._with_retries(lambda: self._request("POST", self._url, headers, body))

    # -- retries

    def _new_key(self) -> str | None:
        return secrets.token_urlsafe(12) if self._retry_for else None

    def _key_header(self) -> Headers:
        """Return the header that gives a key to each event of a request that has none."""
        key = self._new_key()
        return {} if key is None else {"Idempotency-Key": key}

    async def _with_retries(self, attempt: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self._retry_for
        failures = 0
        renews_token = callable(self._headers) and self._retry_for > 0
        while True:
            try:
                return await attempt()
            except TidewireError as error:
                if error.status == 401 and renews_token:
                    renews_token = False
                    continue
                failures += 1
                wait = self._wait_before_retry(error, failures, deadline - time.monotonic())
                if wait is None:
                    raise
            await self._caller.sleep(wait)

    def _wait_before_retry(self, error: TidewireError, failures: int, left: float) -> float | None:
        if not is_transient(error.status):
            return None
        return retry_wait(POLICY, error.retry_after, failures, left, random.random)

    # -- one request

    async def _request(
        self, method: str, url: httpx2.URL, headers: Headers, body: bytes | None = None
    ) -> bytes:
        """Return the body of a 200 answer. Raises the error that any other answer, or none, stands for."""
        request = self._caller.client.build_request(
            method, url, content=body, headers=await self._all_headers(headers), timeout=TIMEOUTS.until_head()
        )
        try:
            response = await self._caller.send(request)
        except httpx2.RequestError as error:
            raise publishing.no_answer(url, error) from error
        return publishing.body_of(response)

    async def _all_headers(self, ours: Headers) -> list[tuple[bytes, bytes]]:
        theirs = self._headers
        if callable(theirs):
            try:
                theirs = cast(Headers, await self._caller.call(theirs))
            except OSError as error:
                # For example, the token server is down. Nothing was sent.
                detail = f"cannot get the headers for the request: {requests.reason_of(error)}"
                raise Unavailable(detail, code="unreachable") from error
        return requests.merged(ours, theirs)
