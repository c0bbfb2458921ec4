"""
The body of an `EventStreamResponse`: from a program's iterable to `send`.

Rule 1: one task iterates the iterable from start to end and closes it, so cancel
        scopes and context variables work in it.
Rule 2: a sync iterable has its own thread. A pool would be exhausted by as many
        streams as it has threads, and all sync endpoints would starve.
Rule 3: only one thing is sent at a time.
Rule 4: the request's task lives until the iterable is closed, and with it what the
        program opened for the iterable (a dependency with `yield`). Only a server
        that stops does not wait for it longer than some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import logging
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from queue import SimpleQueue
from typing import Any

from .. import hub_events
from ..data import Encoder, as_text
from ..delivery.deadlines import deadlines_of_loop
from ..delivery.stopping import drains_of_loop
from ..delivery.subscriber import END_TIMEOUT
from ..delivery.tasks import start
from ..errors import InvalidInput, TidewireError
from ..event_stream import Event, comment, encode
from ..settings import Settings
from .asgi import Receive, Send, disconnected
from .offer import send_cut

logger = logging.getLogger("tidewire")

# What a yielded dict may have.
FIELDS = ("data", "event", "id", "retry", "topic", "comment")

Item = Event | str | Mapping[str, Any]

# Seconds between two checks for a stuck `send`: it is noticed at most this much too late.
CHECK_INTERVAL = 2.0

# Seconds that the end of a body waits for the iterable to close: it may still fail, and the
# client should be told, but should not have to wait long.
CLOSE_TIMEOUT = 0.5

# Seconds that a drain waits for a thread, which cannot be interrupted.
THREAD_TIMEOUT = 1.0

# Seconds that a server that stops waits for an async generator that was cancelled: it may have to
# save something first, and it may have caught the cancellation and go on.
CANCEL_TIMEOUT = 3.0

END: Any = object()


class GeneratorStream:
    """The open stream of one generator. `due` belongs to the loop's timer."""

    def __init__(
        self,
        content: AsyncIterable[Item] | Iterable[Item],
        settings: Settings,
        max_age: float | None,
        path: str,
        send: Send,
        control: bool = True,
        encoder: Encoder | None = None,
    ) -> None:
        self.due = 0
        self._control = control  # whether an error may be told by a `hub.error`
        self._encoder = encoder
        self._path = path
        self._content = content
        self._settings = settings
        self._max_age = max_age
        self._send = send
        # A second early, since the timer may be a second late: the longest silence promised is 16 s.
        self._silence = max(settings.heartbeat - 1, 0.5)
        self._lock = asyncio.Lock()
        self._sending_since: float | None = None
        self._thread: OwnThread | None = None
        self._heartbeat: asyncio.Future[None] | None = None
        self._failure: bytes | None = None  # the event that tells of it
        self._farewell = b""  # the last bytes of the stream
        self._gone = False  # the client reads no more
        self._complete = False  # the iterable came to its own end
        self._stopping = False  # the iterable is being closed
        self._abandoned = False  # and nothing waits for that any more
        self._over = asyncio.Event()  # the body may end now
        self._done = asyncio.Event()

    async def run(self, receive: Receive) -> bool:
        """
        Send the whole stream; return once the iterable is closed.

        Return whether the body must be cut: it is not complete, and its client still reads.
        """
        cut = False
        self._loop = asyncio.get_running_loop()
        self._deadlines = deadlines_of_loop()
        self._drains = drains_of_loop()
        self._opened = self._sent_at = self._loop.time()
        self._released = self._loop.create_future()
        self._producer = start(self._produce())
        self._producer.add_done_callback(self._produced)
        watch = start(self._watch(receive))
        self._deadlines.watch(self, self._next_check(self._opened))
        self._drains.register(self)
        try:
            await self._over.wait()
            cut = await self._end()
        except asyncio.CancelledError:
            # The server no longer waits.
            self._gone = True
            self._abandon_thread()
            self._loop.call_later(CANCEL_TIMEOUT, self._abandon_task)
            raise
        finally:
            watch.cancel()
            self._stop()
            await ended(self._released)
            self._deadlines.unwatch(self)
            self._drains.unregister(self)
            self._done.set()
        if self._producer.done() and not self._producer.cancelled():
            self._producer.result()
        return cut

    def _produced(self, _: object) -> None:
        self._over.set()
        release(self._released)

    async def _end(self) -> bool:
        """
        Send the last bytes, unless the client no longer reads. Return whether the body must be cut.

        Only the iterable's own end is a proper one: a client that reads until the end of the
        body would take anything else for a complete answer.
        """
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._gone:
            return False
        cut = self._failure is not None or not self._complete
        body = (self._failure if self._failure and self._control else b"") + self._farewell
        last = {"type": "http.response.body", "body": body, "more_body": cut}
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(END_TIMEOUT), self._lock:
                await self._send(last)
                if cut:
                    await send_cut(self._send)
        return cut

    # -- from the iterable to the client

    async def _produce(self) -> None:
        try:
            await self._send_frame(hub_events.retry(self._settings.retry) + hub_events.GREETING)
            await self._iterate()
        except Failed as failed:
            self._fail(failed)
        except OSError:
            self._gone = True  # ASGI: send raises this once the client has disconnected

    async def _iterate(self) -> None:
        try:
            iterator = self._iterator()
        except BaseException as error:
            raise Failed(error) from None
        try:
            while True:
                frame = await next_frame(iterator, self._encoder)
                # A generator may have suppressed the cancellation.
                if frame is None or self._stopping:
                    self._complete = not self._stopping
                    return
                await self._send_frame(frame)
                # A generator that never waits would block the loop: `send` waits only if the socket is full.
                await asyncio.sleep(0)
        finally:
            await self._close(iterator)

    def _iterator(self) -> AsyncIterator[Item]:
        if isinstance(self._content, AsyncIterable):
            return aiter(self._content)
        self._thread = OwnThread(self._path)
        return in_thread(self._content, self._thread)

    async def _close(self, iterator: AsyncIterator[Item]) -> None:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            try:
                await close()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self._fail(error)

    async def _send_frame(self, frame: bytes) -> None:
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
        if not self._abandoned:
            self._failure = hub_events.error(log_failure(error, self._path))

    async def _watch(self, receive: Receive) -> None:
        await disconnected(receive)
        self._gone = True
        self._stop()

    # -- ending

    def _stop(self) -> None:
        """Close the iterable; end the body when that is done, or soon."""
        if not (self._stopping or self._producer.done()):
            self._stopping = True
            self._producer.cancel()
            self._loop.call_later(CLOSE_TIMEOUT, self._over.set)

    def _abandon_thread(self) -> None:
        """Stop waiting for the thread. It closes its iterable and ends at the next `yield`."""
        if self._thread is not None:
            self._thread.abandon()

    def _abandon_task(self) -> None:
        """Stop waiting for a generator that goes on in spite of its cancellation."""
        if self._producer.done():
            return
        logger.error(
            "a generator still runs %g seconds after its cancellation, and the server stops without it: %s",
            CANCEL_TIMEOUT,
            getattr(self._content, "__qualname__", type(self._content).__qualname__),
        )
        self._abandoned = True
        # `asyncio.run` waits for every task that asyncio knows, and would never return.
        asyncio.tasks._unregister_task(self._producer)
        self._producer._log_destroy_pending = False  # type: ignore[attr-defined]
        release(self._released)

    async def drain(self) -> None:
        self._farewell = hub_events.spread_retry(self._settings.retry, self._settings.drain)
        self._stop()
        timers = [
            self._loop.call_later(THREAD_TIMEOUT, self._abandon_thread),
            self._loop.call_later(CANCEL_TIMEOUT, self._abandon_task),
        ]
        await self._done.wait()
        for timer in timers:
            timer.cancel()

    # -- deadlines

    def tick(self, now: float) -> float | None:
        if self._stopping or self._over.is_set():
            return None
        if self._max_age is not None and now - self._opened >= self._max_age:
            self._stop()
            return None
        if self._sending_since is None:
            if now >= self._sent_at + self._silence:
                self._heartbeat = start(self._send_heartbeat())
        elif now - self._sending_since >= self._settings.send_timeout:
            self._gone = True
            self._stop()
            return None
        return self._next_check(now)

    def _next_check(self, now: float) -> float:
        checks = [now + min(CHECK_INTERVAL, self._silence), self._sent_at + self._silence]
        if self._max_age is not None:
            checks.append(self._opened + self._max_age)
        return min(at for at in checks if at > now)

    async def _send_heartbeat(self) -> None:
        try:
            await self._send_frame(hub_events.HEARTBEAT)
        except Exception:
            self._stop()


