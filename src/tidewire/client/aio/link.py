"""How the async client connects, reads and waits: on the event loop, where another task can wake it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import httpx2

from ..core.subscription import Interrupted
from ..core.ways import Way, build, way_to

T = TypeVar("T")


class AsyncLink:
    """A `Link` on the event loop. If its reader is cancelled, it closes the connection."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._response: httpx2.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._woken = False
        self._scope: anyio.CancelScope | None = None

    @property
    def is_open(self) -> bool:
        return self._response is not None

    async def send(self, request: httpx2.Request, auth: Any) -> httpx2.Response:
        send = self._client.send
        self._response = await self._interruptible(
            lambda: send(request, stream=True, auth=auth, follow_redirects=False)
        )
        return self._response

    async def read(self) -> bytes | None:
        if self._chunks is None:
            assert self._response is not None
            self._chunks = self._response.aiter_bytes()
        chunks = self._chunks
        try:
            return await self._interruptible(lambda: anext(chunks, None))
        except anyio.get_cancelled_exc_class():
            await self.drop()
            raise

    async def drop(self) -> None:
        response, self._response, self._chunks = self._response, None, None
        if response is not None:
            with anyio.CancelScope(shield=True), suppress(httpx2.RequestError):
                await response.aclose()

    async def sleep(self, seconds: float) -> None:
        await self._interruptible(lambda: anyio.sleep(seconds))

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        result = function(*args)
        return await result if inspect.isawaitable(result) else result

    def interrupt(self) -> None:
        self._woken = True
        if self._scope is not None:
            self._scope.cancel()

    def clear_interrupt(self) -> None:
        self._woken = False

    async def _interruptible(self, function: Callable[[], Awaitable[T]]) -> T:
        if self._woken:
            raise Interrupted
        try:
            with anyio.CancelScope() as self._scope:
                return await function()
        finally:
            self._scope = None
        raise Interrupted


class Transport(httpx2.AsyncBaseTransport):
    """Sends each request by the way that the environment says, built when it is first needed."""

    def __init__(self) -> None:
        self._built: dict[Way, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        way = way_to(request.url)
        if way not in self._built:
            self._built[way] = build(httpx2.AsyncHTTPTransport, way)
        return await self._built[way].handle_async_request(request)

    async def aclose(self) -> None:
        for transport in self._built.values():
            await transport.aclose()


def new_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=Transport())
