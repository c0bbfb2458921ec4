"""
Reading what is not in the window, and judging what takes more than one step.

Everything here is done in turns, so what one client asks for does not hold up the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, TypeVar

from ..errors import TidewireError, Unavailable
from ..position import Position
from ..topics import Selector
from .entries import Page, Since
from .last_events import LastEvents
from .node_log import NodeLog
from .overtaken import Overtaken
from .turns import Account, Turns

logger = logging.getLogger("tidewire")

T = TypeVar("T")

# Seconds that one step of a search for trimmed entries takes. Several searches may each take one in the same
# step of the event loop, and a publish waits for all of them.
SEARCH_STEP = 0.001


class Prepared(NamedTuple):
    """A claim that the node can judge now, with what was found about retention."""

    claim: Since | Position
    search: Overtaken | None


class LogReader:
    """Reads `log` for streams that catch up and for requests for history. `timeout` is in seconds."""

    def __init__(self, log: NodeLog, timeout: float) -> None:
        self._log = log
        self._timeout = timeout
        self._now = asyncio.get_running_loop().time
        self.turns = Turns(self._now)

    async def page(self, account: Account, after: int, limit: int, selector: Selector) -> Page:
        """Return a page from the engine. Raises `Unavailable`."""
        return await self._ask(account, lambda: self._log.read(after, limit, selector))

    async def look(self, account: Account) -> None:
        """Wait until this node has what other nodes have stored by now. Raises `Unavailable`."""
        resets = self._log.resets
        newest = await self._ask(account, lambda: self._log.engine.locate(Since("now")))
        if resets != self._log.resets:
            # An offset of the old log may never be reached.
            await self.look(account)
        elif newest > self._log.window.head:
            await self._log.reach(newest)

    async def prepare(
        self, account: Account, claim: Since | Position, selector: Selector, head: int
    ) -> Prepared:
        """
        Find out what judging `claim` needs: ask the engine where it starts, catch up with the engine,
        search what retention took. Raises `Unavailable`.

        `head` was the head when the client asked: entries that came after it are never left out.
        """
        log, resets = self._log, self._log.resets
        if isinstance(claim, Position):
            if claim.offset > log.window.head:
                # It may come from a node that is ahead of this one.
                await self.look(account)
            if log.window.must_compare(claim):
                await self._compare(account, claim)
            search = await self.search(account, claim.offset, selector)
            return Prepared(claim, search)
        if claim.kind == "last":
            last = LastEvents(int(claim.value), log.window.head)
            await self.look_back(account, last, selector)
            offset = last.last
        else:
            offset = await self._ask(account, lambda: log.engine.locate(claim))
        if resets != log.resets:
            return await self.prepare(account, claim, selector, head)
        return Prepared(Since("after", min(offset, head)), None)

    async def _compare(self, account: Account, claim: Position) -> None:
        """Let the window know the check of the entry at a position. Raises `Unavailable`."""
        resets = self._log.resets
        try:
            page = await self._ask(account, lambda: self._log.engine.read(claim.offset - 1, 1, None))
        except TidewireError:
            raise
        except Exception:
            logger.exception("cannot read a page of the log")
            raise Unavailable("the log cannot be read", code="engine_failed", retry_after=1) from None
        if resets == self._log.resets and page.entries:
            self._log.window.learn(page.entries[0].position)

    async def look_back(self, account: Account, search: LastEvents, selector: Selector) -> None:
        """Go on with `search` until it is done: first in memory, then in the engine. Raises `Unavailable`."""
        window = self._log.window
        if not search.done and search.last == window.head and not selector.patterns:
            search.look(*window.newest(selector.topics, search.count))
        while not search.done:
            search.look(*await self._ask(account, partial(self._log.engine.look_back, search.last, selector)))
        if search.count and self._log.engine.shared:
            # Fewer are kept: start where the log does. Another node may have moved that; any page tells it.
            await self.page(account, window.head, 1, selector)

    async def search(self, account: Account, offset: int, selector: Selector) -> Overtaken | None:
        """Search what retention took from a stream at `offset`. None if judging that takes one step only."""
        if not self._log.window.must_search(offset, selector):
            return None
        resets, search = self._log.resets, Overtaken(selector, offset)
        while not await self.turns.run(account, partial(self._search_on, search)):
            if resets != self._log.resets:
                return await self.search(account, offset, selector)
        return search

    async def _search_on(self, search: Overtaken) -> bool:
        until = self._now() + SEARCH_STEP
        while not search.step(self._log.window.marks):
            if self._now() > until:
                return False
        return True

    async def _ask(self, account: Account, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the engine once it is this reader's turn."""
        return await self.turns.run(account, partial(self._answer, question))

    async def _answer(self, question: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                return await question()
        except TimeoutError:
            raise Unavailable(
                "the engine did not answer in time", code="engine_unavailable", retry_after=1
            ) from None
