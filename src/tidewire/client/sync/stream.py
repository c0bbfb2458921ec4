"""The stream that `connect` of the sync client returns."""

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

    One thread reads. `close` and `restart` may be called from any thread and wake the reader.
    """

    def __init__(self, subscription: Subscription, link: SyncLink, own_client: httpx2.Client | None) -> None:
        self._subscription = subscription
        self._link = link
        self._own_client = own_client
        self._reading = threading.Lock()

    @property
    def url(self) -> str:
        """The URL of each request, before any redirect."""
        return self._subscription.url

    @property
    def last_event_id(self) -> str:
        """The id of the newest event taken from the iterator. Another stream can continue from it."""
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
        """Yield the bytes as they arrive instead of events. It reconnects and resumes as usual."""
        while (chunk := self._next_raw()) is not None:
            yield chunk

    def restart(self) -> None:
        """Replace the connection by a new one at once, from any thread. A reader continues with that."""
        self._subscription.restart()

    def close(self) -> None:
        """End the stream for good, from any thread. A blocked reader wakes and stops."""
        self._subscription.close()
        self._release_if_closed()

    def _next_raw(self) -> bytes | None:
        try:
            with self._reading:
                return run(self._subscription.next_raw())
        finally:
            self._release_if_closed()

    def _release_if_closed(self) -> None:
        # If a thread is reading, it does this when it stops: its response must not be closed while in use.
        if self._subscription.closed and self._reading.acquire(blocking=False):
            try:
                run(self._link.drop())
                if self._own_client is not None:
                    self._own_client.close()
            finally:
                self._reading.release()
