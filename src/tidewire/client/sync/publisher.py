"""The publisher of the sync client: for scripts, task queues and threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from ...items import Page
from ..core.exchange import Exchange
from ..core.publishing import Batch, Cutter, Receipt
from ..core.requests import Headers, check_client
from ..core.subscription import run
from .link import new_client


class Publisher:
    """
    Publishes to a hub over persistent connections, from scripts, task queues and threads.

        with Publisher("http://localhost:8000") as hub:
            hub.publish("orders/7", {"status": "paid"}, event="status")

    It needs no event loop and starts none. All threads of a process may share one `Publisher`. If it is made
    before a fork (Celery, gunicorn, multiprocessing), each process opens its own connections.

    `headers` are sent with each request: a mapping, or a function that is called before each request and
    returns one. `client` is your own, with its proxies, certificates and auth; it stays open. After a
    transient failure a request is sent again for `retry_for` seconds (at most 540). Each event has a key,
    made if you give none, so it is stored once. With `retry_for=0` there is one attempt and no key is made.

    Its methods raise the hub's error (`TopicEnded`, `TooLarge`, …), `Unavailable` if no hub answers, and
    `Unknown` if the answer was lost: the event may or may not be stored. `error.stored` is False or
    `"unknown"`.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers | Callable[[], Headers] | None = None,
        client: httpx2.Client | None = None,
        retry_for: float = 30.0,
    ) -> None:
        self._caller = SyncCaller(client)
        self._exchange = Exchange(url, headers or {}, self._caller, retry_for)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Nothing is buffered: every published event has been acknowledged."""
        self._caller.close()

    def publish(
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
        return run(self._exchange.publish(topic, data, event, key, retry))

    def publish_many(
        self, events: Iterable[Mapping[str, Any] | bytes], *, atomic: bool = False, first: int = 1
    ) -> Iterator[Receipt]:
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
            yield from run(self._exchange.publish_batch(events))
            return
        cutter = Cutter(first)
        for event in events:
            if batch := cutter.add(event):
                yield from self._ingest(batch)
        if batch := cutter.rest():
            yield from self._ingest(batch)

    def end(self, topic: str, *, reason: str | None = None) -> Receipt:
        """
        End a topic and return its receipt.

        Its streams get a `hub.end` with the `reason`. Publishing to it raises `TopicEnded` from then on.
        """
        return run(self._exchange.end(topic, reason))

    def history(
        self, topics: str | Iterable[str], *, since: str | None = None, limit: int | None = None
    ) -> Page:
        """
        Return a page of past events of topics or patterns, oldest first: at most `limit` events, up to 1,000.

        `since`: `start` (default), `last:10`, `10m`, an ISO time, a position, or the `next` of another page.
        """
        return run(self._exchange.history(topics, since, limit))

    def _ingest(self, batch: Batch) -> Iterator[Receipt]:
        receipts, error = run(self._exchange.ingest(batch))
        yield from receipts
        if error is not None:
            raise error


class SyncCaller:
    """A `Caller` whose coroutines never suspend: they block. Any number of threads may use it."""

    def __init__(self, client: httpx2.Client | None) -> None:
        check_client(client, httpx2.Client)
        self._user_client = client
        self._own_client: httpx2.Client | None = None
        self._process = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def client(self) -> httpx2.Client:
        if self._user_client is not None:
            return self._user_client
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("this publisher is closed")
            if self._own_client is None or self._process != os.getpid():
                # After a fork two processes share the sockets, and either may read the other's bytes.
                self._own_client, self._process = new_client(), os.getpid()
            return self._own_client

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        return self.client.send(request, follow_redirects=False)

    async def sleep(self, seconds: float) -> None:
        self._closed.wait(seconds)

    async def call(self, function: Callable[..., Any]) -> Any:
        return function()

    def close(self) -> None:
        self._closed.set()
        if self._own_client is not None and self._process == os.getpid():
            self._own_client.close()
