"""
The log as this node has it: its engine, and the window of the newest entries.

Publishes go in here, what the engine tells comes in here, and here it is judged
where a stream begins. What came is passed on to a follower, which has streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from . import frames
from .engines import Engine
from .errors import TidewireError, Unavailable, Unknown
from .event_stream import RETRY_MIN, check_publish_type, check_retry
from .metrics import Metrics
from .position import Position
from .settings import Settings
from .topics import Selector
from .window import Draft, Entry, Head, Marks, Page, Receipt, Since, Verdict, Window

# Pages looked through for one page of history; beyond them it says `more`.
HISTORY_PAGES = 16


class Follower(Protocol):
    """Who is told what happens to the log: the node."""

    def came(self, batch: Sequence[Entry]) -> None:
        """The window has `batch`."""

    def going_back(self) -> None:
        """The log is about to be another one; positions still are those of the old one."""

    def went_back(self) -> None:
        """It is another one now."""

    def came_up(self) -> None:
        """The engine can be reached again."""


class Log:
    """
    Engine and window. It is the engine's sink.

    `publishing`: how many publishes are under way. `resets`: how often the log
    went back; who waited meanwhile looks whether it changed.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics, follower: Follower) -> None:
        self.engine = engine
        self.window = Window(settings.window_entries, settings.window_bytes)
        self.up = False
        self.publishing = 0
        self.resets = 0
        self._settings = settings
        self._metrics = metrics
        self._follower = follower
        self._reached: list[tuple[int, asyncio.Future[None]]] = []

    async def open(self) -> None:
        self.window.reset(await self.engine.open(self))
        self.up = True

    # -- what the engine tells (Sink)

    def entries(self, batch: Sequence[Entry]) -> None:
        if self.engine.shared:
            self._metrics.bad_events.inc(sum(map(drop_bad_fields, batch)))
        self.window.append(batch)
        self._follower.came(batch)
        if self._reached:
            self._resolve_reached()

    def trimmed(self, floor: int, marks: Marks) -> None:
        self.window.trimmed(floor, marks)

    def reset(self, head: Head) -> None:
        self._follower.going_back()
        self.resets += 1
        self.window.reset(head)
        # Who waits for an offset of the old log would wait for ever.
        for _, future in self._reached:
            if not future.done():
                future.set_result(None)
        self._reached.clear()
        self._follower.went_back()

    def available(self, up: bool) -> None:
        self.up = up
        if up:
            self._follower.came_up()

    # -- publishing

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """
        Store all drafts or none and return their receipts.

        Raise `Unavailable` (nothing is stored), `Unknown` (the
        engine did not answer in time) or what the engine refuses.
        """
        if not self.up:
            raise Unavailable("the engine cannot be reached", code="engine_unavailable", retry_after=1)
        if self.publishing >= self._settings.max_publishes:
            raise Unavailable("too many publishes are waiting for the engine", code="busy", retry_after=1)
        self.publishing += 1
        resets = self.resets
        try:
            async with asyncio.timeout(self._settings.engine_timeout):
                receipts = await self.engine.append(drafts)
                last = max((receipt.position.offset for receipt in receipts), default=0)
                if last > self.window.head:
                    await self._wait_for(last)
        except TimeoutError:
            raise self._unknown("the engine did not answer in time") from None
        finally:
            self.publishing -= 1
        if resets != self.resets:
            raise self._unknown("the log went back meanwhile")
        duplicates = sum(receipt.duplicate for receipt in receipts)
        self._metrics.published.inc(len(receipts) - duplicates)
        self._metrics.duplicates.inc(duplicates)
        return receipts

    def _unknown(self, what: str) -> Unknown:
        self._metrics.unknown.inc()
        return Unknown(f"{what}; publish again with a key to be sure", retry_after=1)

    async def _wait_for(self, offset: int) -> None:
        """Wait until the window has `offset`: an acknowledged id can be resumed from at once."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reached.append((offset, future))
        await future

    def _resolve_reached(self) -> None:
        head = self.window.head
        for offset, future in self._reached:
            if offset <= head and not future.done():
                future.set_result(None)
        self._reached = [item for item in self._reached if item[0] > head]

    # -- reading

    async def read(self, after: int, limit: int, selector: Selector) -> Page:
        """Return a page of the engine's."""
        page = await self.engine.read(after, limit, selector)
        if self.engine.shared and sum(map(drop_bad_fields, page.entries)):
            page = page._replace(entries=[entry for entry in page.entries if selector.matches(entry.topic)])
        return page

    async def history(self, selector: Selector, claim: Since | Position, limit: int) -> dict[str, Any]:
        """Return a page of the log as the JSON page shows it. Raise `Unavailable`."""
        if self.up:
            try:
                async with asyncio.timeout(self._settings.engine_timeout):
                    return await self._history(selector, claim, limit)
            except TimeoutError:
                pass
        raise Unavailable("the engine cannot be reached", code="engine_unavailable", retry_after=1)

    async def _history(self, selector: Selector, claim: Since | Position, limit: int) -> dict[str, Any]:
        if not self.can_judge(claim):
            claim = await self.locate(claim, selector, self.window.head)
        verdict = self.verdict(claim, selector)
        gap = None if verdict.reason is None else self._gap_data(verdict, claim)
        after = verdict.offset
        entries: list[Entry] = []
        for _ in range(HISTORY_PAGES):
            page = await self.read(after, limit - len(entries), selector)
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

    # -- judging where a stream begins

    def can_judge(self, claim: Since | Position) -> bool:
        """Whether this node can say now, and without its engine, where `claim` goes on."""
        if isinstance(claim, Since):
            return not claim.asks_engine
        # What is beyond the head here may have come from a node that is ahead of this one.
        return self.up and not (self.engine.shared and claim.offset > self.window.head)

    async def locate(self, claim: Since | Position, selector: Selector, head: int) -> Since | Position:
        """
        Ask the engine where `claim` begins; for a position, catch up with the engine.

        `head` was the head when it was asked for: what came since is never left out.
        """
        resets = self.resets
        since = claim if isinstance(claim, Since) else Since("now")
        offset = await self.engine.locate(since, selector)
        if since is not claim and offset > self.window.head:
            await self._wait_for(offset)
        if resets != self.resets:
            return await self.locate(claim, selector, head)
        return Since("after", min(offset, head)) if since is claim else claim

    def verdict(self, claim: Since | Position | None, selector: Selector) -> Verdict:
        if isinstance(claim, Position):
            return self.window.judge(claim, selector)
        if claim is None or claim.kind == "invalid":
            return self.window.judge(None, selector)
        if claim.kind == "after":
            return Verdict(int(claim.value))
        return Verdict(self.window.floor - 1 if claim.kind == "start" else self.window.head)

    def told_all(self, selector: Selector, verdict: Verdict) -> bool:
        """Whether a stream that goes on from `verdict` would have nothing to say, now and ever."""
        if verdict.reason is not None or not self.window.all_ended(selector):
            return False
        return all(self.window.end_of(topic) <= verdict.offset for topic in selector.topics)

    def gap(self, verdict: Verdict, claim: Since | Position | None) -> bytes:
        self._metrics.gaps.labels(verdict.reason).inc()
        return frames.gap(self._gap_data(verdict, claim), self.window.position(verdict.offset))

    def _gap_data(self, verdict: Verdict, claim: Since | Position | None) -> dict[str, Any]:
        window = self.window
        requested = {"requested": str(claim)} if isinstance(claim, Position) else {}
        oldest = str(window.position(window.floor)) if window.floor <= window.head else None
        head = str(window.position(window.head))
        terms = list(verdict.terms)
        return {"reason": verdict.reason, **requested, "oldest": oldest, "head": head, "topics": terms}


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
