"""
One subscription across all its connections. No I/O: every client holds one and does what its `step` says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from ...errors import StreamRefused, TidewireError, TooLarge
from ...event_stream import Comment, Decoder, Event
from .items import End, members, typed
from .reconnect import (
    Change,
    Connect,
    Ended,
    Ending,
    Opened,
    Policy,
    Restarted,
    Resumed,
    Step,
    Stop,
    reconnect_flow,
)

# They say where the stream stands or why it ends, and are nothing that whoever reads it waits for.
KEPT_BACK = frozenset({"hub.position", "hub.open", "hub.auth"})


class Session:
    """
    What has come and what to do next.

    The client does `step`: it connects and calls `opened` or `advance`, or waits and calls `advance(None)`,
    or stops with `stopped`. While a connection is open it calls `feed` and `take`, and `ended` at its end.
    `changes` are for it to tell. `topics` are what the subscription is of, if that is known: when all have
    ended it is over (a pattern among them never ends: no topic has its name). `renews` is whether the next
    request may have another token than this one.
    """

    def __init__(
        self,
        decoder: Decoder,
        policy: Policy,
        random: Callable[[], float],
        topics: Iterable[str] = (),
        renews: bool = False,
    ) -> None:
        self.last_event_id = decoder.last_event_id
        self.changes: deque[Change] = deque()
        self.is_open = False
        self._decoder = decoder
        self._renews = renews
        self._items: deque[Event] = deque()
        self._opened_at = 0.0
        self._received = False
        self._waited_for = set(topics)
        self._all_ended = False
        self._flow = reconnect_flow(decoder, policy, random)
        self.step: Step = next(self._flow)

    def advance(self, ending: Ending | Restarted | None) -> None:
        """Go on to the next step: after a wait, or after a connection that ended so."""
        self.is_open = False
        self.step = self._flow.send(ending)
        if not isinstance(self.step, Connect):
            self.changes.append(self.step)

    def opened(self, url: str, silence: float | None, headers: Mapping[str, str], now: float) -> None:
        self.is_open, self._opened_at, self._received = True, now, False
        self.changes.append(Opened(url, silence, headers))

    def ended(self, error: str | None, now: float) -> None:
        """The open connection is over; `error` is None if its body ended as HTTP says it should."""
        self.advance(Ended(now - self._opened_at, self._received, error))

    def restarted(self) -> None:
        """The connection, if there is one, is over because a new one is wanted now."""
        if isinstance(self.step, Connect):
            self.advance(Restarted())
        elif not isinstance(self.step, Stop):
            self.advance(None)

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
            self._stop(error.detail, error)

    def ready(self) -> Event | None:
        """Return the next item if it is an event like most: what `take` would do, quicker."""
        if not self._items:
            return None
        item = self._items[0]
        if isinstance(item, Comment) or item.event.startswith("hub."):
            return None
        self.last_event_id = item.id or ""
        return self._items.popleft()

    def take(self) -> Event | None:
        """Return the next event (or comment, if asked for), or None when more bytes are needed."""
        while self._items:
            item = self._items.popleft()
            if isinstance(item, Comment):
                return item
            self.last_event_id = item.id or ""
            if not item.event.startswith("hub."):
                return item
            if item.event not in KEPT_BACK:
                return self._heard(typed(item))
            self._heed(item)
        if self._all_ended:
            self._stop("every topic has ended")
        if not isinstance(self.step, Stop):
            # A block with an id and no data is no event, but it counts.
            self.last_event_id = self._decoder.last_event_id
        return None

    def skip(self) -> None:
        """Go past the items that wait: somebody reads the bytes instead."""
        while self.take() is not None:
            pass

    def _heard(self, item: Event) -> Event:
        if isinstance(item, End) and item.topic in self._waited_for:
            self._waited_for.discard(item.topic)
            self._all_ended = not self._waited_for
        return item

    def _heed(self, event: Event) -> None:
        """Do what an event says that is not for whoever reads the stream."""
        said = members(event)
        if event.event == "hub.open":
            self.changes.append(Resumed(str(said.get("resume", "")), str(said.get("position") or "")))
        elif event.event == "hub.auth" and not self._renews:
            reason = str(said.get("reason", "ended"))
            error = StreamRefused(f"the token is no longer good ({reason})", code="token_ended")
            error.status = 401
            self._items.clear()
            self._stop(error.detail, error)

    def _stop(self, reason: str, error: TidewireError | None = None) -> None:
        self._flow.close()
        self.is_open = self._all_ended = False
        self.step = Stop(reason, error)
        self.changes.append(self.step)
