"""
One subscription across all its connections. No I/O: each client holds a `Session` and follows its `step`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from ...errors import StreamRefused, TidewireError, TooLarge
from ...event_stream import Comment, Decoder, Event
from ...items import End, members, typed
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

# Hub events that the client handles itself. The iterator does not yield them.
NOT_YIELDED = frozenset({"hub.position", "hub.open", "hub.auth"})
# The reasons of a `hub.auth` after which the same token is refused.
TOKEN_ENDED = ("expired", "revoked")


class Session:
    """
    What was received and what to do next.

    The client follows `step`: it connects and calls `opened` or `advance`, or waits and calls
    `advance(None)`, or stops with `stopped`. While a connection is open it calls `feed` and `take`, and at
    its end `ended`. It reports `changes` to its user. `topics` are those of the subscription, if known: when
    all have ended, the subscription is over (one with a pattern never is: no topic has that name).
    `renews_token` is whether the next request may have another token than this one.
    """

    def __init__(
        self,
        decoder: Decoder,
        policy: Policy,
        random: Callable[[], float],
        topics: Iterable[str] = (),
        renews_token: bool = False,
    ) -> None:
        self.last_event_id = decoder.last_event_id
        self.changes: deque[Change] = deque()
        self.is_open = False
        self._decoder = decoder
        self._renews_token = renews_token
        self._items: deque[Event] = deque()
        self._opened_at = 0.0
        self._received = False
        self._open_topics = set(topics)
        self._all_ended = False
        self._flow = reconnect_flow(decoder, policy, random, renews_token)
        self.step: Step = next(self._flow)

    def advance(self, ending: Ending | Restarted | None) -> None:
        """Move to the next step, after a wait (None) or after a connection with this ending."""
        self.is_open = False
        self.step = self._flow.send(ending)
        if not isinstance(self.step, Connect):
            self.changes.append(self.step)

    def opened(self, url: str, silence: float | None, headers: Mapping[str, str], now: float) -> None:
        self.is_open, self._opened_at, self._received = True, now, False
        self.changes.append(Opened(url, silence, headers))

    def ended(self, error: str | None, now: float) -> None:
        """The open connection ended; `error` is None if its body ended properly."""
        self.advance(Ended(now - self._opened_at, self._received, error))

    def restarted(self) -> None:
        """The user wants a new connection now; the current one, if there is one, is closed."""
        if isinstance(self.step, Connect):
            self.advance(Restarted())
        elif not isinstance(self.step, Stop):
            self.advance(None)

    def stopped(self) -> TidewireError | None:
        """Return the error to raise at the end. Only the first call returns it."""
        assert isinstance(self.step, Stop)
        error, self.step = self.step.error, Stop(self.step.reason)
        return error

    def feed(self, chunk: bytes) -> None:
        self._received = True
        try:
            self._items.extend(self._decoder.feed(chunk))
        except TooLarge as error:
            # After a reconnect the server would send the same event again, so stop here.
            self._stop(error.detail, error)

    def ready(self) -> Event | None:
        """Return the next item if it is a plain event, as `take` would, but faster."""
        if not self._items:
            return None
        item = self._items[0]
        if isinstance(item, Comment) or item.event.startswith("hub."):
            return None
        self.last_event_id = item.id or ""
        return self._items.popleft()

    def take(self) -> Event | None:
        """Return the next event (or comment, if wanted), or None if more bytes are needed."""
        while self._items:
            item = self._items.popleft()
            if isinstance(item, Comment):
                return item
            self.last_event_id = item.id or ""
            if not item.event.startswith("hub."):
                return item
            if item.event not in NOT_YIELDED:
                return self._note_end(typed(item))
            self._handle(item)
        if self._all_ended:
            self._stop("every topic has ended")
        if not isinstance(self.step, Stop):
            # A block with an id but no data is not an event, but its id counts.
            self.last_event_id = self._decoder.last_event_id
        return None

    def skip(self) -> None:
        """Drop the decoded items: the user reads the raw bytes instead."""
        while self.take() is not None:
            pass

    def _note_end(self, item: Event) -> Event:
        if isinstance(item, End) and item.topic in self._open_topics:
            self._open_topics.discard(item.topic)
            self._all_ended = not self._open_topics
        return item

    def _handle(self, event: Event) -> None:
        """Handle a hub event that is not yielded."""
        fields = members(event)
        if event.event == "hub.open":
            self.changes.append(Resumed(str(fields.get("resume", "")), str(fields.get("position") or "")))
        elif event.event == "hub.auth" and not self._renews_token:
            reason = str(fields.get("reason", ""))
            if reason not in TOKEN_ENDED:
                return  # kicked: that forbids nothing, so the hub is asked again
            error = StreamRefused(f"the token is no longer valid ({reason})", code="token_ended")
            error.status = 401
            self._items.clear()
            self._stop(error.detail, error)

    def _stop(self, reason: str, error: TidewireError | None = None) -> None:
        self._flow.close()
        self.is_open = self._all_ended = False
        self.step = Stop(reason, error)
        self.changes.append(self.step)
