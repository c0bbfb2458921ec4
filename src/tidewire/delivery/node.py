"""
A hub within one process: a log, and the streams that follow it.

    publish -> log (engine, window) -> rounds: one write per member of each cohort
                                    -> catch_up: subscribers that are behind

Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from heapq import nsmallest
from typing import Any, Protocol

from .. import hub_events
from ..auth.grants import Grant
from ..errors import Draining, TidewireError, Unavailable
from ..log.engine import Engine
from ..log.entries import Draft, Entry, Receipt, Record, Since
from ..log.history import History
from ..log.node_log import NodeLog
from ..log.reading import LogReader
from ..log.window import Window
from ..metrics import Metrics
from ..position import Position
from ..settings import Settings
from ..topics import Selector
from .bearers import Bearers
from .catch_up import CatchUp
from .deadlines import EVERY_SECOND, STEP, deadlines_of_loop
from .framing import Framing
from .memory_watch import PUBLISHES, STREAMS, MemoryWatch, Share
from .open_streams import OpenStream, describe
from .rounds import Rounds
from .stopping import drains_of_loop
from .stream_lines import log_ended
from .stream_states import EndedStreams, StreamState, state_of
from .subscriber import END_TIMEOUT, Subscriber
from .tally import Tally
from .tasks import Tasks, start
from .topic_hooks import TopicHook, TopicHooks

logger = logging.getLogger("tidewire")


class Companion(Protocol):
    """What goes on beside the streams of a node. It is called on the event loop."""

    def on_records(self, records: Sequence[Record]) -> None:
        """The window has `records`, which its newest entries set."""

    async def drain(self) -> None:
        """The node drains: stop, and store what is to be stored. The streams end after that."""


# Seconds that a new stream waits for the engine to find its start: the first byte is due within 1 s.
PREPARE_TIMEOUT = 0.5
# The same for a plain stream, whose client is refused if the start is not known by then.
PLAIN_PREPARE_TIMEOUT = 1.0
# Seconds between two looks of a drain at whether something has finished.
POLL = 0.01
# Seconds between two looks of a drain at whether there is still another node.
PEERS_EVERY = 0.1
# Slow readers that are ended in one step while memory is short: 10 ms.
SLOW_READERS = 200
# The part by which streams vary their age and their retry, so that they do not reconnect together.
JITTER = 0.1


class Node:
    """
    The hub within this process. Make it and use it on one event loop.

    Its parts, each made with those above it: `log` stores and judges, `rounds`
    writes to live subscribers, `catch_up` brings on those that are behind.
    """

    def __init__(
        self, engine: Engine, settings: Settings, metrics: Metrics, memory: Share = lambda: None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.engine = engine
        self.settings = settings
        self.metrics = metrics
        self._tasks = Tasks()
        self._after = Tasks()  # what programs want done after streams
        self.tally = Tally(engine.presence, TopicHooks(self._tasks.spawn, engine.presence))
        self._deadlines = deadlines_of_loop()
        self._drains = drains_of_loop()
        self.log = NodeLog(engine, settings, metrics)
        self.reader = LogReader(self.log, settings.engine_timeout)
        self._history = History(self.log, self.reader, settings.engine_timeout)
        self.rounds = Rounds(self.log.window, settings.heartbeat, metrics, self._deadlines)
        self.catch_up = CatchUp(self.log, self.reader, self.rounds, self._tasks, settings.heartbeat)
        self.bearers = Bearers(self.log, self._tasks, self._end_access)
        self.memory_share = memory
        self._memory = MemoryWatch(memory, self._deadlines, self._end_slow_readers)
        self.stopping = asyncio.Event()
        self.companion: Companion | None = None
        self._drain: asyncio.Task[None] | None = None
        self._ending: set[Subscriber] = set()  # their last bytes are being sent
        self._numbers = itertools.count(1)
        self.ended = EndedStreams()
        metrics.gauge("open_streams", "Streams open now.", lambda: self.streams_open)
        if memory() is not None:
            metrics.gauge("memory_share", "The part of the memory that is used.", lambda: memory() or 0.0)
        metrics.gauge("head", "The offset of the newest entry.", lambda: self.window.head)

    async def open(self) -> None:
        """Open the log. Raises `StartRefused`."""
        await self.log.open(self)
        self.tally.start()
        self._drains.register(self)
        self._memory.start(self.loop.time())

    async def close(self) -> None:
        """Drain, if that was not done, and stop all that still runs."""
        await self.drain()
        self._memory.stop()
        await self._until(lambda: not self._after, self.settings.drain)
        await self._after.cancel()
        await self._tasks.cancel()

    @property
    def window(self) -> Window:
        return self.log.window

    @property
    def streams_open(self) -> int:
        return self.tally.streams

    @property
    def draining(self) -> bool:
        return self.stopping.is_set()

    @property
    def ready(self) -> bool:
        """Whether the node accepts publishes and can judge positions."""
        return self.log.up and not self.draining

    def refusal(self) -> TidewireError | None:
        """Return why this node accepts neither streams nor publishes now, or None."""
        if self.draining:
            return Draining("this process is stopping; try again in a moment", retry_after=1)
        return None

    def stream_refusal(self) -> TidewireError | None:
        """Return why this node accepts no new streams now, or None."""
        return self.refusal() or self._memory.refusal(STREAMS)

    def publish_refusal(self) -> TidewireError | None:
        """Return why this node accepts no publishes now, or None."""
        return self.refusal() or self.memory_refusal()

    def memory_refusal(self) -> TidewireError | None:
        """Return the refusal of publishes while memory is short, or None."""
        return self._memory.refusal(PUBLISHES)

    # -- what happens to the log (LogFollower)

    def on_entries(self, batch: Sequence[Entry]) -> None:
        self.rounds.on_entries(batch)

    def on_records(self, records: Sequence[Record]) -> None:
        self.bearers.on_records(records)
        if self.companion is not None:
            self.companion.on_records(records)

    def before_reset(self) -> None:
        for subscriber in self.rounds.cohorts.subscribers():
            if subscriber.live and subscriber.cohort:
                subscriber.cohort.leave(subscriber)
            stood = self.window.position(subscriber.offset)
            subscriber.timeline.note(self.loop.time(), "reset", None, str(stood))
            # The new log judges what the client has: the last id that it brought or was sent.
            # Nothing for it came after that id, so what the log lost after it makes no gap.
            if subscriber.claim is None:
                subscriber.claim = self.window.position(subscriber.announced)
            self.rounds.wake(subscriber)

    def after_reset(self) -> None:
        self.rounds.forget()
        self.catch_up.forget()
        self.bearers.after_reset()

    def on_engine_up(self) -> None:
        for subscriber in self.rounds.cohorts.subscribers():
            if not subscriber.live:
                self.rounds.wake(subscriber)

    # -- publishing, subscribing, history

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """
        Store all drafts or none and return their receipts.

        Raise `Draining`, `Unavailable` (nothing is stored), `Unknown` (the
        engine did not answer in time) or what the engine refuses.
        """
        if refusal := self.publish_refusal():
            raise refusal
        return await self.log.append(drafts)

    def submit(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        """As `append`, but return a future. What can be refused at once is raised at once."""
        if refusal := self.publish_refusal():
            raise refusal
        return self.log.submit(drafts)

    async def subscribe(
        self,
        selector: Selector,
        claim: Since | Position,
        wants_hub_open: bool = False,
        address: str | None = None,
        plain: bool = False,
        client: str | None = None,
        grant: Grant | None = None,
        run: str | None = None,
    ) -> tuple[Subscriber, bytes] | None:
        """
        Return a subscriber that is not attached yet, and its first bytes.

        Return None if every topic has ended and nothing is left to send: the answer is 204.
        `run`: the name of the record of a run, with which the stream ends.
        The streams of one `address` count as one client; None: this stream is a client of its own.
        `client`: its address as the server shows it. `grant`: the stream ends with it. Raises
        `Unauthorized` if the grant has ended or was revoked, `Gone` if a `plain` stream would begin
        with a gap, and `Unavailable` if its start cannot be found within a second.
        """
        subscriber = Subscriber(self, selector, claim, self.window.head, plain, run)
        subscriber.address, subscriber.client = address, client
        subscriber.bearer = None if grant is None else self.bearers.bearer(grant)
        subscriber.wants_hub_open = wants_hub_open and not plain
        first = hub_events.retry(self.settings.retry) + hub_events.GREETING
        search = None
        if plain and not self.log.up:
            raise not_judged()
        if not self.log.can_judge(claim, selector):
            if not self.log.up:
                return subscriber, first
            try:
                async with asyncio.timeout(PLAIN_PREPARE_TIMEOUT if plain else PREPARE_TIMEOUT):
                    subscriber.claim, search = await self.catch_up.prepare(subscriber, claim)
            except (TimeoutError, Unavailable):
                if plain:
                    raise not_judged() from None
                return subscriber, first
        if self.log.is_finished(selector, self.log.verdict(subscriber.claim, selector, search), plain):
            return None
        return subscriber, first + self.catch_up.settle(subscriber, search)

    async def history(
        self, selector: Selector, claim: Since | Position, limit: int, address: str | None = None
    ) -> dict[str, Any]:
        """Return a page of the log as the JSON page shows it. Raise `Unavailable`."""
        if refusal := self.refusal():
            raise refusal
        return await self._history.page(selector, claim, limit, address or object())

    # -- what happens on sockets

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
        age *= random.uniform(1 - JITTER, 1 + JITTER)
        subscriber.until = math.inf if subscriber.plain else now + age
        if subscriber.bearer is not None:
            subscriber.until = min(subscriber.until, subscriber.bearer.expires)
        subscriber.opened = subscriber.silent_since = now
        subscriber.number = next(self._numbers)
        self.metrics.opened.inc()
        self.tally.add(subscriber)
        if self.draining:
            self.finish(subscriber, "drain", self._farewell())
            return
        if not self.bearers.add(subscriber):
            return
        self._deadlines.watch(subscriber, min(subscriber.until, now + self.rounds.silence))
        self.catch_up.advance(subscriber)

    def paused(self, subscriber: Subscriber) -> None:
        if not subscriber.open:
            return
        assert subscriber.wire
        now = self.loop.time()
        subscriber.paused_at = now
        subscriber.timeline.note(now, "paused", subscriber.stands)
        subscriber.acknowledged = subscriber.wire.acknowledged()
        self._deadlines.watch(subscriber, now + EVERY_SECOND)

    def resumed(self, subscriber: Subscriber) -> None:
        if subscriber.open:
            assert subscriber.wire
            subscriber.wire.tolerate_stalls(True)  # slow, but alive
            subscriber.silent_since = now = self.loop.time()
            subscriber.timeline.note(now, "resumed", subscriber.stands)
            self.rounds.wake(subscriber)

    def lost(self, subscriber: Subscriber) -> None:
        self._ending.discard(subscriber)
        self._forget(subscriber, "lost")
        if subscriber.after is not None:
            self._after.spawn(run_after(subscriber.after))
            subscriber.after = None

    def server_stopping(self) -> None:
        self._drains.start_drain()

    def tick(self, subscriber: Subscriber, now: float) -> float | None:
        if not subscriber.open:
            return None
        if now >= subscriber.until:
            if subscriber.bearer is not None and now >= subscriber.bearer.expires:
                self._end_access(subscriber, "expired", "expired")
            else:
                self.finish(subscriber, "age")
            return None
        if subscriber.paused:
            return self._check_progress(subscriber, now)
        if subscriber.live:
            return None if subscriber.until == math.inf else subscriber.until
        if now - subscriber.silent_since >= self.rounds.silence:
            self.catch_up.keep_alive(subscriber)
        return min(subscriber.until, subscriber.silent_since + self.rounds.silence)

    def _check_progress(self, subscriber: Subscriber, now: float) -> float | None:
        """End a stream whose client acknowledged nothing for too long, as counted by the kernel."""
        assert subscriber.wire
        acknowledged = subscriber.wire.acknowledged()
        if acknowledged != subscriber.acknowledged:
            subscriber.acknowledged, subscriber.paused_at = acknowledged, now
            subscriber.wire.tolerate_stalls(True)
        limit = self.settings.send_timeout if acknowledged is None else self.settings.stuck_timeout
        if now - subscriber.paused_at >= limit:
            self._abort(subscriber, "stuck")
            return None
        return min(subscriber.until, now + EVERY_SECOND)

    def _end_slow_readers(self) -> None:
        """End the streams whose sockets have been full for the longest time: they take up the most memory."""
        paused = (item for item in self.rounds.cohorts.subscribers() if item.open and item.paused)
        for subscriber in nsmallest(SLOW_READERS, paused, key=lambda item: item.paused_at):
            self._abort(subscriber, "memory")

    # -- ending streams

    def finish(self, subscriber: Subscriber, reason: str, last: bytes = b"") -> None:
        """
        End a stream, with `last` as its last bytes; `reason` is for the metrics and the log.

        A plain stream ends properly only with its topics or its run: its client may take any
        proper end for the end of what it reads.
        """
        wire = subscriber.wire
        assert wire
        if last and not subscriber.paused:
            self.catch_up.write(subscriber, last)
        self._forget(subscriber, reason)
        self._ending.add(subscriber)
        if subscriber.plain and reason not in ("topic", "run"):
            wire.cut()
        else:
            wire.end()

    def _abort(self, subscriber: Subscriber, reason: str) -> None:
        """End a stream at once, and drop what its client has not taken."""
        wire = subscriber.wire
        assert wire
        self._forget(subscriber, reason)
        wire.abort()

    def _end_access(self, subscriber: Subscriber, why: str, reason: str) -> None:
        """End a stream whose client may no longer have it. A normal one is told the `reason`."""
        self.finish(subscriber, why, b"" if subscriber.plain else hub_events.auth(reason))

    def _forget(self, subscriber: Subscriber, reason: str) -> None:
        if subscriber.live and subscriber.cohort is not None:
            subscriber.cohort.leave(subscriber)  # so that it says where it stood
        now, state = self.loop.time(), state_of(subscriber, self.log.resets)
        subscriber.open = False
        if subscriber.cohort is None:
            return
        self.catch_up.stop(subscriber)
        self.rounds.remove(subscriber)
        subscriber.timeline.note(now, "ended", subscriber.stands, reason)
        if state is not None:
            self.ended.add(state._replace(state="ended", ended=now, reason=reason))
        self._deadlines.unwatch(subscriber)
        self.bearers.remove(subscriber)
        self.metrics.ended.labels(reason).inc()
        self.tally.remove(subscriber)
        log_ended(subscriber, reason, now - subscriber.opened)

    def _farewell(self) -> bytes:
        # Without another node, no client can reconnect until the process is back. So the
        # streams end at once, and their `retry:` values are spread.
        retry = self.settings.retry
        return hub_events.spread_retry(
            retry, retry * JITTER if self.engine.has_peers else self.settings.drain
        )

    async def drain(self) -> None:
        """Finish publishes, end all streams properly, close the engine. Callers share one drain."""
        if self._drain is None:
            self.stopping.set()
            self.tally.drain()
            self._drain = start(self._drain_once())
        await asyncio.shield(self._drain)

    async def _drain_once(self) -> None:
        if self.companion is not None:
            await self.companion.drain()
        await self._until(lambda: not self.log.publishing, self.settings.engine_timeout)
        await self._until(lambda: not self.rounds.busy, END_TIMEOUT)
        subscribers = self.rounds.cohorts.subscribers()
        random.shuffle(subscribers)
        started = self.loop.time()
        spread = True
        for index, subscriber in enumerate(subscribers):
            due = started + self.settings.drain * index / len(subscribers) if spread else started
            spread = await self._wait_for_turn(due) and spread
            if subscriber.open:
                self.finish(subscriber, "drain", self._farewell())
        # The caller may stop the server next. A program's `on_last` is called for these streams, too.
        await self.tally.flush()
        await self._until(lambda: not (self._ending or self._tasks), END_TIMEOUT)
        self._drains.unregister(self)
        await self.engine.close()

    async def _wait_for_turn(self, due: float) -> bool:
        """
        Wait until `due`; yield to the event loop now and then in any case.

        Return False as soon as clients that reconnect find no other node.
        """
        while self.engine.has_peers:
            wait = due - self.loop.time()
            if wait <= 0:
                break
            await asyncio.sleep(min(wait, PEERS_EVERY))
        if self.loop.time() - due > STEP:
            await asyncio.sleep(0)
        return self.engine.has_peers

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        for _ in range(round(seconds / POLL)):
            if done():
                return
            await asyncio.sleep(POLL)

    # -- for programs

    def subscribers(self, topic: str) -> int:
        """Return how many streams of all nodes of the log match `topic`."""
        here = sum(len(cohort) for cohort in self.rounds.cohorts.matching(topic))
        return self.tally.of_topic(topic, here)

    def streams(self) -> Iterator[OpenStream]:
        """Describe the streams that are open, in no order. Some may end before they are reached."""
        now, wall = self.loop.time(), time.time()
        for subscriber in self.rounds.cohorts.subscribers():
            if subscriber.open:
                yield describe(subscriber, self.window, now, wall)

    def states(self) -> Iterator[StreamState]:
        """As `streams`, with all there is to know; a caller may do other work in between."""
        for cohort in list(self.rounds.cohorts):
            for subscriber in (*cohort.members, *cohort.behind):
                if (state := state_of(subscriber, self.log.resets)) is not None:
                    yield state

    def end_stream(self, number: int, reason: str) -> bool:
        """End one open stream of this node; a normal one is told the reason. Return whether there is one."""
        for subscriber in self.rounds.cohorts.subscribers():
            if subscriber.open and subscriber.number == number:
                self._end_access(subscriber, "kicked", reason)
                return True
        return False

    def subscribers_of(self, topic: str) -> list[Subscriber]:
        return [
            item
            for cohort in self.rounds.cohorts.matching(topic)
            for item in (*cohort.members, *cohort.behind)
        ]

    def add_hook(self, hook: TopicHook) -> None:
        """Add a hook. It starts with the streams that are open."""
        self.tally.add_hook(hook)


def not_judged() -> Unavailable:
    return Unavailable("where the stream starts is not known yet", code="engine_unavailable", retry_after=1)


async def run_after(work: Callable[[], Awaitable[None]]) -> None:
    """Run what a program wants done after a stream whose request is long over. An exception is logged."""
    try:
        await work()
    except Exception:
        logger.exception("a background task of a stream failed")
