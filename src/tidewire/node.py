"""
One process of a hub: engine to window to cohorts to sockets.

    publish -> engine.append -> entries() -> window, and the pending of each
    cohort that wants them -> rounds -> one write per member

Everything here runs on one event loop. `_run` is the only loop that writes: it
gives each cohort's round and each subscriber that is behind a turn, and hands
the event loop back every few milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from . import frames
from .cohort import JOIN_BYTES, Cohort
from .engines import Engine
from .errors import Draining, TidewireError, Unavailable, Unknown
from .event_stream import RETRY_MIN, check_publish_type, check_retry
from .frames import Framing, framed
from .metrics import Metrics
from .position import Position
from .settings import Settings
from .streams import STEP, Streams, streams_of_loop
from .subscriber import Subscriber
from .topics import Selector, TopicIndex, check_term, is_pattern
from .window import Draft, Entry, Head, Marks, Page, Receipt, Since, Verdict, Window

logger = logging.getLogger("tidewire")

# How long publishes that keep coming may hold up the round they will be joined into.
GATHER = 0.005
# Portable streams woken in one step: to wake one is quick, and its task needs 20 us in the next step.
TASKS = 128
# Members written to between two looks at the clock.
BATCH = 32
# Entries in one page of the engine's.
PAGE = 256
# Replays and pages shared by readers that resume from the same position.
SHARED = 64
# Readers of the engine's pages at once; the others wait their turn.
READERS = 16
# Pages looked through for one page of history; beyond them it says `more`.
HISTORY_PAGES = 16
# How long a new stream waits for the engine to say where it begins: the first byte is due within 1 s.
LOCATE_TIMEOUT = 0.5
# How long single streams may take to end in a drain.
END_TIMEOUT = 1.0
# How often a drain looks whether something has finished.
POLL = 0.01
# A paused stream is looked at every second: deadlines are kept to the next whole one.
PROGRESS_EVERY = 0.5
# A reader whose engine failed, though it is said to be up, tries again after this time.
READ_AGAIN = 1.0
# Streams vary their age and their retry by so much, so that they do not come back together.
JITTER = 0.1

Hook = Callable[[str], Awaitable[None] | None]


class Replay(NamedTuple):
    """What a reader that is behind gets next, joined and framed once for all who need the same."""

    chunk: bytes
    through: int
    announced: int | None  # the offset of its last id
    ended: bool  # its last frame is a hub.end


class Watch:
    """A program's wish to know the first and last subscriber of a topic, or of each topic of a pattern."""

    def __init__(self, term: str, first: Hook | None, last: Hook | None) -> None:
        self.term = check_term(term)
        self.selector = Selector([term]) if is_pattern(term) else None
        self.first = first
        self.last = last
        self.counts: dict[str, int] = {}

    def topics(self, selector: Selector) -> list[str]:
        """Return the topics of this watch that a stream with `selector` is a subscriber of."""
        if self.selector is None:
            return [self.term] if selector.matches(self.term) else []
        return [topic for topic in selector.topics if self.selector.matches(topic)]


