"""
One process of a hub: a log, and the streams that follow it.

    publish -> log (engine, window) -> rounds (cohorts) -> one write per member
                                    -> readers (those who are behind)

Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from .. import hub_events
from ..errors import Draining, TidewireError, Unavailable
from ..log.engine import Engine
from ..log.entries import Draft, Entry, Receipt, Since
from ..log.node_log import Log
from ..log.window import Window
from ..metrics import Metrics
from ..position import Position
from ..settings import Settings
from ..topics import Selector
from .catch_up import Readers
from .deadlines import STEP, deadlines_of_loop
from .framing import Framing
from .rounds import Rounds
from .stopping import drains_of_loop
from .subscriber import END_TIMEOUT, Subscriber
from .topic_hooks import Watch, Watches

# How long a new stream waits for the engine to say where it begins: the first byte is due within 1 s.
LOCATE_TIMEOUT = 0.5
# How often a drain looks whether something has finished.
POLL = 0.01
# A paused stream is looked at every second: deadlines are kept to the next whole one.
PROGRESS_EVERY = 0.5
# Streams vary their age and their retry by so much, so that they do not come back together.
JITTER = 0.1


class Node:
    """The hub within this process. Use it from one event loop."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.engine = engine
        self.settings = settings
        self.metrics = metrics
        self.log = Log(engine, settings, metrics, self)
        self.streams_open = 0
        self.streams_by_address: Counter[str | None] = Counter()
        self.stopping = asyncio.Event()
        self._watches = Watches(self._spawn)
        self._drain: asyncio.Task[None] | None = None
        self._ending: set[Subscriber] = set()  # their last bytes are on the way
        self._tasks: set[asyncio.Future[Any]] = set()
        metrics.gauge("open_streams", "Streams open now.", lambda: self.streams_open)
        metrics.gauge("head", "The offset of the newest entry.", lambda: self.window.head)

    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._deadlines = deadlines_of_loop()
        self._drains = drains_of_loop()
        heartbeat = self.settings.heartbeat
        self.readers = Readers(self.log, heartbeat, self._finish, self._spawn)
        self.rounds = Rounds(self.window, heartbeat, self.metrics, self._deadlines, self.readers.advance)
        self.readers.rounds = self.rounds
        await self.log.open()
        self._drains.register(self)

    async def close(self) -> None:
        """Drain, if that was not done, and stop all that still runs."""
        await self.drain()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def window(self) -> Window:
        return self.log.window

    @property
    def draining(self) -> bool:
        return self.stopping.is_set()

    @property
    def ready(self) -> bool:
        """Whether the node takes publishes and can judge positions."""
        return self.log.up and not self.draining

    def refusal(self) -> TidewireError | None:
        """Return why this node takes neither streams nor publishes now, or None."""
        if self.draining:
            return Draining("this process is stopping; come back in a moment", retry_after=1)
        return None

    # -- what happens to the log (Follower)

    def came(self, batch: Sequence[Entry]) -> None:
        self.rounds.came(batch)

    def going_back(self) -> None:
        for subscriber in self.rounds.subscribers():
            if subscriber.live and subscriber.cohort:
                subscriber.cohort.leave(subscriber)
            # What its client has is judged in the new log, and that is the last id it was told.
            # Nothing for it came since, so what was lost of others' makes no gap.
            if subscriber.claim is None:
                subscriber.claim = self.window.position(subscriber.announced)
            self.rounds.wake(subscriber)
        for cohort in self.rounds:
            cohort.waiting.clear()

    def went_back(self) -> None:
        self.readers.forget()

    def came_up(self) -> None:
        for subscriber in self.rounds.subscribers():
            if not subscriber.live:
                self.rounds.wake(subscriber)

    # -- for those who publish, subscribe and look back

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """
        Store all drafts or none and return their receipts.

        Raise `Draining`, `Unavailable` (nothing is stored), `Unknown` (the
        engine did not answer in time) or what the engine refuses.
        """
        if refusal := self.refusal():
            raise refusal
        return await self.log.append(drafts)

    def submit(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        """As `append`, for those who are called back: what is refused at once is raised."""
        if refusal := self.refusal():
            raise refusal
        return self.log.submit(drafts)

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
        first = hub_events.retry(self.settings.retry) + hub_events.GREETING
        if not self.log.can_judge(claim):
            if not self.log.up:
                return subscriber, first
            try:
                async with asyncio.timeout(LOCATE_TIMEOUT):
                    subscriber.claim = await self.log.locate(claim, selector, subscriber.offset)
            except (TimeoutError, Unavailable):
                return subscriber, first
        if self.log.told_all(selector, self.log.verdict(subscriber.claim, selector)):
            return None
        return subscriber, first + self.readers.settle(subscriber)

    async def history(self, selector: Selector, claim: Since | Position, limit: int) -> dict[str, Any]:
        """Return a page of the log as the JSON page shows it. Raise `Unavailable`."""
        if refusal := self.refusal():
            raise refusal
        return await self.log.history(selector, claim, limit)

    # -- what happens on sockets (Owner)

    def attached(self, subscriber: Subscriber, framing: Framing) -> None:
        assert subscriber.wire
        if not subscriber.open:
            subscriber.wire.abort()
            return
        if subscriber.claim is None and self.window.life_of(subscriber.announced) != subscriber.life:
            # The log went back between the first bytes and now.
            subscriber.claim = Position(subscriber.life, subscriber.announced)
        self.rounds.add(subscriber, framing)
        now = self.loop.time()
        age = self.settings.max_age_portable if framing == "asgi" else self.settings.max_age
        subscriber.until = now + age * random.uniform(1 - JITTER, 1 + JITTER)
        subscriber.silent_since = now
        self.streams_open += 1
        self._count_address(subscriber, +1)
        self.metrics.opened.inc()
        self._watches.tell(subscriber.selector, +1)
        if self.draining:
            self._finish(subscriber, "drain", self._farewell())
            return
        self._deadlines.watch(subscriber, min(subscriber.until, now + self.rounds.silence))
        self.readers.advance(subscriber)

    def paused(self, subscriber: Subscriber) -> None:
        if not subscriber.open:
            return
        assert subscriber.wire
        now = self.loop.time()
        subscriber.paused_at = now
        subscriber.acknowledged = subscriber.wire.acknowledged()
        self._deadlines.watch(subscriber, now + PROGRESS_EVERY)

    def resumed(self, subscriber: Subscriber) -> None:
        if subscriber.open:
            assert subscriber.wire
            subscriber.wire.be_patient(True)  # it takes what it can: slow, but there
            subscriber.silent_since = self.loop.time()
            self.rounds.wake(subscriber)

    def lost(self, subscriber: Subscriber) -> None:
        self._ending.discard(subscriber)
        self._forget(subscriber, "lost")

    def server_stopping(self) -> None:
        self._drains.start_drain()

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
        if now - subscriber.silent_since >= self.rounds.silence:
            self.readers.keep_alive(subscriber)
        return min(subscriber.until, subscriber.silent_since + self.rounds.silence)

    def _check_progress(self, subscriber: Subscriber, now: float) -> float | None:
        """End a stream that took nothing for too long, by the kernel's count: the buffer says little."""
        assert subscriber.wire
        acknowledged = subscriber.wire.acknowledged()
        if acknowledged != subscriber.acknowledged:
            subscriber.acknowledged, subscriber.paused_at = acknowledged, now
            subscriber.wire.be_patient(True)
        limit = self.settings.send_timeout if acknowledged is None else self.settings.stuck_timeout
        if now - subscriber.paused_at >= limit:
            wire = subscriber.wire
            self._forget(subscriber, "stuck")
            wire.abort()
            return None
        return min(subscriber.until, now + PROGRESS_EVERY)

    # -- ending streams

    def _finish(self, subscriber: Subscriber, reason: str, last: bytes = b"") -> None:
        """End a stream in good order, with `last` as its last bytes."""
        wire = subscriber.wire
        assert wire
        if last and not subscriber.paused:
            self.readers.write(subscriber, last)
        self._forget(subscriber, reason)
        self._ending.add(subscriber)
        wire.end()

    def _forget(self, subscriber: Subscriber, reason: str) -> None:
        subscriber.open = False
        if subscriber.cohort is None:
            return
        self.rounds.remove(subscriber)
        self._deadlines.unwatch(subscriber)
        self.streams_open -= 1
        self._count_address(subscriber, -1)
        self.metrics.ended.labels(reason).inc()
        self._watches.tell(subscriber.selector, -1)

    def _count_address(self, subscriber: Subscriber, change: int) -> None:
        if subscriber.address is not None:
            self.streams_by_address[subscriber.address] += change
            if not self.streams_by_address[subscriber.address]:
                del self.streams_by_address[subscriber.address]

    def _farewell(self) -> bytes:
        # Nobody can reconnect to a single node until the process is back, so
        # its streams end at once and the times to come back are spread.
        retry = self.settings.retry
        return hub_events.spread_retry(retry, retry * JITTER if self.engine.shared else self.settings.drain)

    async def drain(self) -> None:
        """Finish publishes, end all streams in good order, close the engine. Callers share one drain."""
        if self._drain is None:
            self.stopping.set()
            self._drain = self.loop.create_task(self._drain_once())
        await asyncio.shield(self._drain)

    async def _drain_once(self) -> None:
        await self._until(lambda: not self.log.publishing, self.settings.engine_timeout)
        await self._until(lambda: not self.rounds.busy, END_TIMEOUT)
        subscribers = self.rounds.subscribers()
        random.shuffle(subscribers)
        spread = self.settings.drain if self.engine.shared else 0
        started = self.loop.time()
        for index, subscriber in enumerate(subscribers):
            await self._pause_until(started + spread * index / len(subscribers))
            if subscriber.open:
                self._finish(subscriber, "drain", self._farewell())
        # Whoever awaits this may stop the server next. A program's `on_last` is told of these, too.
        await self._until(lambda: not (self._ending or self._tasks), END_TIMEOUT)
        self._drains.unregister(self)
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
        return sum(len(cohort) for cohort in self.rounds.matching(topic))

    def subscribers_of(self, topic: str) -> list[Subscriber]:
        return [item for cohort in self.rounds.matching(topic) for item in (*cohort.members, *cohort.behind)]

    def watch(self, watch: Watch) -> None:
        """Have `watch` told about first and last subscribers, beginning with those there are."""
        self._watches.add(watch, [subscriber.selector for subscriber in self.rounds.subscribers()])

    def _spawn(self, work: Any) -> asyncio.Future[Any]:
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
