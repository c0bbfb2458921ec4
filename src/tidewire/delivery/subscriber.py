"""
One open stream: a position in the log, and a way to write.

There is no queue here. A subscriber is *live* (a member of its cohort, which
writes to it) or *behind* (it reads the log at its own speed), and either may be
*paused* while its socket is full. A live subscriber that pauses is behind.

It decides nothing: what happens on its socket is told to its owner, the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..log.entries import Since
from ..position import Position
from ..topics import Selector
from .framing import Framing

if TYPE_CHECKING:
    from .cohort import Cohort


# Seconds that a stream's last bytes may take, whichever way they go: TLS would wait 30 s
# for the peer's goodbye, and a full socket for ever.
END_TIMEOUT = 1.0


class WriteMethod(Protocol):
    def __call__(self, data: bytes, /) -> object: ...


class Wire(Protocol):
    """A way to the socket. `write` is the hot path: on our own server it is the transport's own."""

    @property
    def write(self) -> WriteMethod: ...

    def end(self) -> None:
        """End the body in good order, then close."""

    def abort(self) -> None:
        """Close at once; what is buffered is lost."""

    def acknowledged(self) -> int | None:
        """Return how many bytes the peer has acknowledged, or None where that cannot be seen."""

    def be_patient(self, patient: bool) -> None:
        """
        Bear a reader that is slow: whoever says so looks at its progress.

        Otherwise a peer that acknowledges nothing is ended by the kernel, as at the beginning.
        """


class Owner(Protocol):
    """Who acts on what happens on the socket: the node."""

    def attached(self, subscriber: Subscriber, framing: Framing) -> None: ...

    def paused(self, subscriber: Subscriber) -> None: ...

    def resumed(self, subscriber: Subscriber) -> None: ...

    def lost(self, subscriber: Subscriber) -> None: ...

    def tick(self, subscriber: Subscriber, now: float) -> float | None: ...

    def server_stopping(self) -> None: ...


class Subscriber:
    """
    One stream.

    `offset`: through where it has everything; while it is live the cohort's
    `sent` counts instead. `claim`: what its client said about the start, as
    long as nobody could judge it. `announced`: the offset of the last id that
    its client got. Attributes are plain: 10,000 of these are held at once.
    """

    __slots__ = (
        "acknowledged",
        "address",
        "announced",
        "claim",
        "cohort",
        "due",
        "ended",
        "life",
        "live",
        "offset",
        "open",
        "opened",
        "owner",
        "paused",
        "paused_at",
        "reading",
        "selector",
        "silent_since",
        "until",
        "wire",
    )

    def __init__(self, owner: Owner, selector: Selector, claim: Since | Position | None, offset: int) -> None:
        self.owner = owner
        self.selector = selector
        self.claim = claim
        self.offset = offset
        self.announced = offset
        self.life = ""  # that of `announced`, when it was settled
        self.address: str | None = None
        self.cohort: Cohort | None = None
        self.wire: Wire | None = None
        self.opened = False  # wants a hub.open, and has not got it
        self.ended = False  # the last thing written was a hub.end
        self.live = False
        self.open = True
        self.reading = False  # a page of the engine's is on its way
        self.paused = False
        self.paused_at = 0.0
        self.acknowledged: int | None = None
        self.silent_since = 0.0
        self.until = 0.0
        self.due = 0

    def attach(self, wire: Wire, framing: Framing) -> None:
        """Begin: the head is sent and the socket is ours."""
        self.wire = wire
        self.owner.attached(self, framing)

    def pause_writing(self) -> None:
        """Take no more for now: the socket is full."""
        if not self.paused:
            self.paused = True
            if self.live and self.cohort:
                self.cohort.leave(self)
            self.owner.paused(self)

    def resume_writing(self) -> None:
        if self.paused:
            self.paused = False
            self.owner.resumed(self)

    def lost(self) -> None:
        """Forget the stream: its connection is gone, whoever closed it."""
        self.open = False
        self.owner.lost(self)

    def server_stopping(self) -> None:
        """The server stops. The first stream that hears of it starts the drain of all."""
        self.owner.server_stopping()

    def tick(self, now: float) -> float | None:
        """Do what is due at `now` and return when to be called again; None: never."""
        return self.owner.tick(self, now)
