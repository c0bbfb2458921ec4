"""
Readers that are behind: each reads the log from its position, at its own speed.

A new stream, one that resumes, a slow one and one whose engine was away are the
same thing here. Those who read from the same position share one read and one join.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from .. import hub_events
from ..errors import Unavailable
from ..log.entries import Entry, Page, Since
from ..log.node_log import Log
from ..log.window import Verdict
from ..position import Position
from ..topics import Selector
from .cohort import JOIN_BYTES, Cohort
from .framing import framed
from .rounds import Rounds, heartbeat
from .subscriber import Subscriber

logger = logging.getLogger("tidewire")

# Entries in one page of the engine's.
PAGE = 256
# Replays and pages shared by readers that resume from the same position.
SHARED = 64
# Readers of the engine's pages at once; the others wait their turn.
READERS = 16
# A reader whose engine failed, though it is said to be up, tries again after this time.
READ_AGAIN = 1.0


class Replay(NamedTuple):
    """What a reader that is behind gets next, joined and framed once for all who need the same."""

    chunk: bytes
    through: int
    announced: int | None  # the offset of its last id
    ended: bool  # its last frame is a hub.end


class Finish(Protocol):
    """How a stream is ended: the node's way."""

    def __call__(self, subscriber: Subscriber, reason: str, last: bytes = b"", /) -> None: ...


