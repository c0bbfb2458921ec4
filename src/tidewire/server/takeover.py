"""
The offer of the socket: one request, seen from outside the whole app.

uvicorn's `send` is called here after every middleware has had its say. When the
endpoint's own first bytes arrive unchanged, nothing stands between it and the
socket any more, and the stream can leave HTTP's machinery behind. When anything
differs it stays where it is, and stays whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from ..delivery.framing import Framing
from ..delivery.subscriber import Subscriber
from .socket_wire import SocketWire, tune

if TYPE_CHECKING:
    from .protocol import StreamProtocol

# What a head may not have: whoever wrote it counts on bytes that we would no longer write.
FOREIGN_HEADERS = {b"content-encoding", b"content-length"}


class State(Enum):
    IDLE = auto()  # not armed yet
    ARMED = auto()
    TAKEN = auto()
    REFUSED = auto()  # and for good


class StreamOffer:
    """
    `scope["extensions"]["tidewire.stream"]`: how an endpoint asks for its socket.

        offer.arm(first, subscriber)
        await send({"type": "http.response.start", ...})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        if await offer.settled(1.0):
            return

    Once taken, `subscriber.attach(wire, framing)` has been called, what is
    still sent is swallowed, and `receive` tells of a disconnect.
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
    )

    def __init__(self, protocol: StreamProtocol, cycle: Any, send: Any) -> None:
        self._protocol: StreamProtocol | None = protocol
        self._cycle = cycle
        self._send = send
        self._state = State.IDLE if cycle.scope["method"] == "GET" else State.REFUSED
        self._first = b""
        self._foreign = True  # until the endpoint's own head says otherwise
        self._unframed = False
        self._subscriber: Subscriber | None = None
        self._settled: asyncio.Future[None] | None = None
        self._stopping: list[Callable[[], object]] = []
        self._stopped = False

    # For the endpoint.

    def arm(self, first: bytes, subscriber: Subscriber) -> None:
        """Ask for the socket as soon as `first`, the first bytes of the body (unframed), have been sent."""
        if self._state is State.IDLE:
            self._state = State.ARMED
            self._first = first
            self._subscriber = subscriber

    async def settled(self, timeout: float) -> bool:
        """
        Wait until the socket was taken (True), or until it is certain that it
        never will be (False), at the latest after `timeout` seconds.
        """
        if self._state is State.ARMED:
            self._settled = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait([self._settled], timeout=timeout)
            finally:
                self._refuse()
        return self._state is State.TAKEN

    def on_stopping(self, callback: Callable[[], object]) -> None:
        """Have `callback` called if the server stops before the response is complete; soon if it does now."""
        self._stopping.append(callback)
        if self._stopped:
            asyncio.get_running_loop().call_soon(callback)

    # For the protocol.

    @property
    def needed(self) -> bool:
        """Whether `send` has anything to see: not so with most publishes."""
        old = self._cycle.scope["http_version"] == "1.0"
        return self._state is State.IDLE or self._cycle.more_body or old

    async def send(self, message: Any) -> None:
        """Pass on what comes out of the app, and take over behind it."""
        if self._state is State.TAKEN or self._cycle is None:
            return
        takes = self._look_at(message)
        await self._send(message)
        if takes:
            self._take()

    def stop(self) -> None:
        """Tell whoever wants to know, now or later, that the server stops."""
        self._stopped = True
        for callback in self._stopping:
            callback()

    def close(self) -> None:
        """The app has returned: what was not taken never will be. Lets go of everything."""
        self._refuse()
        self._protocol = self._cycle = self._subscriber = self._send = None
        self._stopping = []

    def _look_at(self, message: Any) -> bool:
        """Prepare uvicorn for a message, and return whether it is the one to take over behind."""
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
        # uvicorn answers HTTP/1.0 in chunks, which that version cannot read.
        # There the end of the connection is the end of the body.
        if old and b"content-length" not in names:
            self._unframed = True
            self._cycle.chunked_encoding = False

    def _read_body(self, body: bytes, more: bool) -> bool:
        cycle = self._cycle
        if self._unframed:
            cycle.expected_content_length = len(body)  # any length will do
        if not more and cycle.more_body:
            cycle.keep_alive = True  # on_response_complete closes, more gently
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
        if self._foreign or not protocol.only(cycle):
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
