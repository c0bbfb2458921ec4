"""
Subscribers on plain sockets, thousands of them in one thread, either with the strict parser or with the
rules of a browser's EventSource.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from faults.wire import Chunked, Malformed, Native, Reader, Strict
from faults.witness import Witness

HEAD_TIMEOUT = 10.0
HEAD_END = b"\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")

# Seconds that browsers wait if the server sends no `retry`.
NATIVE_RETRY = 3.0
SHORTEST_RETRY = 0.2


class Dead(Exception):
    """This client will never reconnect: the answer was not a stream."""


class Refused(Exception):
    """The hub refused the stream; the client may try again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"try again in {seconds} s")
        self.seconds = seconds


class Crowd:
    """An event loop in its own thread, for subscribers on sockets."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="crowd", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(end_tasks(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)


async def end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class SocketSubscriber:
    """
    One subscriber: its streams one after another, each at the next of `addresses` and resumed with the last
    id it processed.

    `native`: the rules of EventSource, which gives up forever on an answer that is not a stream;
    otherwise a program that sends `Tidewire-Client` and is strict about every byte.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]], witness: Witness, native: bool) -> None:
        self._addresses = itertools.cycle(addresses)
        self.witness = witness
        self.native = native
        self.reader: Reader = Native() if native else Strict()
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Stay subscribed until `close`, or until the rules forbid a reconnect."""
        self._task = asyncio.current_task()
        with contextlib.suppress(asyncio.CancelledError):
            while not self._closed:
                seconds = await self._one_stream()
                if seconds is None:
                    return
                await asyncio.sleep(seconds)

    def close(self) -> None:
        """Stop. Call it in the crowd's thread."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    async def _one_stream(self) -> float | None:
        """Open a stream and read it to its end. Return seconds until the next one, None for never."""
        try:
            await self._connection()
        except Refused as refused:
            return refused.seconds
        except Dead as dead:
            self.witness.died(str(dead))
            return None
        except Malformed as malformed:
            self.witness.malformed(str(malformed))
        except (OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.LimitOverrunError):
            pass
        retry = NATIVE_RETRY if self.reader.retry is None else max(self.reader.retry, SHORTEST_RETRY)
        return retry * (1 + 0.1 * random.random())

    async def _connection(self) -> None:
        self.witness.connecting()
        self.host, self.port = next(self._addresses)
        # Not `wait_for`: on Python 3.11 it loses a cancellation that comes with the result.
        async with asyncio.timeout(HEAD_TIMEOUT):
            source, sink = await asyncio.open_connection(self.host, self.port, limit=2**16)
        try:
            sink.write(self._request())
            async with asyncio.timeout(HEAD_TIMEOUT):
                head = await source.readuntil(HEAD_END)
            heartbeat = self._check_head(head)
            self.witness.opened(self.reader.last_event_id)
            try:
                await self._read(source, Chunked(), None if self.native else 2.5 * heartbeat)
            finally:
                self.witness.closed()
        finally:
            sink.transport.abort()

    def _request(self) -> bytes:
        terms = "&".join(f"topic={quote(topic, safe='*/')}" for topic in self.witness.topics)
        lines = [
            f"GET /events?{terms} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Accept: text/event-stream",
        ]
        if not self.native:
            lines.append("Tidewire-Client: faults")
        if self.reader.last_event_id:
            lines.append(f"Last-Event-ID: {self.reader.last_event_id}")
        return "\r\n".join([*lines, "", ""]).encode()

    def _check_head(self, head: bytes) -> float:
        """Return the announced heartbeat. Raises `Refused` or `Dead` if the answer is not a stream."""
        found = STATUS.match(head)
        status = int(found[1]) if found else 0
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if status == 200 and fields.get(b"content-type") == b"text/event-stream":
            return float(fields.get(b"tidewire-heartbeat", b"15"))
        if not self.native and status in (429, 503):
            raise Refused(float(fields.get(b"retry-after", b"1")) * (1 + random.random()))
        raise Dead(f"status {status}, {fields.get(b'content-type', b'')!r}")

    async def _read(self, source: asyncio.StreamReader, chunked: Chunked, silence: float | None) -> None:
        self.reader.reset()
        last = time.monotonic()
        while not chunked.ended:
            async with asyncio.timeout(silence):
                data = await source.read(65536)
            if not data:
                return
            now = time.monotonic()
            self.witness.heard(now - last)
            last = now
            for got in self.reader.feed(chunked.feed(data)):
                self.witness.event(*got)
