"""
The body of an `EventStreamResponse`: from a program's iterable to `send`.

Rule 1: one task iterates the iterable from beginning to end and closes it
        there, so its cancel scopes and context variables stay whole.
Rule 2: a sync iterable has a thread of its own. A pool would be used up by as
        many streams as it has threads, and starve every sync endpoint.
Rule 3: nothing is sent while something else is being sent.
Rule 4: the request's task goes on until the iterable is closed, so that what
        the program opened for it (a dependency with `yield`) lives as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from queue import SimpleQueue
from typing import Any

from .. import hub_events
from ..delivery.deadlines import deadlines_of_loop
from ..delivery.stopping import drains_of_loop
from ..delivery.subscriber import END_TIMEOUT
from ..errors import InvalidInput, TidewireError
from ..event_stream import Event, encode
from ..log.drafts import as_text
from ..settings import Settings
from .asgi import Receive, Send, disconnected

logger = logging.getLogger("tidewire")

Item = Event | str | Mapping[str, Any]

# A `send` that is stuck is noticed this much too late.
LOOK_EVERY = 2.0

# How long the end of a body waits for the iterable to be closed: it may still
# fail, and tell so, but the client should not have to wait.
CLOSE_TIMEOUT = 0.5

# How long a drain waits for a thread, which nothing can interrupt.
THREAD_TIMEOUT = 1.0

END: Any = object()


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
        # A second early: deadlines are kept to the second, and 16 s is promised.
        self._silence = max(settings.heartbeat - 1, 0.5)
        self._lock = asyncio.Lock()
        self._sending_since: float | None = None
        self._thread: OwnThread | None = None
        self._beat: asyncio.Future[None] | None = None
        self._failure = self._farewell = b""  # what a stream says before it ends
        self._gone = False  # nobody listens any more
        self._stopping = False  # the iterable is being closed
        self._over = asyncio.Event()  # the body may end
        self._done = asyncio.Event()

    async def run(self, receive: Receive) -> None:
        """Send the whole stream; return when the iterable is closed."""
        self._loop = asyncio.get_running_loop()
        self._deadlines = deadlines_of_loop()
        self._drains = drains_of_loop()
        self._opened = self._sent_at = self._loop.time()
        self._maker = asyncio.ensure_future(self._make())
        self._maker.add_done_callback(lambda _: self._over.set())
        watch = asyncio.ensure_future(self._watch(receive))
        self._deadlines.watch(self, self._next_look(self._opened))
        self._drains.register(self)
        try:
            await self._over.wait()
            await self._end()
        except asyncio.CancelledError:
            # The server waits no longer.
            self._gone = True
            self._abandon()
            raise
        finally:
            watch.cancel()
            self._stop()
            await ended(self._maker)
            self._deadlines.unwatch(self)
            self._drains.unregister(self)
            self._done.set()
        if not self._maker.cancelled():
            self._maker.result()

    async def _end(self) -> None:
        """End the body in good order, unless the client takes nothing any more."""
        if self._beat is not None:
            self._beat.cancel()
        if self._gone:
            return
        last = {"type": "http.response.body", "body": self._failure + self._farewell, "more_body": False}
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(END_TIMEOUT), self._lock:
                await self._send(last)

    # -- from the iterable to the client

    async def _make(self) -> None:
        try:
            await self._give(hub_events.retry(self._settings.retry) + hub_events.GREETING)
            await self._iterate()
        except Failed as failed:
            self._fail(failed)
        except OSError:
            self._gone = True  # ASGI: send raises this when the client is gone

    async def _iterate(self) -> None:
        try:
            iterator = self._iterator()
        except Exception as error:
            raise Failed(error) from None
        try:
            while True:
                frame = await next_frame(iterator)
                # A generator may have caught the cancellation.
                if frame is None or self._stopping:
                    return
                await self._give(frame)
                # One that never waits would hold up all others: a `send` waits only for a full socket.
                await asyncio.sleep(0)
        finally:
            await self._close(iterator)

    def _iterator(self) -> AsyncIterator[Item]:
        if isinstance(self._content, AsyncIterable):
            return aiter(self._content)
        self._thread = OwnThread()
        return in_thread(self._content, self._thread)

    async def _close(self, iterator: AsyncIterator[Item]) -> None:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            try:
                await close()
            except Exception as error:
                self._fail(error)

    async def _give(self, frame: bytes) -> None:
        async with self._lock:
            self._sending_since = self._loop.time()
            try:
                await self._send({"type": "http.response.body", "body": frame, "more_body": True})
            except Exception:
                self._gone = True
                raise
            finally:
                self._sending_since = None
            self._sent_at = self._loop.time()

    def _fail(self, error: BaseException) -> None:
        self._failure = hub_events.error(log_failure(error))

    async def _watch(self, receive: Receive) -> None:
        await disconnected(receive)
        self._gone = True
        self._stop()

    # -- ending

    def _stop(self) -> None:
        """Close the iterable, and end the body when that is done, or soon."""
        if not (self._stopping or self._maker.done()):
            self._stopping = True
            self._maker.cancel()
            self._loop.call_later(CLOSE_TIMEOUT, self._over.set)

    def _abandon(self) -> None:
        """Wait for the thread no longer. It ends, and closes its iterable, at the next `yield`."""
        if self._thread is not None:
            self._thread.abandon()

    async def drain(self) -> None:
        self._farewell = hub_events.spread_retry(self._settings.retry, self._settings.drain)
        self._stop()
        patience = self._loop.call_later(THREAD_TIMEOUT, self._abandon)
        await self._done.wait()
        patience.cancel()

    # -- deadlines

    def tick(self, now: float) -> float | None:
        if self._stopping or self._over.is_set():
            return None
        if self._max_age is not None and now - self._opened >= self._max_age:
            self._stop()
            return None
        if self._sending_since is None:
            if now >= self._sent_at + self._silence:
                self._beat = asyncio.ensure_future(self._heartbeat())
        elif now - self._sending_since >= self._settings.send_timeout:
            self._gone = True
            self._stop()
            return None
        return self._next_look(now)

    def _next_look(self, now: float) -> float:
        looks = [now + min(LOOK_EVERY, self._silence), self._sent_at + self._silence]
        if self._max_age is not None:
            looks.append(self._opened + self._max_age)
        return min(at for at in looks if at > now)

    async def _heartbeat(self) -> None:
        try:
            await self._give(hub_events.HEARTBEAT)
        except Exception:
            self._stop()


class Failed(Exception):
    """The program's iterable raised `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


