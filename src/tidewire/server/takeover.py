"""
The offer of the socket: one request, seen from outside the whole app.

`StreamOffer.send` sees what the app sends after all middleware has processed it. If
the endpoint's own first bytes arrive unchanged, nothing between it and the socket
changes them, and the stream can be taken over. If anything differs, the stream stays
on the portable way and is not affected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from ..delivery.framing import Framing
from ..delivery.subscriber import Subscriber
from ..http.offer import CUT
from .socket_wire import SocketWire, tune

if TYPE_CHECKING:
    from .protocol import StreamProtocol

# A head must not have these: code that set them expects a body other than ours.
FOREIGN_HEADERS = {b"content-encoding", b"content-length"}


class State(Enum):
    IDLE = auto()  # not armed yet
    ARMED = auto()
    TAKEN = auto()
    REFUSED = auto()  # for good


class StreamOffer:
    """
    `scope["extensions"]["tidewire.stream"]`: lets an endpoint ask for its socket.

        offer.arm(first, subscriber)
        await send({"type": "http.response.start", ...})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        if await offer.settled(1.0):
            return

    Once the socket is taken, `subscriber.attach(wire, framing)` has been called,
    anything still sent is discarded, and `receive` returns a disconnect.
    """

    __slots__ = (
        "_cycle",
        "_first",
        "_foreign",
        "_protocol",
        "_send",
        "_settled",
        "_state",
        "_stopped",
        "_stopping",
        "_subscriber",
        "_unframed",
        "_was_cut",
    )

    def __init__(self, protocol: StreamProtocol, cycle: Any, send: Any) -> None:
        self._protocol: StreamProtocol | None = protocol
        self._cycle = cycle
        self._send = send
        self._state = State.IDLE if cycle.scope["method"] == "GET" else State.REFUSED
        self._first = b""
        self._foreign = True  # until the endpoint's own head shows that it is not
        self._unframed = False
        self._subscriber: Subscriber | None = None
        self._settled: asyncio.Future[None] | None = None
        self._stopping: list[Callable[[], object]] = []
        self._stopped = False
        self._was_cut = False

    # -- for the endpoint

    def arm(self, first: bytes, subscriber: Subscriber) -> None:
        """Ask for the socket once `first`, the first bytes of the body (unframed), have been sent."""
        if self._state is State.IDLE:
            self._state = State.ARMED
            self._first = first
            self._subscriber = subscriber

    async def settled(self, timeout: float) -> bool:
        """
        Return True once the socket is taken, False once it is certain that it never will be.

        Waits for `timeout` seconds at most; after that it never will be.
        """
        if self._state is State.ARMED:
            self._settled = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait([self._settled], timeout=timeout)
            finally:
                self._refuse()
        return self._state is State.TAKEN

    def on_stopping(self, callback: Callable[[], object]) -> None:
        """Call `callback` if the server stops before the response is complete; soon if it is stopping now."""
        self._stopping.append(callback)
        if self._stopped:
            asyncio.get_running_loop().call_soon(callback)

    @property
    def was_cut(self) -> bool:
        """Whether the connection was cut because the app asked for it."""
        return self._was_cut

    # -- for the protocol

    @property
    def needed(self) -> bool:
        """Whether the response must pass through `send`; that of most publishes need not."""
        old = self._cycle.scope["http_version"] == "1.0"
        return self._state is State.IDLE or self._cycle.more_body or old

    async def send(self, message: Any) -> None:
        """Pass on a message from the app; take over after the endpoint's first bytes."""
        if self._state is State.TAKEN or self._cycle is None:
            return
        if message["type"] == CUT:
            self._cut()
            return
        take_over = self._inspect(message)
        await self._send(message)
        if take_over:
            self._take()

    def stop(self) -> None:
        """Call all callbacks, now and when they are added later: the server is stopping."""
        self._stopped = True
        for callback in self._stopping:
            callback()

    def close(self) -> None:
        """Release everything: the app has returned, so a socket not taken yet never will be."""
        self._refuse()
        self._protocol = self._cycle = self._subscriber = self._send = None
        self._stopping = []

    def _cut(self) -> None:
        if self._protocol is not None:
            self._was_cut = True
            self._protocol.cut(self._cycle, self._unframed)

    def _inspect(self, message: Any) -> bool:
        """Prepare uvicorn for a message. Return whether to take over after it."""
        if message["type"] == "http.response.start":
            self._read_head(message)
        elif message["type"] == "http.response.body":
            return self._read_body(message.get("body", b""), message.get("more_body", False))
        return False

    def _read_head(self, message: Any) -> None:
        old = self._cycle.scope["http_version"] == "1.0"
        if not (old or self._state is State.ARMED):
            return
        names = {name.lower() for name, _ in message.get("headers", ())}
        self._foreign = not names.isdisjoint(FOREIGN_HEADERS)
        # uvicorn sends chunks even to HTTP/1.0 clients, which cannot read them. For those
        # the end of the connection is the end of the body.
        if old and b"content-length" not in names:
            self._unframed = True
            self._cycle.chunked_encoding = False

    def _read_body(self, body: bytes, more: bool) -> bool:
        cycle = self._cycle
        if self._unframed:
            cycle.expected_content_length = len(body)  # so that uvicorn accepts any length
        if not more and cycle.more_body:
            cycle.keep_alive = True  # on_response_complete closes it, more gently
        if more and not body:
            return False
        if self._state is State.ARMED and more and body == self._first:
            return True
        self._refuse()
        return False

    def _take(self) -> None:
        protocol, cycle, subscriber = self._protocol, self._cycle, self._subscriber
        if self._state is not State.ARMED or protocol is None or subscriber is None:
            return
        if self._foreign or not protocol.is_alone(cycle):
            self._refuse()
            return
        self._settle(State.TAKEN)
        framing: Framing = "raw" if self._unframed else "chunked"
        transport = protocol.transport
        tune(transport)
        paused = protocol.flow.write_paused
        protocol.hand_over()
        wire = SocketWire(transport, subscriber, framing, protocol.connections)
        subscriber.attach(wire, framing)
        if paused:
            subscriber.pause_writing()
        if self._stopped:
            wire.shutdown()

    def _refuse(self) -> None:
        if self._state in (State.IDLE, State.ARMED):
            self._settle(State.REFUSED)

    def _settle(self, state: State) -> None:
        self._state = state
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
