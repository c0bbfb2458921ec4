"""Streams as responses of async views."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.http import StreamingHttpResponse

from ...auth.grants import Grant
from ...delivery.tasks import start
from ...errors import Unauthorized
from ...http.asgi import Message
from ...http.hub_stream import RefusedStream
from ...http.offer import ResponseCut
from ...http.responses import AsgiResponse
from ...topic_names import topic
from .configured import get_hub

NOT_ASGI = (
    "streams need ASGI, such as `uvicorn project.asgi:application`: a WSGI worker would serve this one "
    "client and nobody else until the client leaves"
)


async def stream(
    request: Any,
    *topics: str,
    patterns: Iterable[str] = (),
    since: str | None = None,
    control: bool = True,
    grant: Grant | None = None,
) -> StreamingHttpResponse:
    """
    Return the response that streams `topics`, and what matches `patterns`, to the client of `request`.

    The arguments are those of `Hub.stream`. Raises `ImproperlyConfigured` under WSGI.
    """
    check_asgi(request)
    return await respond(
        request,
        get_hub().stream(request, *topics, patterns=patterns, since=since, control=control, grant=grant),
    )


async def user_stream(request: Any, *topics: str, since: str | None = None) -> StreamingHttpResponse:
    """
    Return the response that streams `topics` and those of the user who is signed in; 401 if nobody is.

    The user's own topics are those of `user_topics`. `get_hub().kick(str(user.pk))` ends the user's streams;
    clients come back and get the topics of the groups that the user has then. Raises as `stream`.
    """
    check_asgi(request)
    user = await request.auser()
    if not user.is_authenticated:
        return await respond(request, RefusedStream(Unauthorized("sign in to get this stream")))
    names = [*await user_topics(user), *topics]
    return await stream(request, *names, since=since, grant=Grant(subscribe=names, sub=str(user.pk)))


async def user_topics(user: Any) -> list[str]:
    """Return the topic of a user, such as `users/7`, and those of the user's groups, such as `groups/3`."""
    groups = [topic("groups", str(pk)) async for pk in user.groups.values_list("pk", flat=True)]
    return [topic("users", str(user.pk)), *groups]


async def respond(request: Any, response: AsgiResponse) -> StreamingHttpResponse:
    """
    Return a response of `hub.stream_run`, of `hub.attach` or an `EventStreamResponse` as one of Django's.

    Raises `ImproperlyConfigured` under WSGI, and what the response raises before it begins.
    """
    check_asgi(request)
    # The thread of the request lives as long as the stream. Its connections must not.
    await sync_to_async(close_connections)()
    return await Bridge(response, request.scope).response()


def check_asgi(request: Any) -> None:
    if not hasattr(request, "scope"):
        raise ImproperlyConfigured(NOT_ASGI)


def close_connections() -> None:
    """Close the connections of this thread to the database, except in a transaction, such as a test's."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class Bridge:
    """
    Runs an ASGI response in a task of its own; its body is the content of a Django response.

    `send` returns once Django has sent the chunk, so a client that reads slowly holds the response up.
    """

    def __init__(self, response: AsgiResponse, scope: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._head: asyncio.Future[Message] = self._loop.create_future()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._sent: asyncio.Future[None] | None = None  # of the chunk that Django is sending
        self._gone = asyncio.Event()
        self._task = start(self._run(response, scope))

    async def response(self) -> StreamingHttpResponse:
        try:
            first: list[asyncio.Future[Any]] = [self._head, self._task]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not self._head.done():
                self._task.result()
            head = self._head.result()
        except BaseException:
            self._leave()
            raise
        made = StreamingHttpResponse(self._body(), status=head["status"])
        del made["Content-Type"]
        for name, value in head["headers"]:
            made[name.decode("latin-1")] = value.decode("latin-1")
        # Middleware may return another response in its place, and then nothing reads this one.
        weakref.finalize(made, self._leave_soon).atexit = False
        return made

    async def _run(self, response: AsgiResponse, scope: Any) -> None:
        try:
            await response(scope, self._receive, self._send)
        except (OSError, ResponseCut):
            if not self._gone.is_set():
                raise
        finally:
            self._chunks.put_nowait(None)

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            while (chunk := await self._chunks.get()) is not None:
                yield chunk
                if self._sent is not None and not self._sent.done():
                    self._sent.set_result(None)
            # If the response raises, so does this, and the server cuts the connection.
            await self._task
        finally:
            self._leave()

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head.set_result(message)
        elif message["type"] == "http.response.body" and message.get("body"):
            if self._gone.is_set():
                raise OSError("the client has disconnected")
            self._sent = self._loop.create_future()
            self._chunks.put_nowait(message["body"])
            await self._sent

    def _leave(self) -> None:
        self._gone.set()
        if self._sent is not None and not self._sent.done():
            self._sent.set_exception(OSError("the client has disconnected"))

    def _leave_soon(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leave)
