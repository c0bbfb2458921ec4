"""
This node's log: its engine, and the window of the newest entries.

Publishes enter here, and the engine reports here. The log judges where a stream
starts, and passes new entries on to its follower, which has the streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from .. import hub_events
from ..errors import Gone, TidewireError, Unavailable, Unknown
from ..event_stream import RETRY_MIN, check_publish_type, check_retry, is_traceparent
from ..metrics import Metrics
from ..position import Position
from ..settings import Settings
from ..topics import Selector
from .engine import Direct, Engine
from .entries import Draft, Entry, Head, Marks, Page, Receipt, Record, Since, make
from .overtaken import Overtaken
from .waiting_batch import WaitingBatch
from .window import Verdict, Window


class LogFollower(Protocol):
    """Notified of log changes; implemented by `Node`."""

    def on_entries(self, batch: Sequence[Entry]) -> None:
        """The window has `batch`."""

    def on_records(self, records: Sequence[Record]) -> None:
        """The window has `records`, which its newest entries set."""

    def before_reset(self) -> None:
        """The log is about to be replaced; positions are still those of the old one."""

    def after_reset(self) -> None:
        """The log was replaced."""

    def on_engine_up(self) -> None:
        """The engine can be reached again."""


Outcome = asyncio.Future[list[Receipt]]

# Publishes whose time is kept until it is taken.
MOST_TIMES = 100


class PendingPublish(NamedTuple):
    """A publish in progress: the engine's own answer, if there is one, and until when it is waited for."""

    answer: Outcome | None
    resets: int
    deadline: float


