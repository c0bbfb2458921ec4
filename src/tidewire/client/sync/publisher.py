"""Publishing for programs without asyncio: scripts, task queues, threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from ..core.exchange import Exchange
from ..core.items import Page
from ..core.publishing import Batch, Cutter, Receipt
from ..core.requests import Headers
from ..core.subscription import run
from .link import new_client


class Publisher:
    """
    A hub to publish to, over connections that are kept: for threads, scripts and task queues.

        with Publisher("http://localhost:8000") as hub:
            hub.publish("orders/7", {"status": "paid"}, event="status")

    No event loop is needed and none is started. One `Publisher` may serve all threads of a process. Made
    before a fork (by Celery, gunicorn, multiprocessing), it opens connections of its own in each process.

    `headers` go with each request: a mapping, or a function that is asked for one before each. `client` is
    your own, with its proxies, certificates and auth, and stays open. `patience`: for so many seconds (at
    most 540) a request that fails in a way that may pass is sent again, with the same keys, so that each
    event is stored once; an event without a key gets one. With 0 there is one attempt, and no key is made.

    Its methods raise what the hub says (`TopicEnded`, `TooLarge`, …), `Unavailable` where no hub answers,
    and `Unknown` when the answer was lost: then nobody can say whether the event is stored. `error.stored`
    says it too.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers | Callable[[], Headers] | None = None,
        client: httpx2.Client | None = None,
        patience: float = 30.0,
    ) -> None:
        self._caller = SyncCaller(client)
        self._exchange = Exchange(url, headers or {}, self._caller, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections. Nothing waits in it: what was published is acked."""
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

        `data` is text, UTF-8 bytes, or anything that JSON can say. `retry` is in milliseconds. Within ten
        minutes the hub stores a `key` of a topic once, whoever sends it.
        """
        return run(self._exchange.publish(topic, data, event, key, retry))

    def publish_many(
        self, events: Iterable[Mapping[str, Any] | bytes], *, atomic: bool = False, first: int = 1
    ) -> Iterator[Receipt]:
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

        Its streams get `hub.end` with the `reason`, and nothing can be published to it any more.
        """
        return run(self._exchange.end(topic, reason))

    def history(
        self, topics: str | Iterable[str], *, since: str | None = None, limit: int | None = None
    ) -> Page:
        """
        Return a page of what topics (or patterns) have had, oldest first: at most `limit` events, 1,000 of
        them.

        `since`: `start` (default), `last:10`, `10m`, an ISO time, a position, or the `next` of another page.
        """
        return run(self._exchange.history(topics, since, limit))

    def _ingest(self, batch: Batch) -> Iterator[Receipt]:
        receipts, error = run(self._exchange.ingest(batch))
        yield from receipts
        if error is not None:
            raise error


class SyncCaller:
    """A `Caller` whose coroutines never suspend: they block. For any number of threads."""

    def __init__(self, client: httpx2.Client | None) -> None:
        self._theirs = client
        self._own: httpx2.Client | None = None
        self._process = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def client(self) -> httpx2.Client:
        if self._theirs is not None:
            return self._theirs
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("this publisher is closed")
            if self._own is None or self._process != os.getpid():
                # After a fork the sockets belong to two processes, and bytes to whichever reads first.
                self._own, self._process = new_client(), os.getpid()
            return self._own

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        return self.client.send(request, follow_redirects=False)

    async def sleep(self, seconds: float) -> None:
        self._closed.wait(seconds)

    async def call(self, function: Callable[..., Any]) -> Any:
        return function()

    def close(self) -> None:
        self._closed.set()
        if self._own is not None and self._process == os.getpid():
            self._own.close()