async def next_frame(iterator: AsyncIterator[Item]) -> bytes | None:
    """Return the frame of the next item, or None at the end. Raise `Failed`."""
    try:
        return encode_item(await anext(iterator))
    except StopAsyncIteration:
        return None
    except Failed:
        raise
    except Exception as error:
        raise Failed(error) from None
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Not this task was cancelled, but something that the program awaits.
        raise Failed(error) from None


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


def log_failure(error: BaseException) -> str:
    """Say in one line what the program's iterable raised; return the code that its client is told."""
    if isinstance(error, Failed):
        error = error.error
    what = " ".join([f"{type(error).__name__}:", *str(error).split()]).rstrip(":")
    logger.error("the generator of a stream failed: %s", what)
    # The traceback is the program's, and at hand where it is looked for.
    logger.debug("where it failed", exc_info=error)
    return error.code if isinstance(error, TidewireError) else "internal"


# -- sync iterables


async def in_thread(content: Iterable[Item], thread: OwnThread) -> AsyncIterator[Item]:
    """Yield the items of a sync iterable; each is asked for when the last one is sent."""
    iterator: Any = None
    try:
        iterator = await thread.call(iter, content)
        while (item := await thread.call(next, iterator, END)) is not END:
            yield item
    finally:
        # Where one item is still being made, this waits for it.
        await thread.end(getattr(iterator, "close", lambda: None))


class OwnThread:
    """A thread for one iterable: it makes calls for the event loop, one after another."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], Any] | None] = SimpleQueue()
        self._ended: asyncio.Future[Any] | None = None
        self._abandoned = False
        # The context variables of the endpoint hold in its generator too. A daemon, since a
        # generator that waits for ever must not keep the process from ending.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._work,), name="tidewire-stream", daemon=True)
        thread.start()

    def call(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Return a future of what `function` returns; what it raises comes as `Failed`."""
        future = self._loop.create_future()
        self._calls.put((future, function, args))
        return future

    def end(self, close: Callable[[], Any]) -> asyncio.Future[Any]:
        """Make a last call; the thread ends after it."""
        self._ended = self.call(close)
        self._calls.put(None)
        if self._abandoned:
            self.abandon()
        return self._ended

    def abandon(self) -> None:
        """Let nobody wait for the last call any more. It is made all the same."""
        self._abandoned = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, args = call
            result, raised = None, None
            try:
                result = function(*args)
            except BaseException as error:  # nothing above this would hear of it
                raised = error
            try:
                self._loop.call_soon_threadsafe(answer, future, result, raised)
            except RuntimeError:
                return  # the loop is closed


def answer(future: asyncio.Future[Any], result: Any, raised: BaseException | None) -> None:
    if raised is None:
        if not future.done():
            future.set_result(result)
    elif future.done():
        log_failure(raised)
    else:
        future.set_exception(Failed(raised))


async def ended(task: asyncio.Future[Any]) -> None:
    """Wait until `task` has ended, however often the waiting is cancelled."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
