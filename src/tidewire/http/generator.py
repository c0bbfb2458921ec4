"""
The body of an `EventStreamResponse`: from a program's iterable to `send`.

Rule 1: one task iterates an async generator from beginning to end and closes it
        there, so its cancel scopes and context variables stay whole.
Rule 2: a sync iterable has a thread of its own. A pool would be used up by as
        many streams as it has threads, and starve every sync endpoint.
Rule 3: nothing is sent while something else is being sent.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any

from .. import frames
from ..drafts import as_text
from ..errors import InvalidInput, TidewireError
from ..event_stream import Event, encode
from ..settings import Settings
from ..streams import streams_of_loop
from .wire import Receive, Send, disconnected

logger = logging.getLogger("tidewire")

Item = Event | str | Mapping[str, Any]

# A stream that is silent, or stuck in one `send`, is looked at this often.
LOOK_EVERY = 2.0


class GeneratorStream:
    """One open stream of a generator's. `due` belongs to the loop's timer."""

    def __init__(
        self,
        content: AsyncIterable[Item] | Iterable[Item],
        settings: Settings,
        max_age: float | None,
        send: Send,
    ) -> None:
        self.due = 0
        self._content = content
        self._settings = settings
        self._max_age = max_age
        self._send = send
        self._sending_since: float | None = None
        self._lock = asyncio.Lock()
        self._stopped = asyncio.Event()
        self._last = b""  # what a stream says before it ends
        self._gone = False  # nobody listens any more
        self._done = asyncio.Event()

    async def run(self, receive: Receive) -> None:
        """Send the whole stream; return when it has ended or the client has left."""
        self._loop = asyncio.get_running_loop()
        self._streams = streams_of_loop()
        self._opened = self._sent_at = self._loop.time()
        self._streams.register(self)
        self._streams.watch(self, self._opened + LOOK_EVERY)
        watch = asyncio.ensure_future(self._watch(receive))
        pump = asyncio.ensure_future(self._pump())
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([pump, stopped], return_when=asyncio.FIRST_COMPLETED)
            await cancel(pump)
            await self._end()
        finally:
            for task in (watch, pump, stopped):
                task.cancel()
            self._streams.unwatch(self)
            self._streams.unregister(self)
            self._done.set()

    async def _end(self) -> None:
        if self._gone:
            return
        async with self._lock:
            await self._send({"type": "http.response.body", "body": self._last, "more_body": False})

    async def _pump(self) -> None:
        try:
            await self._give(frames.retry(self._settings.retry) + frames.GREETING)
            if isinstance(self._content, AsyncIterable):
                await self._iterate(self._content)
            else:
                await self._iterate_in_thread(self._content)
        except OSError:
            self._gone = True
        except Failed as failed:
            self._fail(failed.error)

    async def _iterate(self, content: AsyncIterable[Item]) -> None:
        iterator = aiter(content)
        try:
            while True:
                try:
                    chunk = encode_item(await anext(iterator))
                except StopAsyncIteration:
                    return
                except Exception as error:
                    raise Failed(error) from None
                await self._give(chunk)
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    async def _iterate_in_thread(self, content: Iterable[Item]) -> None:
        ended: asyncio.Future[Exception | None] = self._loop.create_future()
        thread = threading.Thread(
            target=self._drive, args=(content, ended), name="tidewire-stream", daemon=True
        )
        thread.start()
        error = await ended
        if error is not None:
            raise Failed(error)

    def _drive(self, content: Iterable[Item], ended: asyncio.Future[Exception | None]) -> None:
        """Iterate in this thread, one item at a time: the next is asked for when the last one is sent."""
        error: Exception | None = None
        iterator = None
        try:
            iterator = iter(content)
            for item in iterator:
                chunk = encode_item(item)
                if self._stopped.is_set() or self._loop.is_closed():
                    break
                asyncio.run_coroutine_threadsafe(self._give(chunk), self._loop).result()
        except Exception as raised:
            # What fails because the stream has ended is not the program's failure.
            error = None if self._stopped.is_set() or self._loop.is_closed() else raised
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(resolve, ended, error)

    async def _give(self, chunk: bytes) -> None:
        async with self._lock:
            if self._done.is_set() or self._gone:
                raise ConnectionResetError("the stream has ended")
            self._sending_since = self._loop.time()
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._sending_since = None
            self._sent_at = self._loop.time()

    def _fail(self, error: Exception) -> None:
        # One line: the traceback is the program's, and at hand where it is looked for.
        logger.error("the generator of a stream failed: %s: %s", type(error).__name__, error)
        logger.debug("where it failed", exc_info=error)
        self._last = frames.error(error.code if isinstance(error, TidewireError) else "internal")

    async def _watch(self, receive: Receive) -> None:
        await disconnected(receive)
        self._gone = True
        self._stopped.set()

    # -- the timer's and the server's side

    def tick(self, now: float) -> float | None:
        if self._max_age is not None and now - self._opened >= self._max_age:
            self._stopped.set()
            return None
        if self._sending_since is not None and now - self._sending_since >= self._settings.send_timeout:
            self._gone = True
            self._stopped.set()
            return None
        if now - self._sent_at >= self._settings.heartbeat - LOOK_EVERY / 2 and not self._lock.locked():
            self._beat = asyncio.ensure_future(self._heartbeat())
        return now + LOOK_EVERY

    async def _heartbeat(self) -> None:
        try:
            await self._give(frames.HEARTBEAT)
        except OSError:
            self._gone = True
            self._stopped.set()

    def server_stopping(self) -> None:
        self._streams.start_drain()

    async def drain(self) -> None:
        self._last = frames.spread_retry(self._settings.retry, self._settings.drain)
        self._stopped.set()
        await self._done.wait()


class Failed(Exception):
    """The program's iterable raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def encode_item(item: Item) -> bytes:
    """Return the frame of what a generator yielded. Raise `InvalidInput`."""
    if isinstance(item, str):
        return encode(Event(item))
    if isinstance(item, Event):
        return encode(item)
    if isinstance(item, Mapping):
        try:
            event = Event(**item)
        except TypeError:
            raise InvalidInput(
                "a dict that is yielded has the fields of an Event: data, event, id, retry, topic",
                code="invalid_event",
            ) from None
        if not isinstance(event.data, str):
            event.data = as_text(event.data)
        return encode(event)
    raise InvalidInput(f"yield Event, str or dict, not {type(item).__name__}", code="invalid_event")


def resolve(future: asyncio.Future[Exception | None], result: Exception | None) -> None:
    if not future.done():
        future.set_result(result)


async def cancel(task: asyncio.Future[Any]) -> None:
    """Cancel `task` and wait until it is gone; what it raised is raised here."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()
