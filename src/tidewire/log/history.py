"""
Pages of the log as JSON: what `GET` with `Accept: application/json` returns.

Rule 1: a page is answered in a limited time, with the part of the log that was looked through by
        then. `next` is where it got to, and `more` says whether there is more to look through.
Rule 2: a page has what any node had stored before it was asked for.
Rule 3: what retention trims while a page is read is a gap of the next page.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any

from ..position import Position
from ..topics import Selector
from .entries import Entry, Since
from .last_events import LastEvents
from .node_log import NodeLog, unreachable
from .reading import LogReader, Prepared
from .turns import Account

# The part of the engine's timeout after which a page is answered with what was found by then.
PART = 0.5


class History:
    """Answers requests for pages. `timeout` is the engine's, in seconds."""

    def __init__(self, log: NodeLog, reader: LogReader, timeout: float) -> None:
        self._log = log
        self._window = log.window
        self._reader = reader
        self._time = timeout * PART

    async def page(
        self, selector: Selector, claim: Since | Position, limit: int, client: Hashable
    ) -> dict[str, Any]:
        """Return a page with at most `limit` events. Raises `Unavailable` if the engine cannot be reached."""
        if not self._log.up:
            raise unreachable()
        with self._reader.turns.account(client) as account:
            return await self._page(account, selector, claim, limit)

    async def _page(
        self, account: Account, selector: Selector, claim: Since | Position, limit: int
    ) -> dict[str, Any]:
        until = asyncio.get_running_loop().time() + self._time
        asked = claim
        if self._log.engine.shared:
            async with limited(until):
                await self._reader.look(account)
        claim, search = await self._prepare(account, claim, selector, until)
        verdict = self._log.verdict(claim, selector, search)
        gap = None if verdict.reason is None else self._log.gap_data(verdict, claim)
        entries: list[Entry] = []
        after, pages = verdict.offset, 0
        async with limited(until, or_with=lambda: pages):
            # The engine is always asked, so that a page is never answered while it is down.
            while not pages or (after < self._window.head and len(entries) < limit):
                page = await self._reader.page(account, after, limit - len(entries), selector)
                search = await self._reader.search(account, after, selector)
                if self._window.overtaken(after, selector, search).offset != after:
                    # Retention trimmed what comes next. The next page will report it.
                    if entries:
                        break
                    return await self._page(account, selector, asked, limit)
                entries += page.entries
                after, pages = page.through, pages + 1
        return self._answer(entries, after, selector, gap)

    async def _prepare(
        self, account: Account, claim: Since | Position, selector: Selector, until: float
    ) -> Prepared:
        if self._log.can_judge(claim, selector):
            return Prepared(claim, None)
        if isinstance(claim, Since) and claim.kind == "last":
            return await self._look_back(account, int(claim.value), selector, until - self._time / 2)
        async with limited(until):
            claim, search = await self._reader.prepare(account, claim, selector, self._window.head)
        return Prepared(claim, search)

    async def _look_back(self, account: Account, count: int, selector: Selector, until: float) -> Prepared:
        """Look for the newest `count` events; if that takes too long, start with those found by then."""
        resets, head = self._log.resets, self._window.head
        search = LastEvents(count, head)
        async with limited(until, or_with=lambda: search.last != head):
            await self._reader.look_back(account, search, selector)
        if resets != self._log.resets:
            return await self._look_back(account, count, selector, until)
        return Prepared(Since("after", search.last), None)

    def _answer(
        self, entries: list[Entry], after: int, selector: Selector, gap: dict[str, Any] | None
    ) -> dict[str, Any]:
        window = self._window
        events = [entry.as_event() for entry in entries]
        return {
            "events": [{"id": e.id, "topic": e.topic, "event": e.event, "data": e.data} for e in events],
            # Not the position of the last event: the page may have read many other entries after it.
            "next": str(window.position(after)),
            "head": str(window.position(window.head)),
            "more": after < window.head,
            "ended": window.all_ended(selector),
            "gap": gap,
        }


@contextlib.asynccontextmanager
async def limited(until: float, or_with: Callable[[], object] = lambda: False) -> AsyncIterator[None]:
    """
    Stop the block at `until`, on the loop's clock.

    Raises `Unavailable` then, unless `or_with()` says that there is something to answer with.
    """
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError:
        if not or_with():
            raise unreachable() from None