class Node:
    """The hub within this process. Use it from one event loop."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.engine = engine
        self.settings = settings
        self.metrics = metrics
        self.window = Window(settings.window_entries, settings.window_bytes)
        self.streams_open = 0
        self.streams_by_address: Counter[str | None] = Counter()
        self.stopping = asyncio.Event()
        self._up = False
        self._cohorts: dict[tuple[Selector, Framing], Cohort] = {}
        self._index: TopicIndex[Cohort] = TopicIndex()
        self._watches: list[Watch] = []
        self._publishing = 0
        self._reached: list[tuple[int, asyncio.Future[None]]] = []
        self._resets = 0
        self._rounds: deque[Cohort] = deque()
        self._woken: deque[Subscriber] = deque()
        self._running = False
        self._arrivals = 0
        self._seen = 0
        self._drain: asyncio.Task[None] | None = None
        self._ending: set[Subscriber] = set()  # their last bytes are on the way
        self._replays: OrderedDict[tuple[Cohort, int, int], Replay] = OrderedDict()
        self._pages: OrderedDict[tuple[int, Selector], asyncio.Future[Page]] = OrderedDict()
        self._readers = asyncio.Semaphore(READERS)
        self._tasks: set[asyncio.Future[Any]] = set()
        metrics.gauge("open_streams", "Streams open now.", lambda: self.streams_open)
        metrics.gauge("head", "The offset of the newest entry.", lambda: self.window.head)

    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._streams: Streams = streams_of_loop()
        self.reset_window(await self.engine.open(self))
        self._up = True
        self._streams.register(self)

    async def close(self) -> None:
        """Drain, if that was not done, and stop all that still runs."""
        await self.drain()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def draining(self) -> bool:
        return self.stopping.is_set()

    @property
    def ready(self) -> bool:
        """Whether the node takes publishes and can judge positions."""
        return self._up and not self.draining

    def refusal(self) -> TidewireError | None:
        """Return why this node takes neither streams nor publishes now, or None."""
        if self.draining:
            return Draining("this process is stopping; come back in a moment", retry_after=1)
        return None

    # -- what the engine tells (Sink)

    def entries(self, batch: Sequence[Entry]) -> None:
        if self.engine.shared:
            self.metrics.bad_events.inc(sum(map(drop_bad_fields, batch)))
        self.window.append(batch)
        self._arrivals += 1
        for entry in batch:
            for cohort in self._index.match(entry.topic):
                if cohort.members:
                    cohort.pending.append(entry)
                    self._schedule(cohort)
                elif cohort.waiting:
                    self._schedule(cohort)
        if self._reached:
            self._resolve_reached()

    def trimmed(self, floor: int, marks: Marks) -> None:
        self.window.trimmed(floor, marks)

    def reset(self, head: Head) -> None:
        for subscriber in self._all():
            if subscriber.live and subscriber.cohort:
                subscriber.cohort.leave(subscriber)
            # What its client has is judged in the new log. That is the last id it was told:
            # nothing for it has come since, so what was lost of others' is no gap.
            if subscriber.claim is None:
                subscriber.claim = self.window.position(subscriber.announced)
            self._wake(subscriber)
        for cohort in self._cohorts.values():
            cohort.waiting.clear()
        self._resets += 1
        self.reset_window(head)
        # Who waits for an offset of the old log would wait for ever.
        for _, future in self._reached:
            if not future.done():
                future.set_result(None)
        self._reached.clear()

    def available(self, up: bool) -> None:
        self._up = up
        if up:
            for subscriber in self._all():
                if not subscriber.live:
                    self._wake(subscriber)

    def reset_window(self, head: Head) -> None:
        self.window.reset(head)
        self._replays.clear()
        self._pages.clear()

    # -- publishing

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """
        Store all drafts or none and return their receipts.

        Raise `Draining`, `Unavailable` (nothing is stored), `Unknown` (the
        engine did not answer in time) or what the engine refuses.
        """
        if refusal := self.refusal():
            raise refusal
        if not self._up:
            raise Unavailable("the engine cannot be reached", code="engine_unavailable", retry_after=1)
        if self._publishing >= self.settings.max_publishes:
            raise Unavailable("too many publishes are waiting for the engine", code="busy", retry_after=1)
        self._publishing += 1
        resets = self._resets
        try:
            async with asyncio.timeout(self.settings.engine_timeout):
                receipts = await self.engine.append(drafts)
                last = max((receipt.position.offset for receipt in receipts), default=0)
                if last > self.window.head:
                    await self._wait_for(last)
        except TimeoutError:
            raise self._unknown("the engine did not answer in time") from None
        finally:
            self._publishing -= 1
        if resets != self._resets:
            raise self._unknown("the log went back meanwhile")
        duplicates = sum(receipt.duplicate for receipt in receipts)
        self.metrics.published.inc(len(receipts) - duplicates)
        self.metrics.duplicates.inc(duplicates)
        return receipts

    def _unknown(self, what: str) -> Unknown:
        self.metrics.unknown.inc()
        return Unknown(f"{what}; publish again with a key to be sure", retry_after=1)

    async def _wait_for(self, offset: int) -> None:
        """Wait until the window has `offset`: an acknowledged id can be resumed from at once."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._reached.append((offset, future))
        await future

    def _resolve_reached(self) -> None:
        head = self.window.head
        for offset, future in self._reached:
            if offset <= head and not future.done():
                future.set_result(None)
        self._reached = [item for item in self._reached if item[0] > head]

    # -- subscribing

    async def subscribe(
        self, selector: Selector, claim: Since | Position, opened: bool = False
    ) -> tuple[Subscriber, bytes] | None:
        """
        Return a subscriber that is not attached yet, and its first bytes.

        `opened`: it wants a hub.open. None: every topic has ended and nothing
        is left to tell; the answer is 204.
        """
        subscriber = Subscriber(self, selector, claim, self.window.head)
        subscriber.opened = opened
        first = frames.retry(self.settings.retry) + frames.GREETING
        if not self._can_judge(claim):
            if not self._up:
                return subscriber, first
            try:
                async with asyncio.timeout(LOCATE_TIMEOUT):
                    subscriber.claim = await self._locate(claim, selector, subscriber.offset)
            except (TimeoutError, Unavailable):
                return subscriber, first
        if self._told_all(selector, self._verdict(subscriber.claim, selector)):
            return None
        return subscriber, first + self._settle(subscriber)

    async def history(self, selector: Selector, claim: Since | Position, limit: int) -> dict[str, Any]:
        """Return a page of the log as the JSON page shows it. Raise `Unavailable`."""
        if self.ready:
            try:
                async with asyncio.timeout(self.settings.engine_timeout):
                    return await self._history(selector, claim, limit)
            except TimeoutError:
                pass
        raise Unavailable("the engine cannot be reached", code="engine_unavailable", retry_after=1)

    async def _history(self, selector: Selector, claim: Since | Position, limit: int) -> dict[str, Any]:
        if not self._can_judge(claim):
            claim = await self._locate(claim, selector, self.window.head)
        verdict = self._verdict(claim, selector)
        gap = None if verdict.reason is None else self._gap_data(verdict, claim)
        after = verdict.offset
        entries: list[Entry] = []
        for _ in range(HISTORY_PAGES):
            page = await self._read_engine(after, limit - len(entries), selector)
            entries += page.entries
            after = page.through
            if len(entries) == limit or after >= self.window.head:
                break
        events = [entry.as_event() for entry in entries]
        return {
            "events": [{"id": e.id, "topic": e.topic, "event": e.event, "data": e.data} for e in events],
            # Not the last event's: a page may have looked through many that are not asked for.
            "next": str(self.window.position(after)),
            "head": str(self.window.position(self.window.head)),
            "more": after < self.window.head,
            "ended": self.window.all_ended(selector),
            "gap": gap,
        }

    def _told_all(self, selector: Selector, verdict: Verdict) -> bool:
        """Whether a stream that goes on from `verdict` would have nothing to say, now and ever."""
        if verdict.reason is not None or not self.window.all_ended(selector):
            return False
        return all(self.window.end_of(topic) <= verdict.offset for topic in selector.topics)

    def _can_judge(self, claim: Since | Position) -> bool:
        """Whether this node can say now, and without its engine, where `claim` goes on."""
        if isinstance(claim, Since):
            return not claim.asks_engine
        # What is beyond the head here may have come from a node that is ahead of this one.
        return self._up and not (self.engine.shared and claim.offset > self.window.head)

    async def _locate(self, claim: Since | Position, selector: Selector, head: int) -> Since | Position:
        """
        Ask the engine where `claim` begins; for a position, catch up with the engine.

        `head` was the head when it was asked for: what came since is never left out.
        """
        resets = self._resets
        since = claim if isinstance(claim, Since) else Since("now")
        offset = await self.engine.locate(since, selector)
        if since is not claim and offset > self.window.head:
            await self._wait_for(offset)
        if resets != self._resets:
            return await self._locate(claim, selector, head)
        return Since("after", min(offset, head)) if since is claim else claim

    def _verdict(self, claim: Since | Position | None, selector: Selector) -> Verdict:
        if isinstance(claim, Position):
            return self.window.judge(claim, selector)
        if claim is None or claim.kind == "invalid":
            return self.window.judge(None, selector)
        if claim.kind == "after":
            return Verdict(int(claim.value))
        return Verdict(self.window.floor - 1 if claim.kind == "start" else self.window.head)

    def _settle(self, subscriber: Subscriber) -> bytes:
        """Judge what the client brought; return the frames that tell it where it stands."""
        claim, verdict = subscriber.claim, self._verdict(subscriber.claim, subscriber.selector)
        subscriber.claim = None
        subscriber.offset = verdict.offset
        at = self.window.position(verdict.offset)
        resume, told = "complete", b""
        if verdict.reason is not None:
            resume, told = "gap", self._gap(verdict, claim)
        elif isinstance(claim, Since):
            resume, told = "fresh", frames.position(at)
        if told:
            subscriber.announced = verdict.offset
        elif isinstance(claim, Position):
            subscriber.announced = min(subscriber.announced, claim.offset)
        subscriber.life = self.window.life_of(subscriber.announced)
        if subscriber.opened:
            subscriber.opened = False
            told = frames.opened(self.settings.heartbeat, resume, at) + told
        return told

    def _gap(self, verdict: Verdict, claim: Since | Position | None) -> bytes:
        self.metrics.gaps.labels(verdict.reason).inc()
        return frames.gap(self._gap_data(verdict, claim), self.window.position(verdict.offset))

    def _gap_data(self, verdict: Verdict, claim: Since | Position | None) -> dict[str, Any]:
        window = self.window
        requested = {"requested": str(claim)} if isinstance(claim, Position) else {}
        oldest = str(window.position(window.floor)) if window.floor <= window.head else None
        head = str(window.position(window.head))
        terms = list(verdict.terms)
        return {"reason": verdict.reason, **requested, "oldest": oldest, "head": head, "topics": terms}

    # -- what happens on sockets (Owner)

    def attached(self, subscriber: Subscriber, framing: Framing) -> None:
        assert subscriber.wire
        if not subscriber.open:
            subscriber.wire.abort()
            return
        if subscriber.claim is None and self.window.life_of(subscriber.announced) != subscriber.life:
            # The log went back between the first bytes and now.
            subscriber.claim = Position(subscriber.life, subscriber.announced)
        cohort = self._cohort(subscriber.selector, framing)
        subscriber.cohort, subscriber.selector = cohort, cohort.selector
        cohort.behind.add(subscriber)
        now = self.loop.time()
        age = self.settings.max_age_portable if framing == "asgi" else self.settings.max_age
        subscriber.until = now + age * random.uniform(1 - JITTER, 1 + JITTER)
        subscriber.silent_since = now
        self.streams_open += 1
        self._count_address(subscriber, +1)
        self.metrics.opened.inc()
        self._tell_watches(subscriber.selector, +1)
        if self.draining:
            self._finish(subscriber, "drain", self._farewell())
            return
        self._streams.watch(subscriber, min(subscriber.until, now + self.settings.heartbeat - 1))
        self._advance(subscriber)

    def paused(self, subscriber: Subscriber) -> None:
        if not subscriber.open:
            return
        assert subscriber.wire
        now = self.loop.time()
        subscriber.paused_at = now
        subscriber.acknowledged = subscriber.wire.acknowledged()
        self._streams.watch(subscriber, now + PROGRESS_EVERY)

    def resumed(self, subscriber: Subscriber) -> None:
        if subscriber.open:
            subscriber.silent_since = self.loop.time()
            self._wake(subscriber)

    def lost(self, subscriber: Subscriber) -> None:
        self._ending.discard(subscriber)
        self._forget(subscriber, "lost")

    def server_stopping(self) -> None:
        self._streams.start_drain()

    def tick(self, subscriber: Subscriber, now: float) -> float | None:
        if not subscriber.open:
            return None
        if now >= subscriber.until:
            self._finish(subscriber, "age")
            return None
        if subscriber.paused:
            return self._check_progress(subscriber, now)
        if subscriber.live:
            return subscriber.until
        if now - subscriber.silent_since >= self.settings.heartbeat - 1:
            frame = frames.HEARTBEAT
            if subscriber.claim is None:
                frame, subscriber.announced = self._heartbeat(subscriber.announced, subscriber.offset)
            self._write(subscriber, frame)
        return min(subscriber.until, subscriber.silent_since + self.settings.heartbeat - 1)

    def _check_progress(self, subscriber: Subscriber, now: float) -> float | None:
        """End a stream that took nothing for too long, by the kernel's count: the buffer says little."""
        assert subscriber.wire
        acknowledged = subscriber.wire.acknowledged()
        if acknowledged != subscriber.acknowledged:
            subscriber.acknowledged, subscriber.paused_at = acknowledged, now
        limit = self.settings.send_timeout if acknowledged is None else self.settings.stuck_timeout
        if now - subscriber.paused_at >= limit:
            wire = subscriber.wire
            self._forget(subscriber, "stuck")
            wire.abort()
            return None
        return min(subscriber.until, now + PROGRESS_EVERY)

    def tick_cohort(self, cohort: Cohort, now: float) -> float | None:
        if not cohort.members:
            return None
        silent = now - cohort.silent_since
        # A second early: deadlines are kept to the second.
        if silent >= self.settings.heartbeat - 1 and not cohort.scheduled:
            cohort.begin_with(*self._heartbeat(cohort.announced, cohort.sent))
            cohort.silent_since = now
            self._schedule(cohort)
            silent = 0.0
        return now + max(self.settings.heartbeat - 1 - silent, 0.5)

    def _heartbeat(self, announced: int, offset: int) -> tuple[bytes, int]:
        """Return a comment, or a position if the last one told may soon be trimmed; and which is told now."""
        middle = (self.window.floor + self.window.head) // 2
        if announced >= min(middle, offset):
            return frames.HEARTBEAT, announced
        return frames.position(self.window.position(offset)), offset

    # -- cohorts and rounds

    def _cohort(self, selector: Selector, framing: Framing) -> Cohort:
        cohort = self._cohorts.get((selector, framing))
        if cohort is None:
            cohort = Cohort(self, selector, framing, self.window)
            self._cohorts[selector, framing] = cohort
            self._index.add(selector, cohort)
        return cohort

    def _schedule(self, cohort: Cohort) -> None:
        if not cohort.scheduled:
            cohort.scheduled = True
            self._rounds.append(cohort)
            self._start_running()

    def _wake(self, subscriber: Subscriber) -> None:
        """Give a subscriber that is behind its next turn. It may have to wait, so it is kept alive."""
        if not subscriber.open:
            return
        self._woken.append(subscriber)
        self._streams.watch(subscriber, subscriber.silent_since + self.settings.heartbeat - 1)
        self._start_running()

    def _start_running(self) -> None:
        if not self._running:
            self._running = True
            self._wait_until = self.loop.time() + GATHER
            self.loop.call_soon(self._gather)

    def _gather(self) -> None:
        """
        Begin to write once a step of the event loop brings nothing new.

        Publishes that wait on their sockets come one a step: joined, 64 of them
        cost little more than one. When it is quiet this costs one empty step.
        """
        arrived, self._seen = self._arrivals != self._seen, self._arrivals
        if arrived and self.loop.time() < self._wait_until:
            self.loop.call_soon(self._gather)
        else:
            self._run()

    def _run(self) -> None:
        """Write rounds and replays until all is written or the step has lasted long enough."""
        now = self.loop.time
        until = now() + STEP
        tasks = 0
        while self._rounds or self._woken:
            if self._rounds:
                cohort = self._rounds[0]
                if self._arrivals != self._seen and not cohort.in_round:
                    # More came while the last round was written: gather again.
                    self._wait_until = now() + GATHER
                    self.loop.call_soon(self._gather)
                    return
                tasks += BATCH if cohort.framing == "asgi" else 0
                self._step(cohort)
            if self._woken:
                subscriber = self._woken.popleft()
                tasks += subscriber.cohort is not None and subscriber.cohort.framing == "asgi"
                self._advance(subscriber)
            if now() > until or tasks >= TASKS:
                self.loop.call_soon(self._run)
                return
        self._running = False

    def _step(self, cohort: Cohort) -> None:
        if cohort.pending and cohort.pending[0].offset < self.window.start:
            # More was published than this cohort can be written: its members read on at their own speed.
            for subscriber in cohort.fall_behind():
                self._wake(subscriber)
        if cohort.in_round or cohort.begin():
            self.metrics.delivered.inc(cohort.step(BATCH))
        if cohort.in_round:
            return
        self._rounds.popleft()
        if cohort.pending:
            self._rounds.append(cohort)
        else:
            cohort.scheduled = False
            cohort.silent_since = self.loop.time()
        self._after_round(cohort)

    def _after_round(self, cohort: Cohort) -> None:
        if cohort.waiting:
            for subscriber in cohort.waiting:
                self._wake(subscriber)
            cohort.waiting.clear()
        if not cohort.pending and self.window.all_ended(cohort.selector):
            for subscriber in cohort.fall_behind():
                subscriber.ended = True
                self._wake(subscriber)

    # -- readers that are behind

    def _advance(self, subscriber: Subscriber) -> None:
        """Bring a subscriber that is behind one step on: a write, a page, or into its cohort."""
        cohort = subscriber.cohort
        if (
            not subscriber.open
            or subscriber.live
            or subscriber.paused
            or subscriber.reading
            or cohort is None
        ):
            return
        if subscriber.claim is not None:
            self._advance_unsettled(subscriber, subscriber.claim)
        elif not self.window.holds(subscriber.offset):
            self._advance_beyond_window(subscriber)
        elif subscriber.offset < cohort.sent:
            self._replay(subscriber, cohort, cohort.sent)
            self._wake(subscriber)
        elif subscriber.offset > cohort.sent:
            cohort.waiting.append(subscriber)
        elif self.window.all_ended(cohort.selector) and not cohort.pending:
            self._finish_ended(subscriber)
        else:
            cohort.join(subscriber)
            self._streams.watch(cohort, cohort.silent_since + self.settings.heartbeat - 1)

    def _advance_unsettled(self, subscriber: Subscriber, claim: Since | Position) -> None:
        if self._can_judge(claim):
            self._write(subscriber, self._settle(subscriber))
            self._wake(subscriber)
        elif self._up:
            self._read(subscriber)

    def _advance_beyond_window(self, subscriber: Subscriber) -> None:
        verdict = self.window.overtaken(subscriber.offset, subscriber.selector)
        if verdict.offset == subscriber.offset:
            self._read(subscriber)
            return
        self._move(subscriber, verdict)
        self._wake(subscriber)

    def _move(self, subscriber: Subscriber, verdict: Verdict) -> None:
        """Set a reader that retention overtook to what is kept, and tell it if it missed something."""
        stood = self.window.position(subscriber.offset)
        subscriber.offset = verdict.offset
        if verdict.reason is not None:
            subscriber.announced = verdict.offset
            self._write(subscriber, self._gap(verdict, stood))

    def _replay(self, subscriber: Subscriber, cohort: Cohort, through: int, page: Page | None = None) -> None:
        """Give a reader what comes next, through `through`: one join, of the window's entries or a page's."""
        after, selector = subscriber.offset, cohort.selector
        replay = self._replays.get((cohort, after, through))
        if replay is None:
            if page is None:
                joined = self.window.read(after, through, selector, JOIN_BYTES)
            else:
                joined = page.read(after, selector, JOIN_BYTES)
            replay = self._replays[cohort, after, through] = join_replay(*joined, cohort)
            self.window.forget_frames(joined[0])
            if len(self._replays) > SHARED:
                self._replays.popitem(last=False)
        self._give(subscriber, replay)

    def _give(self, subscriber: Subscriber, replay: Replay) -> None:
        subscriber.offset = replay.through
        if replay.chunk:
            subscriber.ended = replay.ended
            subscriber.announced = replay.announced or subscriber.announced
            self._put(subscriber, replay.chunk)

    def _read(self, subscriber: Subscriber) -> None:
        """Let a subscriber read the engine, which is not done within this step."""
        subscriber.reading = True
        self._spawn(self._read_pages(subscriber))

    async def _read_pages(self, subscriber: Subscriber) -> None:
        try:
            async with self._readers:
                if subscriber.claim is not None:
                    claim, selector, head = subscriber.claim, subscriber.selector, subscriber.offset
                    subscriber.claim = await self._locate(claim, selector, head)
                    if subscriber.open and not subscriber.paused:
                        self._write(subscriber, self._settle(subscriber))
                while subscriber.claim is None and subscriber.open and not subscriber.paused:
                    if self.window.holds(subscriber.offset):
                        break
                    await self._read_page(subscriber)
                    await asyncio.sleep(0)
        except Unavailable:
            subscriber.reading = False
            # Otherwise `available` wakes all who are behind.
            if self._up:
                self.loop.call_later(READ_AGAIN, self._wake, subscriber)
        except Exception:
            logger.exception("a page of the log could not be read")
            subscriber.reading = False
            if subscriber.open:
                self._finish(subscriber, "engine")
        else:
            subscriber.reading = False
            self._wake(subscriber)

    async def _read_page(self, subscriber: Subscriber) -> None:
        resets = self._resets
        page = await self._page(subscriber.offset, subscriber.selector)
        if resets == self._resets and page.floor > self.window.floor:
            self.trimmed(page.floor, page.marks)
        if subscriber.offset < page.floor - 1 and self._reads_on(subscriber):
            self._move(subscriber, self.window.overtaken(subscriber.offset, subscriber.selector))
        while subscriber.offset < page.through and self._reads_on(subscriber):
            assert subscriber.cohort
            self._replay(subscriber, subscriber.cohort, page.through, page)
            await asyncio.sleep(0)

    def _reads_on(self, subscriber: Subscriber) -> bool:
        return subscriber.open and not subscriber.paused and subscriber.claim is None

    def _page(self, after: int, selector: Selector) -> asyncio.Future[Page]:
        """Return a page of the engine's; readers from the same position share it."""
        page = self._pages.get((after, selector))
        if page is None or (page.done() and (page.cancelled() or page.exception() is not None)):
            page = self._spawn(self._read_engine(after, PAGE, selector))
            self._pages[after, selector] = page
            if len(self._pages) > SHARED:
                self._pages.popitem(last=False)
        shared: asyncio.Future[Page] = asyncio.shield(page)
        return shared

    async def _read_engine(self, after: int, limit: int, selector: Selector) -> Page:
        page = await self.engine.read(after, limit, selector)
        if self.engine.shared and sum(map(drop_bad_fields, page.entries)):
            page = page._replace(entries=[entry for entry in page.entries if selector.matches(entry.topic)])
        return page

    def _write(self, subscriber: Subscriber, data: bytes) -> None:
        """Write bytes that only this subscriber gets."""
        assert subscriber.cohort
        if data:
            self._put(subscriber, framed(data, subscriber.cohort.framing))

    def _put(self, subscriber: Subscriber, chunk: bytes) -> None:
        assert subscriber.wire
        subscriber.silent_since = self.loop.time()
        try:
            subscriber.wire.write(chunk)
        except Exception:
            # A closed transport raises; it must not end the step of all others.
            subscriber.lost()

    # -- ending streams

    def _finish_ended(self, subscriber: Subscriber) -> None:
        """End a stream whose topics have all ended, after it was told so."""
        told = b""
        if not subscriber.ended:
            at = self.window.position(subscriber.offset)
            told = b"".join(frames.end(topic, "ended", at) for topic in subscriber.selector.terms)
        self._finish(subscriber, "topic", told)

    def _finish(self, subscriber: Subscriber, reason: str, last: bytes = b"") -> None:
        """End a stream in good order, with `last` as its last bytes."""
        wire = subscriber.wire
        assert wire
        if last and not subscriber.paused:
            self._write(subscriber, last)
        self._forget(subscriber, reason)
        self._ending.add(subscriber)
        wire.end()

    def _forget(self, subscriber: Subscriber, reason: str) -> None:
        subscriber.open = False
        cohort = subscriber.cohort
        if cohort is None:
            return
        cohort.remove(subscriber)
        subscriber.cohort = None
        self._streams.unwatch(subscriber)
        if not len(cohort) and self._cohorts.pop((cohort.selector, cohort.framing), None) is not None:
            self._index.discard(cohort.selector, cohort)
            self._streams.unwatch(cohort)
        self.streams_open -= 1
        self._count_address(subscriber, -1)
        self.metrics.ended.labels(reason).inc()
        self._tell_watches(subscriber.selector, -1)

    def _count_address(self, subscriber: Subscriber, change: int) -> None:
        if subscriber.address is not None:
            self.streams_by_address[subscriber.address] += change
            if not self.streams_by_address[subscriber.address]:
                del self.streams_by_address[subscriber.address]

    def _farewell(self) -> bytes:
        # Nobody can reconnect to a single node until the process is back, so
        # its streams end at once and the times to come back are spread.
        retry = self.settings.retry
        return frames.spread_retry(retry, retry * JITTER if self.engine.shared else self.settings.drain)

    async def drain(self) -> None:
        """Finish publishes, end all streams in good order, close the engine. Callers share one drain."""
        if self._drain is None:
            self.stopping.set()
            self._drain = self.loop.create_task(self._drain_once())
        await asyncio.shield(self._drain)

    async def _drain_once(self) -> None:
        await self._until(lambda: not self._publishing, self.settings.engine_timeout)
        await self._until(lambda: not self._rounds, END_TIMEOUT)
        subscribers = self._all()
        random.shuffle(subscribers)
        spread = self.settings.drain if self.engine.shared else 0
        started = self.loop.time()
        for index, subscriber in enumerate(subscribers):
            await self._pause_until(started + spread * index / len(subscribers))
            if subscriber.open:
                self._finish(subscriber, "drain", self._farewell())
        # Whoever awaits this may stop the server next. A program's `on_last` is told of these, too.
        await self._until(lambda: not (self._ending or self._tasks), END_TIMEOUT)
        self._streams.unregister(self)
        await self.engine.close()

    async def _pause_until(self, due: float) -> None:
        """Wait until `due`, and hand over the event loop now and then in any case."""
        wait = due - self.loop.time()
        if wait > 0 or wait < -STEP:
            await asyncio.sleep(max(wait, 0))

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        for _ in range(round(seconds / POLL)):
            if done():
                return
            await asyncio.sleep(POLL)

    # -- for programs

    def subscribers(self, topic: str) -> int:
        """Return how many of this node's streams match `topic`."""
        return sum(len(cohort) for cohort in self._index.match(topic))

    def subscribers_of(self, topic: str) -> list[Subscriber]:
        return [item for cohort in self._index.match(topic) for item in (*cohort.members, *cohort.behind)]

    def watch(self, watch: Watch) -> None:
        """Have `watch` told about first and last subscribers, beginning with those there are."""
        self._watches.append(watch)
        for subscriber in self._all():
            self._tell(watch, subscriber.selector, +1)

    def _tell_watches(self, selector: Selector, change: int) -> None:
        for watch in self._watches:
            self._tell(watch, selector, change)

    def _tell(self, watch: Watch, selector: Selector, change: int) -> None:
        for topic in watch.topics(selector):
            count = watch.counts.get(topic, 0) + change
            if count:
                watch.counts[topic] = count
            else:
                del watch.counts[topic]
                self._call(watch.last, topic)
            if count == 1 and change == 1:
                self._call(watch.first, topic)

    def _call(self, hook: Hook | None, topic: str) -> None:
        if hook is not None:
            self._spawn(call_hook(hook, topic))

    # -- parts

    def _all(self) -> list[Subscriber]:
        return [item for cohort in self._cohorts.values() for item in (*cohort.members, *cohort.behind)]

    def _spawn(self, work: Any) -> asyncio.Future[Any]:
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def drop_bad_fields(entry: Entry) -> bool:
    """
    Make an entry of a foreign writer harmless; return whether there was need to.

    It goes on without its bad field, not with an injected line.
    """
    good = (entry.event, entry.retry, entry.topic)
    try:
        check_publish_type(entry.event)
    except TidewireError:
        entry.event = "message"
    try:
        check_retry(entry.retry or RETRY_MIN)
    except TidewireError:
        entry.retry = None
    try:
        entry.frame(True)
    except TidewireError:
        # Then it is the topic. Under a reserved name nobody gets it, and the log keeps its place.
        entry.topic = "$unreadable"
    return good != (entry.event, entry.retry, entry.topic)


def join_replay(entries: Sequence[Entry], through: int, cohort: Cohort) -> Replay:
    if not entries:
        return Replay(b"", through, None, False)
    with_topic = not cohort.selector.single
    data = b"".join(entry.frame(with_topic) for entry in entries)
    last = entries[-1]
    return Replay(framed(data, cohort.framing), through, last.offset, last.end)


async def call_hook(hook: Hook, topic: str) -> None:
    """Call a program's function. What it raises is logged: a stream does not fail for it."""
    try:
        result = hook(topic)
        if result is not None:
            await result
    except Exception:
        logger.exception("on_first or on_last of %r failed", topic)
