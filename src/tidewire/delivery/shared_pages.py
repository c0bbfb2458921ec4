"""
Pages of the log that subscribers at the same position share.

Rule 1: the first subscriber reads the page; the others wait for it, or find it.
Rule 2: a page that nobody waits for any more gives up its turn.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from ..log.entries import Page
from ..log.reading import LogReader
from ..log.turns import Account
from ..topics import Selector
from .tasks import Tasks

# Entries in one page that the engine returns.
PAGE = 256
# Pages kept for subscribers that resume from the same position.
KEPT = 64


class SharedPage:
    """A page, read or being read, and how many subscribers wait for it."""

    __slots__ = ("page", "waiting")

    def __init__(self, page: asyncio.Future[Page]) -> None:
        self.page = page
        self.waiting = 0


class SharedPages:
    def __init__(self, reader: LogReader, tasks: Tasks) -> None:
        self._reader = reader
        self._tasks = tasks
        self._pages: OrderedDict[tuple[int, Selector], SharedPage] = OrderedDict()

    def clear(self) -> None:
        self._pages.clear()

    async def get(self, account: Account, after: int, selector: Selector) -> Page:
        """Return the page after `after`. If it must be read, `account` pays. Raises `Unavailable`."""
        key = after, selector
        shared = self._pages.get(key)
        if shared is None or failed(shared.page):
            page = self._tasks.spawn(self._reader.page(account, after, PAGE, selector))
            shared = self._pages[key] = SharedPage(page)
            if len(self._pages) > KEPT:
                self._pages.popitem(last=False)
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.page)
        finally:
            shared.waiting -= 1
            if not shared.waiting and shared.page.cancel():
                # The next subscriber must not wait for a page that will never come.
                self._forget(key, shared)

    def _forget(self, key: tuple[int, Selector], shared: SharedPage) -> None:
        if self._pages.get(key) is shared:
            del self._pages[key]


def failed(page: asyncio.Future[Page]) -> bool:
    return page.done() and (page.cancelled() or page.exception() is not None)
