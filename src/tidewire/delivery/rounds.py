"""
The one loop that writes: rounds of cohorts, and turns of subscribers that are behind.

It yields to the event loop every few milliseconds. It starts a round only when a
step of the event loop brought nothing new: entries published meanwhile are joined
into the round.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator, Sequence

from .. import hub_events
from ..log.entries import Entry
from ..log.records import RUN
from ..log.runs import run_of
from ..log.window import Window
from ..metrics import Metrics
from ..topics import Selector
from .arrivals import Arrivals
from .cohort import Cohort
from .cohorts import Cohorts
from .deadlines import STEP, Deadlines
from .framing import Framing, framed
from .joins import Join, Joins
from .round import NO_ROUND, Round
from .subscriber import Subscriber

# Seconds that publishes which keep coming may delay the round that they are joined into.
GATHER = 0.005
# Portable streams woken in one step: waking one is quick, but its task takes 20 us of the next step.
TASKS = 128
# Members written to, or cohorts marked, between two looks at the clock.
BATCH = 32
# Cohorts that one round may be for.
SHARED_ROUND = 512


class Rounds:
    """Writes to the cohorts of a node. `heartbeat` is in seconds."""

    def __init__(self, window: Window, heartbeat: float, metrics: Metrics, deadlines: Deadlines) -> None:
        self.cohorts = Cohorts(self)
        self._window = window
        # The timer may be a second late, so everything is due a second early.
        self.silence = heartbeat - 1
        self._metrics = metrics
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._arrivals = Arrivals(window)
        self._marking: Iterator[None] = iter(())
        self.joins = Joins(window)
        self._scheduled: deque[Cohort] = deque()
        self._round = NO_ROUND
        self._woken: deque[Subscriber] = deque()
        self._ahead: set[Cohort] = set()  # cohorts with streams that wait for the horizon
        self._running = False
        self._seen = 0
        self._gather_until = self._mark_after = 0.0

    @property
    def head(self) -> int:
        return self._window.head

    def all_ended_by(self, selector: Selector, offset: int) -> bool:
        return self._window.all_ended_by(selector, offset)

    def last_of_run(self, name: str) -> float:
        """Return the offset of the last event of a run, infinity while it is open; by its record's name."""
        record = self._window.records.get(RUN, name)
        return run_of(record).last or math.inf if record is not None else math.inf

    def is_end(self, selector: Selector, offset: int) -> bool:
        """Whether the topics of `selector` have ended, one of them with the entry at `offset`."""
        return self._window.all_ended(selector) and offset in map(self._window.end_of, selector.topics)

    @property
    def horizon(self) -> int:
        """The offset through which each cohort knows its news."""
        return self._arrivals.horizon

    @property
    def busy(self) -> bool:
        """Whether a round is being written or is waiting to be written."""
        return self._round is not NO_ROUND or bool(self._scheduled or self._arrivals)

    # -- cohorts

    def add(self, subscriber: Subscriber, framing: Framing) -> None:
        """Add a subscriber, which is behind, to its cohort."""
        self.cohorts.add(subscriber, framing)

    def remove(self, subscriber: Subscriber) -> None:
        gone = self.cohorts.remove(subscriber)
        if gone is not None:
            self._deadlines.unwatch(gone)

    def join(self, subscriber: Subscriber, cohort: Cohort) -> None:
        """Make a subscriber that has caught up a member of its cohort."""
        assert subscriber.wire
        subscriber.wire.tolerate_stalls(False)
        subscriber.timeline.note(self._loop.time(), "live", subscriber.offset)
        cohort.join(subscriber)
        if not cohort.behind:
            # Only those that are behind compare topics with patterns.
            cohort.selector.release_table()
        self._deadlines.watch(cohort, cohort.silent_since + self.silence)

    def wait(self, subscriber: Subscriber, cohort: Cohort) -> None:
        """Let a subscriber that is ahead of its cohort wait until the cohort has caught up with it."""
        cohort.waiting.append(subscriber)
        self._ahead.add(cohort)

    def forget(self) -> None:
        """Forget all news: the log was replaced."""
        self._arrivals.clear()
        self._marking = iter(())
        self.joins.clear()
        for cohort in self.cohorts:
            cohort.forget()

    # -- what is to be written

    def on_entries(self, batch: Sequence[Entry]) -> None:
        """Note new entries. The next step marks the cohorts that want them."""
        if batch and (len(self.cohorts) or self._arrivals):
            self._arrivals.add(batch)
            self._start_running()

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
            cohort.silent = True
            cohort.silent_since = now
            self._schedule(cohort)
            silent = 0.0
        return now + max(self.silence - silent, 0.5)

    def heartbeat(self, cohort: Cohort) -> Join:
        """Return a comment, or a position if the announced one may soon be trimmed."""
        if cohort.plain or not position_due(self._window, cohort.oldest, cohort.sent):
            return self.joins.heartbeat(cohort.framing)
        position = hub_events.position(self._window.position(cohort.sent))
        return Join(framed(position, cohort.framing), cohort.sent, cohort.sent, 0)

    def _schedule(self, cohort: Cohort) -> None:
        if not cohort.scheduled:
            cohort.scheduled = True
            self._scheduled.append(cohort)
            self._start_running()

    # -- gathering, marking, writing

    def _start_running(self) -> None:
        if not self._running:
            self._running = True
            self._gather_again()

    def _gather_again(self) -> None:
        self._gather_until = self._loop.time() + GATHER
        self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """
        Start marking and writing once a step of the event loop brought nothing new.

        Publishes that wait in their sockets arrive one per step: joined, 64 of them
        cost little more than one. When the hub is quiet this costs one empty step.
        """
        arrived, self._seen = self._arrivals.count != self._seen, self._arrivals.count
        if arrived and self._loop.time() < self._gather_until:
            self._loop.call_soon(self._gather)
            return
        self._marking = self._mark()
        self._mark_some(0.0)

    def _mark(self) -> Iterator[None]:
        """Mark the cohorts of what has arrived; yield now and then."""
        for topic, first, last in self._arrivals.take():
            for count, cohort in enumerate(self.cohorts.matching(topic), 1):
                cohort.mark(topic, first, last)
                self._schedule(cohort)
                if not count % BATCH:
                    yield
            yield
        for cohort in self._ahead:
            self._schedule(cohort)
        self._ahead.clear()

    def _mark_some(self, spent: float) -> None:
        """Go on marking until the step has lasted long enough; `spent` is how long it has taken before."""
        began = self._loop.time()
        for _ in self._marking:
            took = self._loop.time() - began
            if took > STEP:
                self._loop.call_soon(self._mark_some, spent + took)
                return
        # What arrived in the meantime is marked once writing has had as much time as marking.
        self._seen = self._arrivals.count
        self._mark_after = 2 * self._loop.time() - began + spent
        self._run()

    def _run(self) -> None:
        """Write rounds and replays until everything is written or the step has lasted long enough."""
        now = self._loop.time
        until = now() + STEP
        tasks = written = 0
        while self._round is not NO_ROUND or self._scheduled or self._woken:
            if self._round is NO_ROUND and self._scheduled:
                if self._arrivals.count != self._seen and now() > self._mark_after:
                    # More entries came during the last round: gather again.
                    self._metrics.delivered.value += written
                    self._gather_again()
                    return
                self._begin()
            if self._round.left:
                written += self._round.step(BATCH)
                tasks += BATCH if self._round.cohorts[0].framing == "asgi" else 0
            if self._round is not NO_ROUND and not self._round.left:
                self._finish()
            if self._woken:
                subscriber = self._woken.popleft()
                tasks += subscriber.cohort is not None and subscriber.cohort.framing == "asgi"
                subscriber.advance()
            if now() > until or tasks >= TASKS:
                self._metrics.delivered.value += written
                self._loop.call_soon(self._run)
                return
        self._metrics.delivered.value += written
        self.joins.clear()
        self._running = bool(self._arrivals)
        if self._running:
            self._gather_again()

    def _begin(self) -> None:
        """Begin a round with the next cohort, and with those after it that are to be sent the same bytes."""
        join: Join | None = None
        horizon, start = self.horizon, self._window.start
        for _ in range(SHARED_ROUND):
            if not self._scheduled:
                return
            cohort = self._scheduled[0]
            if cohort.overtaken(start):
                # Publishing is faster than writing to this cohort: its members read on at their own speed.
                for subscriber in cohort.fall_behind():
                    subscriber.timeline.note(self._loop.time(), "behind", subscriber.offset, "overtaken")
                    self.wake(subscriber)
            following = cohort.next_join(horizon)
            if following is None or not following.data:
                self._scheduled.popleft()
                if following is not None:
                    cohort.pass_over(following.through)
                self._after_round(cohort)
                continue
            if join is None:
                join = following
                self._round = Round(join.data)
            elif following is not join:
                return
            self._scheduled.popleft()
            cohort.begin(join, self._round)

    def _finish(self) -> None:
        done, self._round = self._round, NO_ROUND
        for cohort in done.cohorts:
            cohort.end_round()
            self._after_round(cohort)

    def _after_round(self, cohort: Cohort) -> None:
        if cohort.news:
            self._scheduled.append(cohort)
        else:
            cohort.scheduled = False
            cohort.silent_since = self._loop.time()
        if cohort.waiting:
            for subscriber in cohort.waiting:
                self.wake(subscriber)
            cohort.waiting.clear()
        if (self._window.any_ended or cohort.run is not None) and cohort.is_finished:
            for subscriber in cohort.fall_behind():
                subscriber.end_sent = True
                self.wake(subscriber)


def position_due(window: Window, announced: int, offset: int) -> bool:
    """Whether a silent stream is to be sent its position, since the announced one may soon be trimmed."""
    middle = (window.floor + window.head) // 2
    return announced < min(middle, offset)
