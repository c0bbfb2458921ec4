"""
A socket in memory, and a subscriber that records what it gets.

    async with hub.lifespan():
        wire = await listen(hub.node, "orders/*")
        await hub.publish("orders/7", "paid")
        await quiet()
        assert wire.data == ["paid"]
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..auth.grants import Grant
from ..delivery.framing import LAST_CHUNK, Framing
from ..delivery.node import Node
from ..delivery.subscriber import Subscriber
from ..event_stream import Comment, Decoder, Event
from ..log.entries import Since
from ..position import Position, parse_position
from ..topics import Selector

NOW = Since("now")


class RecordingWire:
    """
    A socket in memory. It records what is written to it and reads it as a client would.

    `room`: bytes that fit before it is full and pauses its subscriber; None for a
    peer that reads at once. `take()` reads as the peer. Writing while it is full
    breaks the rules; `overrun` counts those bytes. Writing after `leave()` raises.
    """

    def __init__(self, framing: Framing = "raw", room: int | None = None) -> None:
        self.framing: Framing = framing
        self.room = room
        self.subscriber: Subscriber | None = None
        self.raw = bytearray()
        self.writes: list[bytes] = []
        self.times: list[float] = []
        self.waiting = 0
        self.overrun = 0
        self.acked: int | None = None
        self.tolerates_stalls = False
        self.broken = False
        self.ended = False
        self.cut_off = False
        self.aborted = False
        self.decoder = Decoder(comments=True)
        self.items: list[Event | Comment] = []
        self._read = 0

    # -- what the subscriber calls

    def write(self, data: bytes, /) -> None:
        if self.broken:
            raise RuntimeError("the transport is closed")
        assert not self.ended, "written after the end"
        if self.subscriber and self.subscriber.paused:
            self.overrun += len(data)
        self._record(data)
        self.waiting += len(data)
        if self.room is not None and self.waiting > self.room and self.subscriber:
            self.subscriber.pause_writing()

    def end(self) -> None:
        if self.framing == "chunked":
            self._record(LAST_CHUNK)
        self.ended = True

    def cut(self) -> None:
        self.ended = self.cut_off = True

    def abort(self) -> None:
        self.ended = self.aborted = True

    def tolerate_stalls(self, tolerate: bool) -> None:
        self.tolerates_stalls = tolerate

    def acknowledged(self) -> int | None:
        return self.acked

    # -- what the peer does

    def take(self, room: int | None = None) -> None:
        """Read everything that is waiting; from now on `room` bytes fit."""
        self.waiting = 0
        self.room = room
        if self.subscriber:
            self.subscriber.resume_writing()

    def stall(self) -> None:
        """Stop reading: the next write fills the socket."""
        self.room = 0

    def leave(self) -> None:
        """Close the connection from the peer's side."""
        self.broken = True
        if self.subscriber:
            self.subscriber.lost()

    # -- what the peer saw

    def begin(self, first: bytes) -> None:
        """Receive the bytes that come with the response head; they are not framed."""
        self._feed(first)

    def _record(self, data: bytes) -> None:
        self.raw += data
        self.writes.append(bytes(data))
        self.times.append(asyncio.get_running_loop().time())

    def _feed(self, body: bytes) -> None:
        self.items += self.decoder.feed(body)

    def read(self) -> list[Event | Comment]:
        """Return everything so far, as the decoder returned it."""
        body, self._read = bytes(self.raw[self._read :]), len(self.raw)
        self._feed(unchunked(body) if self.framing == "chunked" else body)
        return self.items

    @property
    def everything(self) -> list[Event]:
        """Every event, including the hub's own."""
        return [item for item in self.read() if isinstance(item, Event)]

    @property
    def events(self) -> list[Event]:
        """The events of publishers."""
        return [event for event in self.everything if not event.event.startswith("hub.")]

    @property
    def data(self) -> list[str]:
        return [event.data for event in self.events]

    def of_type(self, name: str) -> list[Event]:
        return [event for event in self.everything if event.event == name]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        return [event.json() for event in self.of_type("hub.gap")]

    @property
    def last_id(self) -> Position:
        self.read()
        return parse_position(self.decoder.last_event_id)


def unchunked(body: bytes) -> bytes:
    """Read HTTP/1.1 chunks strictly."""
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n", "a chunk does not have the length it declares"
        found.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(found)


async def listen(
    node: Node,
    *terms: str,
    since: Since | Position | str = NOW,
    room: int | None = None,
    framing: Framing = "raw",
    opened: bool = False,
    plain: bool = False,
    grant: Grant | None = None,
) -> RecordingWire:
    """
    Open a stream on a node of this event loop and return its wire.

    `since` may be a position as text. `room`: bytes that fit into its socket; None: it reads at once.
    `opened`: it asks for a `hub.open`. `plain`: for a stream without `hub.*` events. `grant`: whose
    stream it is.
    """
    wire = await ask(
        node, *terms, since=since, room=room, framing=framing, opened=opened, plain=plain, grant=grant
    )
    assert wire is not None, "answered with 204"
    return wire


async def ask(
    node: Node,
    *terms: str,
    since: Since | Position | str = NOW,
    room: int | None = None,
    framing: Framing = "raw",
    opened: bool = False,
    attach: bool = True,
    plain: bool = False,
    grant: Grant | None = None,
) -> RecordingWire | None:
    """Like `listen`, but return None if the answer is 204. Without `attach` the stream starts later."""
    claim = parse_position(since) if isinstance(since, str) else since
    opening = await node.subscribe(Selector(terms), claim, opened, plain=plain, grant=grant)
    if opening is None:
        return None
    subscriber, first = opening
    wire = RecordingWire(framing, room)
    wire.subscriber = subscriber
    wire.begin(first)
    if attach:
        subscriber.attach(wire, framing)
    return wire