class Failed(Exception):
    """The program's iterable raised `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


async def next_frame(iterator: AsyncIterator[Item], encoder: Encoder | None) -> bytes | None:
    """Return the frame of the next item, or None at the end. Raises `Failed` if there is no valid item."""
    try:
        return encode_item(await anext(iterator), encoder)
    except StopAsyncIteration:
        return None
    except Failed:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # This task was not cancelled, but something that the program awaits was.
        raise Failed(error) from None
    except BaseException as error:
        # `SystemExit` and `KeyboardInterrupt` too: raised out of a task they would end the server.
        raise Failed(error) from None


def encode_item(item: Item, encoder: Encoder | None = None) -> bytes:
    """Return the frame of an item of a generator. Raises `InvalidInput` if it is not a valid event."""
    if isinstance(item, str):
        return encode(Event(item))
    if isinstance(item, Event):
        return encode_event(item, encoder)
    if not isinstance(item, Mapping):
        raise InvalidInput(f"yield an Event, str or dict, not {type(item).__name__}", code="invalid_event")
    if unknown := [name for name in item if name not in FIELDS]:
        raise InvalidInput(
            f"a yielded dict has the fields {', '.join(FIELDS)}, not {unknown[0]!r:.40}", code="invalid_event"
        )
    fields = {name: value for name, value in item.items() if name != "comment"}
    before = b"" if item.get("comment") is None else comment(item["comment"])
    return before + encode_event(Event(**fields), encoder) if fields or not before else before


def encode_event(event: Event, encoder: Encoder | None) -> bytes:
    if not isinstance(event.data, str):
        event = dataclasses.replace(event, data=as_text(event.data, encoder))
    number: Any = event.id
    if type(number) is int:  # such as an id of a database
        event = dataclasses.replace(event, id=str(number))
    return encode(event)


def log_failure(error: BaseException, path: str) -> str:
    """Log what the program's iterable raised; return the error code for the client."""
    if isinstance(error, Failed):
        error = error.error
    what = " ".join([f"{type(error).__name__}:", *str(error).split()]).rstrip(":")
    # With the exception itself, which tools such as Sentry take from the record.
    logger.error("the generator of the stream at %s failed: %s", path, what, exc_info=error)
    return error.code if isinstance(error, TidewireError) else "internal"