class Readers:
    """
    Brings subscribers on until they can join their cohort.

    `rounds` is given when the node is open. `spawn` starts a task that the node
    cancels when it closes.
    """

    def __init__(
        self,
        log: Log,
        seconds: float,
        finish: Finish,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Future[Any]],
    ) -> None:
        self._log = log
        self._window = log.window
        self._heartbeat = seconds
        self._finish = finish
        self._spawn = spawn
        self.rounds: Rounds
        self._loop = asyncio.get_running_loop()
        self._replays: OrderedDict[tuple[Cohort, int, int], Replay] = OrderedDict()
        self._pages: OrderedDict[tuple[int, Selector], asyncio.Future[Page]] = OrderedDict()
        self._readers = asyncio.Semaphore(READERS)

    def forget(self) -> None:
        """Let go of what was read: the log is another one."""
        self._replays.clear()
        self._pages.clear()

    # -- one step

    def advance(self, subscriber: Subscriber) -> None:
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
        elif not self._window.holds(subscriber.offset):
            self._advance_beyond_window(subscriber)
        elif subscriber.offset < cohort.sent:
            self._replay(subscriber, cohort, cohort.sent)
            self.rounds.wake(subscriber)
        elif subscriber.offset > cohort.sent:
            cohort.waiting.append(subscriber)
        elif self._window.all_ended(cohort.selector) and not cohort.pending:
            self._finish_ended(subscriber)
        else:
            self.rounds.join(subscriber, cohort)

    def _advance_unsettled(self, subscriber: Subscriber, claim: Since | Position) -> None:
        if self._log.can_judge(claim):
            self.write(subscriber, self.settle(subscriber))
            self.rounds.wake(subscriber)
        elif self._log.up:
            self._read(subscriber)

    def _advance_beyond_window(self, subscriber: Subscriber) -> None:
        verdict = self._window.overtaken(subscriber.offset, subscriber.selector)
        if verdict.offset == subscriber.offset:
            self._read(subscriber)
            return
        self._move(subscriber, verdict)
        self.rounds.wake(subscriber)

    def _move(self, subscriber: Subscriber, verdict: Verdict) -> None:
        """Set a reader that retention overtook to what is kept, and tell it if it missed something."""
        stood = self._window.position(subscriber.offset)
        subscriber.offset = verdict.offset
        if verdict.reason is not None:
            subscriber.announced = verdict.offset
            self.write(subscriber, self._log.gap(verdict, stood))

    def _finish_ended(self, subscriber: Subscriber) -> None:
        """End a stream whose topics have all ended, after it was told so."""
        told = b""
        if not subscriber.ended:
            at = self._window.position(subscriber.offset)
            told = b"".join(hub_events.end(topic, "ended", at) for topic in subscriber.selector.terms)
        self._finish(subscriber, "topic", told)

    # -- where it stands

    def settle(self, subscriber: Subscriber) -> bytes:
        """Judge what the client brought; return the frames that tell it where it stands."""
        claim, verdict = subscriber.claim, self._log.verdict(subscriber.claim, subscriber.selector)
        subscriber.claim = None
        subscriber.offset = verdict.offset
        at = self._window.position(verdict.offset)
        resume, told = "complete", b""
        if verdict.reason is not None:
            resume, told = "gap", self._log.gap(verdict, claim)
        elif isinstance(claim, Since):
            resume, told = "fresh", hub_events.position(at)
        if told:
            subscriber.announced = verdict.offset
        elif isinstance(claim, Position):
            subscriber.announced = min(subscriber.announced, claim.offset)
        subscriber.life = self._window.life_of(subscriber.announced)
        if subscriber.opened:
            subscriber.opened = False
            told = hub_events.opened(self._heartbeat, resume, at) + told
        return told

    def keep_alive(self, subscriber: Subscriber) -> None:
        """Fill the silence of one that is behind."""
        frame = hub_events.HEARTBEAT
        if subscriber.claim is None:
            frame, subscriber.announced = heartbeat(self._window, subscriber.announced, subscriber.offset)
        self.write(subscriber, frame)

    # -- what the window holds

    def _replay(self, subscriber: Subscriber, cohort: Cohort, through: int, page: Page | None = None) -> None:
        """Give a reader what comes next, through `through`: one join, of the window's entries or a page's."""
        after, selector = subscriber.offset, cohort.selector
        replay = self._replays.get((cohort, after, through))
        if replay is None:
            if page is None:
                joined = self._window.read(after, through, selector, JOIN_BYTES)
            else:
                joined = page.read(after, selector, JOIN_BYTES)
            replay = self._replays[cohort, after, through] = join_replay(*joined, cohort)
            self._window.forget_frames(joined[0])
            if len(self._replays) > SHARED:
                self._replays.popitem(last=False)
        self._give(subscriber, replay)

    def _give(self, subscriber: Subscriber, replay: Replay) -> None:
        subscriber.offset = replay.through
        if replay.chunk:
            subscriber.ended = replay.ended
            subscriber.announced = replay.announced or subscriber.announced
            self._put(subscriber, replay.chunk)

    # -- what only the engine has

    def _read(self, subscriber: Subscriber) -> None:
        """Let a subscriber read the engine, which is not done within this step."""
        subscriber.reading = True
        self._spawn(self._read_pages(subscriber))

    async def _read_pages(self, subscriber: Subscriber) -> None:
        try:
            async with self._readers:
                if subscriber.claim is not None:
                    claim, selector, head = subscriber.claim, subscriber.selector, subscriber.offset
                    subscriber.claim = await self._log.locate(claim, selector, head)
                    if subscriber.open and not subscriber.paused:
                        self.write(subscriber, self.settle(subscriber))
                while subscriber.claim is None and subscriber.open and not subscriber.paused:
                    if self._window.holds(subscriber.offset):
                        break
                    await self._read_page(subscriber)
                    await asyncio.sleep(0)
        except Unavailable:
            subscriber.reading = False
            # Otherwise `available` wakes all who are behind.
            if self._log.up:
                self._loop.call_later(READ_AGAIN, self.rounds.wake, subscriber)
        except Exception:
            logger.exception("a page of the log could not be read")
            subscriber.reading = False
            if subscriber.open:
                self._finish(subscriber, "engine")
        else:
            subscriber.reading = False
            self.rounds.wake(subscriber)

    async def _read_page(self, subscriber: Subscriber) -> None:
        page = await self._page(subscriber.offset, subscriber.selector)
        if subscriber.offset < page.floor - 1 and self._reads_on(subscriber):
            self._move(subscriber, self._window.overtaken(subscriber.offset, subscriber.selector))
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
            page = self._spawn(self._log.read(after, PAGE, selector))
            self._pages[after, selector] = page
            if len(self._pages) > SHARED:
                self._pages.popitem(last=False)
        shared: asyncio.Future[Page] = asyncio.shield(page)
        return shared

    # -- writing

    def write(self, subscriber: Subscriber, data: bytes) -> None:
        """Write bytes that only this subscriber gets."""
        assert subscriber.cohort
        if data:
            self._put(subscriber, framed(data, subscriber.cohort.framing))

    def _put(self, subscriber: Subscriber, chunk: bytes) -> None:
        assert subscriber.wire
        subscriber.silent_since = self._loop.time()
        try:
            subscriber.wire.write(chunk)
        except Exception:
            # A closed transport raises; it must not end the step of all others.
            subscriber.lost()


def join_replay(entries: Sequence[Entry], through: int, cohort: Cohort) -> Replay:
    if not entries:
        return Replay(b"", through, None, False)
    with_topic = not cohort.selector.single
    data = b"".join(entry.frame(with_topic) for entry in entries)
    last = entries[-1]
    return Replay(framed(data, cohort.framing), through, last.offset, last.end)
