"""Both Python clients behind one interface, so that each test runs with both: `client: Client`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import httpx2

from support.scripted import Scripted
from support.waiting import PATIENCE, POLL
from tidewire.client import aio, sync
from tidewire.client.core.reconnect import Policy
from tidewire.event_stream import Event

T = TypeVar("T")

QUICK = Policy(retry=0.02, shortest=0.01, cap=0.05)


class Stream(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def last_event_id(self) -> str: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __iter__(self) -> Iterator[Event]: ...
    def __next__(self) -> Event: ...
    def raw(self) -> Iterator[bytes]: ...
    def restart(self) -> Any: ...
    def close(self) -> Any: ...


class Publisher(Protocol):
    def publish(self, topic: str, data: Any, **options: Any) -> dict[str, Any]: ...
    def publish_many(self, events: Any, **options: Any) -> Iterator[dict[str, Any]]: ...
    def end(self, topic: str, **options: Any) -> dict[str, Any]: ...
    def history(self, topics: Any, **options: Any) -> sync.Page: ...


class Client(Protocol):
    def connect(self, url: str, **options: Any) -> Stream: ...
    def publisher(self, url: str, **options: Any) -> AbstractContextManager[Publisher]: ...
    def publish(self, url: str, topic: str, data: Any, **options: Any) -> dict[str, Any]: ...
    def publish_many(self, url: str, events: Any, **options: Any) -> Iterator[dict[str, Any]]: ...
    def end(self, url: str, topic: str, **options: Any) -> dict[str, Any]: ...
    def history(self, url: str, topics: Any, **options: Any) -> sync.Page: ...

    def http(self, **options: Any) -> AbstractContextManager[Any]:
        """Return an httpx2 client of the kind that this client accepts."""

    def within(self, function: Callable[[], Any]) -> Callable[..., Any]:
        """Return a callback that calls a method of a stream, in the way this client's methods are called."""


def follow(client: Client, server: Scripted, path: str = "/", /, **options: Any) -> Stream:
    return client.connect(server.url + path, **{"reconnect": QUICK, **options})


def data(events: Iterable[Event]) -> list[str]:
    return [event.data for event in events]


def in_thread(function: Callable[[], T]) -> Callable[[], T]:
    """Start a function in a thread. Call the returned function to wait for its end and get its result."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()

    def result() -> T:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the thread hangs"
        return results[0]

    return result


class SyncClient:
    connect = staticmethod(sync.connect)
    publisher = staticmethod(sync.Publisher)
    publish = staticmethod(sync.publish)
    publish_many = staticmethod(sync.publish_many)
    end = staticmethod(sync.end)
    history = staticmethod(sync.history)
    http = staticmethod(httpx2.Client)

    def within(self, function: Callable[[], Any]) -> Callable[..., Any]:
        return lambda *_: function()


class AsyncClient:
    """The async client, used from a thread without a loop; its loop runs in another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(PATIENCE)
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: Any) -> Iterator[Any]:
        while True:
            with suppress(StopAsyncIteration):
                yield self.run(in_coroutine(anext, items))
                continue
            return

    def connect(self, url: str, **options: Any) -> AsyncStream:
        return AsyncStream(self, aio.connect(url, **options))

    @contextmanager
    def publisher(self, url: str, **options: Any) -> Iterator[AsyncPublisher]:
        publisher = aio.Publisher(url, **options)
        try:
            yield AsyncPublisher(self, publisher)
        finally:
            self.run(publisher.close())

    def publish(self, url: str, topic: str, data: Any, **options: Any) -> dict[str, Any]:
        return self.run(aio.publish(url, topic, data, **options))

    def publish_many(self, url: str, events: Any, **options: Any) -> Iterator[dict[str, Any]]:
        return self.iterate(aio.publish_many(url, events, **options))

    def end(self, url: str, topic: str, **options: Any) -> dict[str, Any]:
        return self.run(aio.end(url, topic, **options))

    def history(self, url: str, topics: Any, **options: Any) -> sync.Page:
        return self.run(aio.history(url, topics, **options))

    @contextmanager
    def http(self, **options: Any) -> Iterator[httpx2.AsyncClient]:
        client = httpx2.AsyncClient(**options)
        try:
            yield client
        finally:
            self.run(client.aclose())

    def within(self, function: Callable[[], Any]) -> Callable[..., Any]:
        # A method of a stream of this client: on the loop it is awaited, not waited for.
        stream: AsyncStream = function.__self__  # type: ignore[attr-defined]
        return lambda *_: getattr(stream.inner, function.__name__)()


class AsyncStream:
    def __init__(self, client: AsyncClient, inner: aio.Stream) -> None:
        self._client = client
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def last_event_id(self) -> str:
        return self.inner.last_event_id

    def __enter__(self) -> Self:
        self._client.run(self.inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.run(self.inner.__aexit__(kind, error, traceback))

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            return self._client.run(self.inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def raw(self) -> Iterator[bytes]:
        return self._client.iterate(self.inner.raw())

    def restart(self) -> None:
        self._client.run(self.inner.restart())

    def close(self) -> None:
        self._client.run(self.inner.close())


class AsyncPublisher:
    def __init__(self, client: AsyncClient, inner: aio.Publisher) -> None:
        self._client = client
        self._inner = inner

    def publish(self, topic: str, data: Any, **options: Any) -> dict[str, Any]:
        return self._client.run(self._inner.publish(topic, data, **options))

    def publish_many(self, events: Any, **options: Any) -> Iterator[dict[str, Any]]:
        return self._client.iterate(self._inner.publish_many(events, **options))

    def end(self, topic: str, **options: Any) -> dict[str, Any]:
        return self._client.run(self._inner.end(topic, **options))

    def history(self, topics: Any, **options: Any) -> sync.Page:
        return self._client.run(self._inner.history(topics, **options))


async def in_coroutine(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    return await function(*args)


@contextmanager
def sync_client() -> Iterator[Client]:
    yield SyncClient()


@contextmanager
def async_client() -> Iterator[Client]:
    """Yield the async client on its own loop, and check that it leaves no task behind there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    client = AsyncClient(loop)
    try:
        yield client
        assert client.run(others()) == [], "left behind on the loop"
    finally:
        client.run(loop.shutdown_asyncgens())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


async def others() -> list[asyncio.Task[Any]]:
    """Return the tasks that go on, after what has been cancelled has had time to end."""
    for _ in range(int(PATIENCE / POLL)):
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if not left:
            break
        await asyncio.sleep(POLL)
    return left


CLIENTS = {"sync": sync_client, "async": async_client}
