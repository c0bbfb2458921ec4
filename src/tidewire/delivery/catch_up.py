"""
Catching up: each subscriber that is behind reads the log from its position, at its own speed.

A new stream, a resumed one, a slow one and one whose engine was down are all the
same here. Subscribers at the same position share one read and one join.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from .. import hub_events
from ..errors import Gone, Unavailable
from ..log.entries import Entry, Page, Since, frames_of
from ..log.node_log import NodeLog
from ..log.overtaken import Overtaken
from ..log.reading import LogReader, Prepared
from ..log.turns import Account
from ..log.window import Verdict
from ..position import Position
from .cohort import Cohort
from .framing import framed
from .joins import JOIN_BYTES
from .rounds import Rounds, position_due
from .shared_pages import SharedPages
from .subscriber import Subscriber
from .tasks import Tasks

logger = logging.getLogger("tidewire")

# Replays kept for subscribers that resume from the same position.
SHARED = 64
# Seconds until a subscriber reads again after the engine failed without going down.
READ_AGAIN = 1.0


class Replay(NamedTuple):
    """What a subscriber that is behind gets next: joined and framed once for all that need the same."""

    chunk: bytes
    through: int
    events: int
    announced: int | None  # the offset of its last id
    ended: bool  # its last frame is a hub.end


class CatchUp:
    """Brings subscribers on until they can join their cohort. `heartbeat` is in seconds."""

    def __init__(
        self, log: NodeLog, reader: LogReader, rounds: Rounds, tasks: Tasks, heartbeat: float
    ) -> None:
        self._log = log
        self._reader = reader
        self._window = log.window
        self._rounds = rounds
        self._tasks = tasks
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._replays: OrderedDict[tuple[Cohort, int, int], Replay] = OrderedDict()
        self._pages = SharedPages(reader, tasks)

    def forget(self) -> None:
        """Drop what was read: the log is a different one now."""
        self._replays.clear()
        self._pages.clear()

    def stop(self, subscriber: Subscriber) -> None:
        """Stop reading for a subscriber that is gone."""
        if subscriber.reading is not None:
            subscriber.reading.cancel()

    # -- one step

    def advance(self, subscriber: Subscriber) -> None:
        """Take one step for a subscriber that is behind: a write, a page, or joining its cohort."""
        cohort = subscriber.cohort
        if (
            not subscriber.open
            or subscriber.live
            or subscriber.paused
            or subscriber.reading is not None
            or cohort is None
        ):
            return
        if subscriber.claim is not None:
            self._advance_unsettled(subscriber, subscriber.claim)
        elif subscriber.offset >= cohort.last:
            subscriber.finish("run")
        elif not self._window.holds(subscriber.offset):
            self._advance_beyond_window(subscriber)
        elif subscriber.offset < cohort.sent:
            self._replay(subscriber, cohort, cohort.sent)
            self._rounds.wake(subscriber)
        elif subscriber.offset > cohort.sent:
            self._rounds.wait(subscriber, cohort)
        elif cohort.is_finished:
            self._finish_ended(subscriber)
        else:
            self._rounds.join(subscriber, cohort)

    def _advance_unsettled(self, subscriber: Subscriber, claim: Since | Position) -> None:
        if self._log.can_judge(claim, subscriber.selector):
            self._settle_open(subscriber)
            self._rounds.wake(subscriber)
        elif self._log.up:
            self._read(subscriber)

    def _advance_beyond_window(self, subscriber: Subscriber) -> None:
        offset, selector = subscriber.offset, subscriber.selector
        if offset >= self._window.floor - 1 or self._window.must_search(offset, selector):
            self._read(subscriber)
            return
        self._move(subscriber, self._window.overtaken(offset, selector))
        self._rounds.wake(subscriber)

    def _move(self, subscriber: Subscriber, verdict: Verdict) -> None:
        """Move a subscriber that retention overtook to what is kept; tell of a gap if it missed something."""
        stood = self._window.position(subscriber.offset)
        if verdict.reason is not None and subscriber.plain:
            self._cut(subscriber, self._log.gone(verdict, stood))
            return
        subscriber.offset = verdict.offset
        if verdict.reason is not None:
            subscriber.announced = verdict.offset
            subscriber.timeline.note(self._loop.time(), "gap", verdict.offset, verdict.reason, stood.offset)
            self.write(subscriber, self._log.gap(verdict, stood))

    def _cut(self, subscriber: Subscriber, gap: Gone) -> None:
        """End a plain stream that cannot continue. Its client is told why when it comes back."""
        logger.debug("a plain stream is cut off: %s", gap.members["reason"])
        subscriber.finish("gap")

    def _finish_ended(self, subscriber: Subscriber) -> None:
        """End a stream whose topics have all ended, after a hub.end for each unless it is plain."""
        last = b""
        if not (subscriber.end_sent or subscriber.plain):
            at = self._window.position(subscriber.offset)
            last = b"".join(hub_events.end(topic, "ended", at) for topic in subscriber.selector.terms)
        subscriber.finish("topic", last)

    # -- where it starts

    def settle(self, subscriber: Subscriber, search: Overtaken | None = None) -> bytes:
        """
        Judge the claim of a subscriber. Return the events that tell its client where the stream starts.

        `search` is what `LogReader.prepare` found. Raises `Gone` if a plain stream would have a gap.
        """
        claim, verdict = subscriber.claim, self._log.verdict(subscriber.claim, subscriber.selector, search)
        if verdict.reason is not None and subscriber.plain:
            raise self._log.gone(verdict, claim)
        subscriber.claim = None
        subscriber.offset = verdict.offset
        at = self._window.position(verdict.offset)
        resume, first = "complete", b""
        if verdict.reason is not None:
            resume, first = "gap", self._log.gap(verdict, claim)
        elif isinstance(claim, Since) and not subscriber.plain:
            resume, first = "fresh", hub_events.position(at)
        if first or subscriber.plain:
            subscriber.announced = verdict.offset
        elif isinstance(claim, Position):
            subscriber.announced = min(subscriber.announced, claim.offset)
        subscriber.life = self._window.life_of(subscriber.announced)
        if subscriber.wants_hub_open:
            subscriber.wants_hub_open = False
            first = hub_events.opened(self._heartbeat, resume, at) + first
        how = verdict.reason or ("fresh" if isinstance(claim, Since) else "complete")
        subscriber.timeline.note(self._loop.time(), "judged", verdict.offset, how)
        return first

    def _settle_open(self, subscriber: Subscriber, search: Overtaken | None = None) -> None:
        """Judge the claim of a subscriber whose stream has begun, and tell its client the result."""
        try:
            first = self.settle(subscriber, search)
        except Gone as gap:
            self._cut(subscriber, gap)
        else:
            self.write(subscriber, first)

    def keep_alive(self, subscriber: Subscriber) -> None:
        """Send a heartbeat to a subscriber that is behind."""
        data = hub_events.HEARTBEAT
        judged = subscriber.claim is None and not subscriber.plain
        if judged and position_due(self._window, subscriber.announced, subscriber.offset):
            data = hub_events.position(self._window.position(subscriber.offset))
            subscriber.announced = subscriber.offset
        self.write(subscriber, data)

    # -- from the window

    def _replay(self, subscriber: Subscriber, cohort: Cohort, through: int, page: Page | None = None) -> None:
        """Write what comes next, through `through` at most: one join of entries of the window or `page`."""
        after, selector = subscriber.offset, cohort.selector
        replay = self._replays.get((cohort, after, through))
        if replay is None:
            if page is None:
                joined = self._window.read(after, through, selector, JOIN_BYTES)
            else:
                joined = page.read(after, selector, JOIN_BYTES)
            replay = self._replays[cohort, after, through] = join_replay(*joined, cohort)
            if page is not None:
                self._window.forget_frames(joined[0])
            if len(self._replays) > SHARED:
                self._replays.popitem(last=False)
        self._write_replay(subscriber, replay)

    def _write_replay(self, subscriber: Subscriber, replay: Replay) -> None:
        subscriber.offset = replay.through
        if replay.chunk:
            subscriber.end_sent = replay.ended
            subscriber.events += replay.events
            subscriber.announced = replay.announced or subscriber.announced
            self._put(subscriber, replay.chunk)

    # -- from the engine

    def _read(self, subscriber: Subscriber) -> None:
        """Start a task in which a subscriber reads pages from the engine."""
        subscriber.reading = self._tasks.spawn(self._read_in_task(subscriber))

    async def _read_in_task(self, subscriber: Subscriber) -> None:
        try:
            with self._reader.turns.account(client_of(subscriber)) as account:
                await self._settle_in_task(account, subscriber)
                await self._read_pages(account, subscriber)
        except Unavailable:
            subscriber.reading = None
            # If the engine is down, `on_engine_up` wakes all subscribers that are behind.
            if self._log.up:
                self._loop.call_later(READ_AGAIN, self._rounds.wake, subscriber)
        except Exception:
            logger.exception("cannot read a page of the log")
            subscriber.reading = None
            if subscriber.open:
                subscriber.finish("engine")
        else:
            subscriber.reading = None
            self._rounds.wake(subscriber)

    async def prepare(self, subscriber: Subscriber, claim: Since | Position) -> Prepared:
        """Find out what judging the claim of a subscriber needs. Raises `Unavailable`."""
        with self._reader.turns.account(client_of(subscriber)) as account:
            return await self._reader.prepare(account, claim, subscriber.selector, subscriber.offset)

    async def _settle_in_task(self, account: Account, subscriber: Subscriber) -> None:
        if subscriber.claim is not None:
            claim, selector, head = subscriber.claim, subscriber.selector, subscriber.offset
            subscriber.claim, search = await self._reader.prepare(account, claim, selector, head)
            if subscriber.open and not subscriber.paused:
                self._settle_open(subscriber, search)

    async def _read_pages(self, account: Account, subscriber: Subscriber) -> None:
        while self._reads_on(subscriber) and not self._window.holds(subscriber.offset):
            if subscriber.offset < self._window.floor - 1:
                await self._skip_trimmed(account, subscriber)
            else:
                await self._read_page(account, subscriber)
            await asyncio.sleep(0)

    async def _skip_trimmed(self, account: Account, subscriber: Subscriber) -> None:
        offset, selector = subscriber.offset, subscriber.selector
        search = await self._reader.search(account, offset, selector)
        if self._reads_on(subscriber):
            self._move(subscriber, self._window.overtaken(offset, selector, search))

    async def _read_page(self, account: Account, subscriber: Subscriber) -> None:
        page = await self._pages.get(account, subscriber.offset, subscriber.selector)
        if subscriber.offset < page.floor - 1:
            return
        assert subscriber.cohort
        page = within(page, subscriber.cohort.last)
        while subscriber.offset < page.through and self._reads_on(subscriber):
            assert subscriber.cohort
            self._replay(subscriber, subscriber.cohort, page.through, page)
            await asyncio.sleep(0)

    def _reads_on(self, subscriber: Subscriber) -> bool:
        cohort = subscriber.cohort
        over = cohort is None or subscriber.offset >= cohort.last
        return subscriber.open and not subscriber.paused and subscriber.claim is None and not over

    # -- writing

    def write(self, subscriber: Subscriber, data: bytes) -> None:
        """Write bytes that are for this subscriber alone."""
        assert subscriber.cohort
        if data:
            self._put(subscriber, framed(data, subscriber.cohort.framing))

    def _put(self, subscriber: Subscriber, chunk: bytes) -> None:
        assert subscriber.wire
        subscriber.silent_since = self._loop.time()
        try:
            subscriber.wire.write(chunk)
        except Exception:
            # A closed transport raises; that must not end the step for the other subscribers.
            subscriber.lost()


def client_of(subscriber: Subscriber) -> Hashable:
    """Return what stands for the client of a stream: its address, or the stream itself if that is unknown."""
    return subscriber.address or subscriber


def within(page: Page, last: float) -> Page:
    """Return the part of a page through the offset `last`, where a run ends."""
    if page.through <= last:
        return page
    return page._replace(entries=[e for e in page.entries if e.offset <= last], through=int(last))


def join_replay(entries: Sequence[Entry], through: int, cohort: Cohort) -> Replay:
    if cohort.plain:
        entries = [entry for entry in entries if not entry.is_control]
    if not entries:
        return Replay(b"", through, 0, None, False)
    data = frames_of(entries, with_topic=not cohort.selector.single)
    last = entries[-1]
    return Replay(framed(data, cohort.framing), through, len(entries), last.offset, last.end)
