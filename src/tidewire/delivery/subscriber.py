"""
One open stream: a position in the log, and a way to write.

There is no queue here. A subscriber is *live* (a member of its cohort, which
writes to it) or *behind* (it reads the log at its own speed). In either state it
can be *paused* while its socket is full. A live subscriber that pauses falls behind.

It decides nothing: it reports what happens on its socket to its node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..log.entries import Since
from ..position import Position
from ..topics import Selector
from .framing import Framing
from .timeline import Timeline

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from .bearers import Bearer
    from .cohort import Cohort
    from .node import Node

# Seconds that the last bytes of a stream may take, on any wire: TLS would wait 30 s
# for the peer's close_notify, and a full socket for ever.
END_TIMEOUT = 1.0


class WriteMethod(Protocol):
    def __call__(self, data: bytes, /) -> object: ...


class Wire(Protocol):
    """A way to the socket. `write` is the hot path: on our own server it is the transport's own method."""

    @property
    def write(self) -> WriteMethod: ...

    def end(self) -> None:
        """End the body properly, then close."""

    def cut(self) -> None:
        """Close without ending the body, so that no client takes it for complete."""

    def abort(self) -> None:
        """Close at once and drop what is buffered."""

    def acknowledged(self) -> int | None:
        """Return how many bytes the peer has acknowledged, or None if the server does not show it."""

    def tolerate_stalls(self, tolerate: bool) -> None:
        """
        With True, leave a peer that acknowledges nothing connected: the node watches its progress.

        With False, as at the start, the kernel ends the connection of such a peer.
        """


class Subscriber:
    """
    One stream.

    `offset`: it has everything through this offset; while it is live, the cohort's
    `sent` counts instead. `claim`: what its client said about where to start, until
    the node can judge it. `announced`: the offset of the last id that its client
    has; while it is live, rounds since it joined count instead. `events`: how many entries
    were written to it; while it is live, those of the cohort are to be added. `plain`: it
    gets the publishers' events and no `hub.*` event. `run`: the name of the record of a run, with whose
    last event it ends. Attributes are simple, since 10,000 of
    these are held at once.
    """

    __slots__ = (
        "acknowledged",
        "address",
        "after",
        "agent",
        "announced",
        "bearer",
        "brought",
        "claim",
        "client",
        "cohort",
        "due",
        "end_sent",
        "events",
        "joined",
        "life",
        "live",
        "node",
        "number",
        "offset",
        "open",
        "opened",
        "paused",
        "paused_at",
        "plain",
        "reading",
        "run",
        "selector",
        "silent_since",
        "timeline",
        "until",
        "wants_hub_open",
        "wire",
    )

    def __init__(
        self,
        node: Node,
        selector: Selector,
        claim: Since | Position | None,
        offset: int,
        plain: bool = False,
        run: str | None = None,
    ) -> None:
        self.node = node
        self.number = 0  # its name within the process, from when it is attached
        self.selector = selector
        self.claim = self.brought = claim
        self.offset = offset
        self.announced = offset
        self.plain = plain
        self.run = run
        self.life = ""  # the life of `announced` when the claim was judged
        self.address: str | None = None
        self.client: str | None = None  # the address as the server shows it, also where it is not counted
        self.agent: str | None = None  # the program that its client is, as it says
        self.bearer: Bearer | None = None  # whose stream it is, if it has a grant
        self.after: Callable[[], Awaitable[None]] | None = None  # runs once the connection is gone
        self.cohort: Cohort | None = None
        self.wire: Wire | None = None
        self.wants_hub_open = False  # asked for a hub.open and has not got it yet
        self.end_sent = False  # the last thing written was a hub.end
        self.live = False
        self.events = 0
        self.joined = 0  # the cohort's `announcements` when it joined
        self.open = True
        self.opened = 0.0
        self.timeline = Timeline()
        self.reading: asyncio.Future[None] | None = None  # the task that reads pages for it
        self.paused = False
        self.paused_at = 0.0
        self.acknowledged: int | None = None
        self.silent_since = 0.0
        self.until = 0.0
        self.due = 0

    @property
    def stands(self) -> int | None:
        """Everything through this offset was written to it; None while that is not known."""
        if self.claim is not None:
            return None
        return self.cohort.sent if self.live and self.cohort else self.offset

    def attach(self, wire: Wire, framing: Framing) -> None:
        """Start the stream on `wire`: the response head has been sent."""
        self.wire = wire
        self.node.attached(self, framing)

    def pause_writing(self) -> None:
        """Stop writing for now: the socket is full."""
        if not self.paused:
            self.paused = True
            if self.live and self.cohort:
                self.cohort.leave(self)
            self.node.paused(self)

    def resume_writing(self) -> None:
        """Write again: the socket has room."""
        if self.paused:
            self.paused = False
            self.node.resumed(self)

    def advance(self) -> None:
        """Take the next step of catching up, if this stream is behind."""
        self.node.catch_up.advance(self)

    def finish(self, reason: str, last: bytes = b"") -> None:
        """End the stream, with `last` as its last bytes; `reason` is for the metrics."""
        self.node.finish(self, reason, last)

    def lost(self) -> None:
        """Forget the stream: its connection is gone, whichever side closed it."""
        self.open = False
        self.node.lost(self)

    def server_stopping(self) -> None:
        """Start the drain: the server is stopping. The first stream that hears of it starts it for all."""
        self.node.server_stopping()

    def tick(self, now: float) -> float | None:
        """Do what is due at `now` and return the next deadline; None if there is none."""
        return self.node.tick(self, now)
