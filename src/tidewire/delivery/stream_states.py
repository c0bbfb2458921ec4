"""
What there is to know about a stream, open or ended, and the streams that ended lately.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

from ..auth.grants import Grant
from ..log.entries import Since
from ..position import Position
from ..topics import Selector
from .framing import Framing
from .subscriber import Subscriber
from .timeline import Timeline

# Ended streams that are kept, and topics and patterns of all of them: at most 5 MB.
MOST = 1_000
MOST_TERMS = 10_000

# `waiting`: its position is not judged yet. A `paused` one is behind, too.
Word = Literal["live", "behind", "paused", "waiting", "ended"]


class StreamState(NamedTuple):
    """
    One stream at one moment. Times are on the loop's clock.

    `offset`: it has everything through this one; None while that is not known. `last`: the offset of the last
    event of its run, else infinity. `resets`: the log's, when this was true.
    """

    number: int
    grant: Grant | None
    client: str | None
    agent: str | None
    selector: Selector
    framing: Framing
    plain: bool
    run: str | None
    last: float
    brought: Since | Position | None
    state: Word
    offset: int | None
    events: int
    opened: float
    timeline: Timeline
    resets: int
    ended: float | None = None
    reason: str = ""


def state_of(subscriber: Subscriber, resets: int) -> StreamState | None:
    """Return the state of a stream that is in a cohort; None if it is in none, not yet or not any more."""
    cohort = subscriber.cohort
    if cohort is None:
        return None
    return StreamState(
        subscriber.number,
        None if subscriber.bearer is None else subscriber.bearer.grant,
        subscriber.client,
        subscriber.agent,
        subscriber.selector,
        cohort.framing,
        subscriber.plain,
        subscriber.run,
        math.inf if subscriber.run is None else cohort.last,
        subscriber.brought,
        word_for(subscriber),
        subscriber.stands,
        subscriber.events + cohort.events if subscriber.live else subscriber.events,
        subscriber.opened,
        subscriber.timeline,
        resets,
    )


def word_for(subscriber: Subscriber) -> Word:
    if subscriber.live:
        return "live"
    if subscriber.claim is not None:
        return "waiting"
    return "paused" if subscriber.paused else "behind"


class EndedStreams:
    """The newest streams that ended, the oldest first. `forgotten`: how many others there were."""

    def __init__(self) -> None:
        self._streams: deque[StreamState] = deque()
        self._terms = 0
        self.forgotten = 0

    def __iter__(self) -> Iterator[StreamState]:
        return iter(list(self._streams))

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, state: StreamState) -> None:
        self._streams.append(state)
        self._terms += len(state.selector.terms)
        while len(self._streams) > MOST or self._terms > MOST_TERMS:
            self._terms -= len(self._streams.popleft().selector.terms)
            self.forgotten += 1