# -- sync iterables


async def in_thread(content: Iterable[Item], thread: OwnThread) -> AsyncIterator[Item]:
    """Yield the items of a sync iterable; each is requested after the one before it was sent."""
    iterator: Any = None
    try:
        iterator = await thread.call(iter, content)
        while (item := await thread.call(next, iterator, END)) is not END:
            yield item
    finally:
        # If the thread is still producing an item, this waits for it.
        await thread.end(getattr(iterator, "close", lambda: None))


class OwnThread:
    """A thread for one iterable. It runs calls for the event loop, one after another."""

    def __init__(self, path: str) -> None:
        self._path = path  # of the request, for the log
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], Any] | None] = SimpleQueue()
        self._ended: asyncio.Future[Any] | None = None
        self._abandoned = False
        # The generator sees the context variables of the endpoint. The thread is a daemon, since a
        # generator that waits forever must not keep the process from exiting.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._work,), name="tidewire-stream", daemon=True)
        thread.start()

    def call(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Return a future of the result of `function`. It fails with `Failed` if the function raises."""
        future = self._loop.create_future()
        self._calls.put((future, function, args))
        return future

    def end(self, close: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a last call, after which the thread ends."""
        self._ended = self.call(close)
        self._calls.put(None)
        if self._abandoned:
            self.abandon()
        return self._ended

    def abandon(self) -> None:
        """Stop waiting for the last call. The thread runs it anyway."""
        self._abandoned = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, args = call
            result, raised = None, None
            try:
                result = function(*args)
            except BaseException as error:  # nothing else in this thread would catch it
                raised = error
            try:
                self._loop.call_soon_threadsafe(answer, future, result, raised, self._path)
            except RuntimeError:
                return  # the loop is closed


def release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def answer(future: asyncio.Future[Any], result: Any, raised: BaseException | None, path: str) -> None:
    if raised is None:
        if not future.done():
            future.set_result(result)
    elif future.done():
        log_failure(raised, path)
    else:
        future.set_exception(Failed(raised))


async def ended(future: asyncio.Future[Any]) -> None:
    """Wait until `future` is done, even if the wait is cancelled, then raise the cancellation."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