class NodeLog:
    """
    Engine and window. It is the engine's sink.

    `resets` counts how often the log was replaced: compare it after an `await`.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.engine = engine
        self.window = Window(settings.window_entries, settings.window_bytes)
        self.up = False
        self.resets = 0
        self._settings = settings
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._put = engine.put if isinstance(engine, Direct) else None
        self._reached: list[tuple[int, asyncio.Future[None]]] = []
        # By the outcome for the caller, the oldest first.
        self._pending: dict[Outcome, PendingPublish] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._times: list[float] = []

    async def open(self, follower: LogFollower) -> None:
        """Open the engine, and notify `follower` from now on. Raises `StartRefused` if that fails."""
        self._follower = follower
        self.window.reset(await self.engine.open(self))
        self.up = True

    # -- what the engine reports (Sink)

    def entries(self, batch: Sequence[Entry]) -> None:
        if not self.engine.trusted:
            self._metrics.bad_events.inc(sum(map(drop_bad_fields, batch)))
        records = self.window.append(batch)
        self._follower.on_entries(batch)
        if records:
            self._follower.on_records(records)
        if self._reached:
            self._resolve_reached()

    def trimmed(self, floor: int, marks: Marks) -> None:
        self.window.trimmed(floor, marks)

    def forgotten(self, records: Sequence[Record]) -> None:
        self.window.forgotten(records)

    def reset(self, head: Head) -> None:
        self._follower.before_reset()
        self.resets += 1
        self.window.reset(head)
        # An offset of the old log may never be reached.
        for _, future in self._reached:
            if not future.done():
                future.set_result(None)
        self._reached.clear()
        self._follower.after_reset()

    def available(self, up: bool) -> None:
        self.up = up
        if up:
            self._follower.on_engine_up()

    # -- publishing

    @property
    def publishing(self) -> int:
        """How many publishes are in progress."""
        return len(self._pending)

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """
        Store all drafts or none and return their receipts.

        Raises `Unavailable` if nothing is stored, `Unknown` if the engine did not
        answer in time, and what the engine raises.
        """
        outcome = self.submit(drafts)
        try:
            return await outcome
        except asyncio.CancelledError:
            self._give_up(outcome)
            raise

    def submit(self, drafts: Sequence[Draft]) -> Outcome:
        """
        Start to store all drafts or none; return a future of what `append` returns or raises.

        What can be refused at once is raised at once. Do not cancel the future.
        """
        # A publish has no task and no timer of its own: they were a third of its cost.
        if not self.up:
            raise unreachable()
        if len(self._pending) >= self._settings.max_publishes:
            raise Unavailable("too many publishes are waiting for the engine", code="busy", retry_after=1)
        resets = self.resets
        if self._put is not None:
            outcome = self._wait(None, resets)
            self._put(make(WaitingBatch, (drafts, outcome, self._told)))
            return outcome
        awaitable = self.engine.append(drafts)
        # Asyncio asks the same in three steps.
        answer = awaitable if isinstance(awaitable, asyncio.Future) else asyncio.ensure_future(awaitable)
        if answer.done() and self._is_stored(answer, resets):
            self._count(answer.result())
            if len(self._times) < MOST_TIMES:
                self._times.append(0.0)
            return answer
        outcome = self._wait(answer, resets)
        if answer.done():
            self._answered(outcome, answer)
        else:
            answer.add_done_callback(partial(self._answered, outcome))
        return outcome

    def _is_stored(self, answer: Outcome, resets: int) -> bool:
        """Whether the entries of a finished `answer` are in the window: then nothing is left to wait for."""
        if answer.cancelled() or answer.exception() is not None or resets != self.resets:
            return False
        # An eager task may have the engine's answer already, but not the entries.
        return newest(answer.result()) <= self.window.head

    def _wait(self, answer: Outcome | None, resets: int) -> Outcome:
        """Return the outcome of a publish that is on its way to the engine."""
        deadline = self._loop.time() + self._settings.engine_timeout
        outcome: Outcome = self._loop.create_future()
        self._pending[outcome] = make(PendingPublish, (answer, resets, deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._end_overdue)
        return outcome

    def _answered(self, outcome: Outcome, answer: Outcome) -> None:
        try:
            result: list[Receipt] | BaseException = answer.result()
        except (Exception, asyncio.CancelledError) as error:
            result = error
        self._told(outcome, result)

    def _told(self, outcome: Outcome, result: list[Receipt] | BaseException) -> None:
        """The engine has stored a publish or refused it."""
        if outcome not in self._pending:
            return
        if isinstance(result, BaseException):
            self._failed(outcome, result)
            return
        last = newest(result)
        if last <= self.window.head:
            self._stored(outcome, result)
        else:
            # An acknowledged id can be resumed from at once.
            self.reach(last).add_done_callback(lambda _: self._stored(outcome, result))

    def _stored(self, outcome: Outcome, receipts: list[Receipt]) -> None:
        publish = self._pending.get(outcome)
        if publish is None:
            return
        if publish.resets != self.resets:
            self._failed(outcome, self._unknown("the log was replaced in the meantime"))
            return
        del self._pending[outcome]
        self._count(receipts)
        if len(self._times) < MOST_TIMES:
            began = publish.deadline - self._settings.engine_timeout
            self._times.append(self._loop.time() - began)
        if not outcome.done():
            outcome.set_result(receipts)

    def take_times(self) -> list[float]:
        """
        Return how many seconds the engine took to store publishes, of the first 100 since the last call.

        Of one that it stored at once that is 0.
        """
        times, self._times = self._times, []
        return times

    def _count(self, receipts: Sequence[Receipt]) -> None:
        duplicates = 0
        for receipt in receipts:
            duplicates += receipt.duplicate
        self._metrics.published.value += len(receipts) - duplicates
        if duplicates:
            self._metrics.duplicates.inc(duplicates)

    def _failed(self, outcome: Outcome, error: BaseException) -> None:
        del self._pending[outcome]
        if outcome.done():
            return
        if isinstance(error, asyncio.CancelledError):
            outcome.cancel()
        elif isinstance(error, TimeoutError):
            outcome.set_exception(self._unknown("the engine did not answer in time"))
        else:
            outcome.set_exception(error)

    def _give_up(self, outcome: Outcome) -> None:
        """Stop waiting. What the engine has begun to store may still be stored."""
        publish = self._pending.get(outcome)
        if publish is not None:
            self._failed(outcome, TimeoutError())
            if publish.answer is not None:
                publish.answer.cancel()

    def _end_overdue(self) -> None:
        self._timer = None
        for outcome, publish in list(self._pending.items()):
            if publish.deadline > self._loop.time():
                self._timer = self._loop.call_at(publish.deadline, self._end_overdue)
                return
            self._give_up(outcome)

    def _unknown(self, what: str) -> Unknown:
        self._metrics.unknown.inc()
        return Unknown(f"{what}; to publish again without a duplicate, use a key", retry_after=1)

    def reach(self, offset: int) -> asyncio.Future[None]:
        """Return a future that is done once the window has `offset`, or the log was replaced."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._reached.append((offset, future))
        return future

    def _resolve_reached(self) -> None:
        head = self.window.head
        for offset, future in self._reached:
            if offset <= head and not future.done():
                future.set_result(None)
        self._reached = [item for item in self._reached if item[0] > head]

    # -- reading

    async def read(self, after: int, limit: int, selector: Selector) -> Page:
        """Return a page from the engine. By then the window knows what was trimmed before the read."""
        resets = self.resets
        page = await self.engine.read(after, limit, selector)
        if resets == self.resets and page.floor > self.window.floor:
            self.trimmed(page.floor, page.marks)
        if not self.engine.trusted and sum(map(drop_bad_fields, page.entries)):
            page = page._replace(entries=[entry for entry in page.entries if selector.matches(entry.topic)])
        return page

    # -- judging where a stream starts

    def can_judge(self, claim: Since | Position, selector: Selector) -> bool:
        """Whether this node can judge `claim` now: in one step, and without asking its engine."""
        if isinstance(claim, Since):
            return not claim.asks_engine
        # A position beyond the head may come from a node that is ahead of this one.
        ahead = self.engine.shared and claim.offset > self.window.head
        asks = self.window.must_search(claim.offset, selector) or self.window.must_compare(claim)
        return self.up and not ahead and not asks

    def verdict(
        self, claim: Since | Position | None, selector: Selector, search: Overtaken | None = None
    ) -> Verdict:
        """Judge where a stream starts; `search` is what `LogReader.prepare` found."""
        if isinstance(claim, Position):
            return self.window.judge(claim, selector, search)
        if claim is None or claim.kind == "invalid":
            return self.window.judge(None, selector)
        if claim.kind == "after":
            return Verdict(max(int(claim.value), self.window.floor - 1))
        return Verdict(self.window.floor - 1 if claim.kind == "start" else self.window.head)

    def is_finished(self, selector: Selector, verdict: Verdict, plain: bool = False) -> bool:
        """
        Whether a stream that continues from `verdict` has nothing to send, now or later.

        The client of a `plain` stream is never sent the ends, and so has no id of one.
        """
        if verdict.reason is not None or not self.window.all_ended(selector):
            return False
        if plain and self.window.holds(verdict.offset):
            left = self.window.of_topics(selector.topics, verdict.offset, self.window.head)
            return all(entry.is_control for entry in left)
        return self.window.all_ended_by(selector, verdict.offset)

    def gap(self, verdict: Verdict, claim: Since | Position | None) -> bytes:
        self._metrics.gaps.labels(verdict.reason).inc()
        return hub_events.gap(self.gap_data(verdict, claim), self.window.position(verdict.offset))

    def gone(self, verdict: Verdict, claim: Since | Position | None) -> Gone:
        """Return the error that tells of a gap where no `hub.gap` can be sent."""
        self._metrics.gaps.labels(verdict.reason).inc()
        detail = "a stream from there would have a gap: load the state again, and go on from the head"
        return Gone(detail, **self.gap_data(verdict, claim))

    def gap_data(self, verdict: Verdict, claim: Since | Position | None) -> dict[str, Any]:
        """Return what a client is told of a gap: the data of a `hub.gap` event."""
        window = self.window
        requested = {"requested": str(claim)} if isinstance(claim, Position) else {}
        oldest = str(window.position(window.floor)) if window.floor <= window.head else None
        head = str(window.position(window.head))
        terms = list(verdict.terms)
        return {"reason": verdict.reason, **requested, "oldest": oldest, "head": head, "topics": terms}


def newest(receipts: Sequence[Receipt]) -> int:
    """Return the largest offset of `receipts`: the last may be a duplicate's."""
    if len(receipts) == 1:
        return receipts[0].position.offset
    return max([receipt.position.offset for receipt in receipts], default=0)


def unreachable() -> Unavailable:
    return Unavailable("the engine cannot be reached", code="engine_unavailable", retry_after=1)


def drop_bad_fields(entry: Entry) -> bool:
    """
    Make an entry of a foreign writer harmless. Return whether it needed a change.

    A field that would inject a line is dropped, and the entry is sent without it.
    """
    good = (entry.event, entry.retry, entry.topic, entry.traceparent)
    try:
        if entry.event != hub_events.RUN:
            check_publish_type(entry.event)
    except TidewireError:
        entry.event = "message"
    try:
        check_retry(entry.retry or RETRY_MIN)
    except TidewireError:
        entry.retry = None
    if entry.traceparent is not None and not is_traceparent(entry.traceparent):
        entry.traceparent = None
    try:
        entry.frame(True)
    except TidewireError:
        # Then it is the topic. No subscriber gets a reserved topic, and the entry keeps its place.
        entry.topic = "$unreadable"
    return good != (entry.event, entry.retry, entry.topic, entry.traceparent)
