"""A subscription for programs without asyncio: what `connect` returns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import httpx2

from ...event_stream import Event
from ..core.subscription import Subscription, run
from .link import SyncLink


class Stream:
    """
    An open subscription: a context manager and an iterator of `Event`.

    One thread reads; `close` and `restart` may be called from any other, and wake it.
    """

    def __init__(self, subscription: Subscription, link: SyncLink, own_client: httpx2.Client | None) -> None:
        self._subscription = subscription
        self._link = link
        self._own_client = own_client
        self._reading = threading.Lock()

    @property
    def url(self) -> str:
        """Where each connection begins, whatever it was redirected to."""
        return self._subscription.url

    @property
    def last_event_id(self) -> str:
        """The id of the newest event taken from the iterator: where another stream would go on."""
        return self._subscription.last_event_id

    def __enter__(self) -> Self:
        try:
            with self._reading:
                run(self._subscription.open())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            with self._reading:
                item = self._subscription.ready() or run(self._subscription.next_item())
        finally:
            self._release_if_closed()
        if item is None:
            raise StopIteration
        return item

    def raw(self) -> Iterator[bytes]:
        """Yield the bytes as they come, instead of events; resuming goes on as usual."""
        while (chunk := self._next_raw()) is not None:
            yield chunk

    def restart(self) -> None:
        """Drop the connection and make a new one at once, from any thread; a reader goes on with that."""
        self._subscription.restart()

    def close(self) -> None:
        """End the stream for good, from any thread; a reader that is blocked wakes and ends."""
        self._subscription.close()
        self._release_if_closed()

    def _next_raw(self) -> bytes | None:
        try:
            with self._reading:
                return run(self._subscription.next_raw())
        finally:
            self._release_if_closed()

    def _release_if_closed(self) -> None:
        # Whoever is reading does this as it leaves: a response in use must not be closed under it.
        if self._subscription.closed and self._reading.acquire(blocking=False):
            try:
                run(self._link.drop())
                if self._own_client is not None:
                    self._own_client.close()
            finally:
                self._reading.release()
