"""
The one loop that writes: rounds of cohorts, and turns of subscribers that are behind.

It yields to the event loop every few milliseconds. It starts a round only when a
step of the event loop brought nothing new: entries published meanwhile are joined
into the round.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

from .. import hub_events
from ..log.entries import Entry
from ..log.window import Window
from ..metrics import Metrics
from ..topics import Selector, TopicIndex
from .cohort import Cohort
from .deadlines import STEP, Deadlines
from .framing import Framing
from .subscriber import Subscriber

# Seconds that publishes which keep coming may delay the round that they are joined into.
GATHER = 0.005
# Portable streams woken in one step: waking one is quick, but its task takes 20 us of the next step.
TASKS = 128
# Members written to between two looks at the clock.
BATCH = 32


class Rounds:
    """The cohorts of a node. `heartbeat` is in seconds."""

    def __init__(self, window: Window, heartbeat: float, metrics: Metrics, deadlines: Deadlines) -> None:
        self._window = window
        # The timer may be a second late, so everything is due a second early.
        self.silence = heartbeat - 1
        self._metrics = metrics
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._cohorts: dict[tuple[Selector, Framing], Cohort] = {}
        self._index: TopicIndex[Cohort] = TopicIndex()
        self._rounds: deque[Cohort] = deque()
        self._woken: deque[Subscriber] = deque()
        self._running = False
        self._arrivals = 0
        self._seen = 0

    # -- cohorts

    def __iter__(self) -> Iterator[Cohort]:
        return iter(self._cohorts.values())

    @property
    def busy(self) -> bool:
        """Whether a round is being written or is waiting to be written."""
        return bool(self._rounds)

    def matching(self, topic: str) -> Sequence[Cohort]:
        return self._index.match(topic)

    def subscribers(self) -> list[Subscriber]:
        return [item for cohort in self for item in (*cohort.members, *cohort.behind)]

    def add(self, subscriber: Subscriber, framing: Framing) -> None:
        """Add a subscriber, which is behind, to its cohort."""
        cohort = self._cohort(subscriber.selector, framing)
        # Ten thousand subscribers share one selector.
        subscriber.cohort, subscriber.selector = cohort, cohort.selector
        cohort.behind.add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        cohort, subscriber.cohort = subscriber.cohort, None
        if cohort is None:
            return
        cohort.remove(subscriber)
        if not len(cohort) and self._cohorts.pop((cohort.selector, cohort.framing), None) is not None:
            self._index.discard(cohort.selector, cohort)
            self._deadlines.unwatch(cohort)

    def join(self, subscriber: Subscriber, cohort: Cohort) -> None:
        """Make a subscriber that has caught up a member of its cohort."""
        assert subscriber.wire
        subscriber.wire.tolerate_stalls(False)
        cohort.join(subscriber)
        self._deadlines.watch(cohort, cohort.silent_since + self.silence)

    def _cohort(self, selector: Selector, framing: Framing) -> Cohort:
        cohort = self._cohorts.get((selector, framing))
        if cohort is None:
            cohort = Cohort(self, selector, framing, self._window)
            self._cohorts[selector, framing] = cohort
            self._index.add(selector, cohort)
        return cohort

    # -- what is to be written

    def on_entries(self, batch: Sequence[Entry]) -> None:
        """Add each new entry to the cohorts that want it."""
        self._arrivals += 1
        if not self._cohorts:
            return
        topic: str | None = None
        wanting: Sequence[Cohort] = ()
        for entry in batch:
            if entry.topic != topic:  # entries in a row often have the same topic
                topic = entry.topic
                wanting = self._index.match(topic)
            for cohort in wanting:
                if cohort.members:
                    cohort.pending.append(entry)
                    self._schedule(cohort)
                elif cohort.waiting:
                    self._schedule(cohort)

    def wake(self, subscriber: Subscriber) -> None:
        """Give a subscriber that is behind its next turn. Its heartbeat is due while it waits."""
        if not subscriber.open:
            return
        self._woken.append(subscriber)
        self._deadlines.watch(subscriber, subscriber.silent_since + self.silence)
        self._start_running()

    def tick_cohort(self, cohort: Cohort, now: float) -> float | None:
        if not cohort.members:
            return None
        silent = now - cohort.silent_since
        if silent >= self.silence and not cohort.scheduled:
            cohort.begin_with(*heartbeat(self._window, cohort.oldest, cohort.sent))
            cohort.silent_since = now
            self._schedule(cohort)
            silent = 0.0
        return now + max(self.silence - silent, 0.5)

    def _schedule(self, cohort: Cohort) -> None:
        if not cohort.scheduled:
            cohort.scheduled = True
            self._rounds.append(cohort)
            self._start_running()

    # -- writing it

    def _start_running(self) -> None:
        if not self._running:
            self._running = True
            self._wait_until = self._loop.time() + GATHER
            self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """
        Start writing once a step of the event loop brought nothing new.

        Publishes that wait in their sockets arrive one per step: joined, 64 of them
        cost little more than one. When the hub is quiet this costs one empty step.
        """
        arrived, self._seen = self._arrivals != self._seen, self._arrivals
        if arrived and self._loop.time() < self._wait_until:
            self._loop.call_soon(self._gather)
        else:
            self._run()

    def _run(self) -> None:
        """Write rounds and replays until everything is written or the step has lasted long enough."""
        now = self._loop.time
        until = now() + STEP
        tasks = 0
        while self._rounds or self._woken:
            if self._rounds:
                cohort = self._rounds[0]
                if self._arrivals != self._seen and not cohort.in_round:
                    # More entries came during the last round: gather again.
                    self._wait_until = now() + GATHER
                    self._loop.call_soon(self._gather)
                    return
                tasks += BATCH if cohort.framing == "asgi" else 0
                self._step(cohort)
            if self._woken:
                subscriber = self._woken.popleft()
                tasks += subscriber.cohort is not None and subscriber.cohort.framing == "asgi"
                subscriber.advance()
            if now() > until or tasks >= TASKS:
                self._loop.call_soon(self._run)
                return
        self._running = False

    def _step(self, cohort: Cohort) -> None:
        if cohort.pending and cohort.pending[0].offset < self._window.start:
            # Publishing is faster than this cohort can be written to: its members read on at their own speed.
            for subscriber in cohort.fall_behind():
                self.wake(subscriber)
        if cohort.in_round or cohort.begin():
            self._metrics.delivered.inc(cohort.step(BATCH))
        if cohort.in_round:
            return
        self._rounds.popleft()
        if cohort.pending:
            self._rounds.append(cohort)
        else:
            cohort.scheduled = False
            cohort.silent_since = self._loop.time()
        self._after_round(cohort)

    def _after_round(self, cohort: Cohort) -> None:
        if cohort.waiting:
            for subscriber in cohort.waiting:
                self.wake(subscriber)
            cohort.waiting.clear()
        if not cohort.pending and self._window.all_ended(cohort.selector):
            for subscriber in cohort.fall_behind():
                subscriber.end_sent = True
                self.wake(subscriber)


def heartbeat(window: Window, announced: int, offset: int) -> tuple[bytes, int]:
    """Return a comment, or a position if the announced one may soon be trimmed; and the one announced now."""
    middle = (window.floor + window.head) // 2
    if announced >= min(middle, offset):
        return hub_events.HEARTBEAT, announced
    return hub_events.position(window.position(offset)), offset
