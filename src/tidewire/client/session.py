"""
One subscription across all its connections. No I/O: every client holds one and does what its `step` says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..errors import TidewireError, TooLarge
from ..event_stream import Comment, Decoder, Event
from ..reconnect import Change, Connect, Ended, Ending, Opened, Policy, Step, Stop, reconnect_flow

# They say where the stream stands: the id that they carry is all that is in them.
SILENT_EVENTS = frozenset({"hub.position", "hub.open"})


class Session:
    """
    What has come and what to do next.

    The client does `step`: it connects and calls `opened` or `advance`, or waits and calls `advance(None)`,
    or stops with `stopped`. While a connection is open it calls `feed` and `take`, and `ended` at its end.
    """

    def __init__(
        self,
        decoder: Decoder,
        policy: Policy,
        random: Callable[[], float],
        on_change: Callable[[Change], None] | None,
    ) -> None:
        self.last_event_id = decoder.last_event_id
        self._decoder = decoder
        self._on_change = on_change
        self._items: deque[Event] = deque()
        self._opened_at = 0.0
        self._received = False
        self._flow = reconnect_flow(decoder, policy, random)
        self.step: Step = next(self._flow)

    def advance(self, ending: Ending | None) -> None:
        """Go on to the next step: after a wait, or after a connection that ended so."""
        self.step = self._flow.send(ending)
        if not isinstance(self.step, Connect):
            self._tell(self.step)

    def opened(self, url: str, silence: float | None, now: float) -> None:
        self._opened_at, self._received = now, False
        self._tell(Opened(url, silence))

    def ended(self, error: str | None, now: float) -> None:
        """The open connection is over; `error` is None if its body ended as HTTP says it should."""
        self.advance(Ended(now - self._opened_at, self._received, error))

    def stopped(self) -> TidewireError | None:
        """Return the error to raise at the end, once."""
        assert isinstance(self.step, Stop)
        error, self.step = self.step.error, Stop(self.step.reason)
        return error

    def feed(self, chunk: bytes) -> None:
        self._received = True
        try:
            self._items.extend(self._decoder.feed(chunk))
        except TooLarge as error:
            # Asked to resume, the server would send the same event again: there is no way past it.
            self._flow.close()
            self.step = Stop(error.detail, error)
            self._tell(self.step)

    def take(self) -> Event | None:
        """Return the next event (or comment, if asked for), or None when more bytes are needed."""
        while self._items:
            item = self._items.popleft()
            if isinstance(item, Comment):
                return item
            self.last_event_id = item.id or ""
            if item.event not in SILENT_EVENTS:
                return item
        # A block with an id and no data is no event, but it counts.
        self.last_event_id = self._decoder.last_event_id
        return None

    def skip(self) -> None:
        """Forget the items that wait: somebody reads the bytes instead."""
        self._items.clear()
        self.last_event_id = self._decoder.last_event_id

    def _tell(self, change: Change) -> None:
        if self._on_change is not None:
            self._on_change(change)
