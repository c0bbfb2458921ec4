"""
A TCP proxy that makes a network bad: late, slow, cut into pieces, stuck, silent, reset.

    with Proxy(("127.0.0.1", 8000)) as proxy:
        ... connect to proxy.address ...
        proxy.down.rate = 8 * 1024        # bytes per second from the server to each client
        proxy.blackhole = True

Everything can be changed at any time, and applies to open connections too. A program cannot
leave a packet unacknowledged: `faults.netns` does that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

KIB = 1024
Address = tuple[str, int]

# Pieces of one direction that may be in flight at once.
IN_FLIGHT = 16
# Seconds between two checks of a stopped line.
POLL = 0.01
# Writes per second of a slow line.
SLOW_STEPS = 20
# Close with a reset.
RESET = struct.pack("ii", 1, 0)


@dataclass
class Line:
    """
    One direction of every connection.

    `latency`: seconds by which each byte is late. `rate`: bytes per second of a connection, 0 for no
    limit. `slices`: bytes in one write, at most. `stopped`: nothing is read, so the sender fills the
    buffers and waits. `reset_after`: bytes after which both sides are reset. `half_close_after`: bytes
    after which this direction ends cleanly, and the other continues.
    """

    latency: float = 0.0
    rate: float = 0.0
    slices: int = 64 * KIB
    stopped: bool = False
    reset_after: int | None = None
    half_close_after: int | None = None


class Proxy:
    """
    Listens on `address`, and passes bytes to `target` and back.

    `up` is the direction to the target, `down` the one from it. While `blackhole` is set, connections are
    accepted and nothing else happens: no byte, end or reset of one side reaches the other.
    """

    def __init__(self, target: Address, listen: Address = ("127.0.0.1", 0)) -> None:
        self.target = target
        self.up, self.down = Line(), Line()
        self.blackhole = False
        self._links: set[Link] = set()
        self._listener = socket.create_server(listen)
        self._listener.setblocking(False)
        host, port = self._listener.getsockname()
        self.address: Address = (host, port)
        self._loop = asyncio.new_event_loop()
        self._accepting = self._loop.create_task(self._accept())
        self._thread = threading.Thread(target=self._run, name=f"proxy of {target}", daemon=True)

    @property
    def connections(self) -> int:
        """How many connections are open, on either side."""
        return len(self._links)

    def reset(self) -> None:
        """Reset every open connection on both sides."""
        self._loop.call_soon_threadsafe(self._reset)

    def fall_silent(self, seconds: float) -> None:
        """Be a blackhole for a while."""
        self.blackhole = True
        try:
            time.sleep(seconds)
        finally:
            self.blackhole = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._accepting.cancel)
        self._thread.join(10)
        self._listener.close()
        self._loop.close()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._accepting)

    async def _accept(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                client, _ = await self._loop.sock_accept(self._listener)
                group.create_task(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            link = Link(self, client, server)
            self._links.add(link)
            try:
                await link.serve()
            except* OSError:
                link.reset()  # what happens to one side happens to the other
            finally:
                self._links.discard(link)

    def _reset(self) -> None:
        for link in self._links:
            link.cut()


class Link:
    """One connection through the proxy: two sockets, two directions."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._sockets = (client, server)
        self._task = asyncio.current_task()
        for sock in self._sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def serve(self) -> None:
        """Pass on bytes until both directions have ended, or one has failed (`OSError`)."""
        proxy, (client, server) = self._proxy, self._sockets
        await until_not(lambda: proxy.blackhole)
        await asyncio.get_running_loop().sock_connect(server, proxy.target)
        async with asyncio.TaskGroup() as group:
            for way in (
                Direction(proxy, client, server, proxy.up),
                Direction(proxy, server, client, proxy.down),
            ):
                group.create_task(way.read())
                group.create_task(way.write())

    def reset(self) -> None:
        """Make both sides close with a reset."""
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def cut(self) -> None:
        self.reset()
        assert self._task
        self._task.cancel()


class Direction:
    """Passes bytes from one side to the other, with at most `IN_FLIGHT` pieces in between."""

    def __init__(self, proxy: Proxy, source: socket.socket, target: socket.socket, line: Line) -> None:
        self._proxy = proxy
        self._source, self._target, self._line = source, target, line
        self._loop = asyncio.get_running_loop()
        self._flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        self._passed = 0
        self._free_at = 0.0
        self._ended = False

    async def read(self) -> None:
        data = b"not empty"
        while data:
            await self._wait_while_stopped()
            data = await self._loop.sock_recv(self._source, 64 * KIB)
            await self._flight.put((self._loop.time() + self._line.latency, data))

    async def write(self) -> None:
        data = b"not empty"
        while data:
            due, data = await self._flight.get()
            await asyncio.sleep(due - self._loop.time())
            rest = data
            while rest:
                await self._wait_while_stopped()
                size = self._size()
                await self._write_piece(rest[:size])
                rest = rest[size:]
        await self._wait_while_stopped()
        self._end()

    async def _wait_while_stopped(self) -> None:
        """Wait while this direction is stopped."""
        await until_not(lambda: self._line.stopped or self._proxy.blackhole)

    def _size(self) -> int:
        """Return how many bytes may be written at once."""
        line = self._line
        sizes = [line.slices]
        if line.rate:
            sizes.append(int(line.rate / SLOW_STEPS))
        for limit in (line.reset_after, line.half_close_after):
            if limit is not None:
                sizes.append(limit - self._passed)
        return max(1, min(sizes))

    async def _write_piece(self, data: bytes) -> None:
        if self._ended:
            return
        line = self._line
        await self._loop.sock_sendall(self._target, data)
        self._passed += len(data)
        if line.reset_after is not None and self._passed >= line.reset_after:
            raise ConnectionResetError("`reset_after` bytes have passed")
        if line.half_close_after is not None and self._passed >= line.half_close_after:
            self._end()
        if line.rate:
            self._free_at = max(self._free_at, self._loop.time()) + len(data) / line.rate
            await asyncio.sleep(self._free_at - self._loop.time())

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._target.shutdown(socket.SHUT_WR)


async def until_not(state: Callable[[], bool]) -> None:
    # Other threads change the state, and an asyncio.Event cannot be set from them.
    while state():  # noqa: ASYNC110
        await asyncio.sleep(POLL)
