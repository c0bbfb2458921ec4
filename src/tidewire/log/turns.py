"""
Who asks the engine next: fair turns, each for one page.

Rule 1: a turn is held for one step, such as a page, and never for a whole catch-up.
Rule 2: the reader that has used the least time goes first. So a resume that needs one page
        waits for a few pages of others, and not for their catch-ups.
Rule 3: the readers of one client count as one: first the client that has used the least time
        is chosen, then its reader that has.
Rule 4: a step that has begun keeps its turn until it is done, even if its reader is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from functools import partial
from heapq import heappop, heappush
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

# Steps at the same time. The SQLite engine reads with two threads: the third step keeps them busy.
AT_ONCE = 3


class Account:
    """What one reader has used: a stream that catches up, or a request for history. `used` is in seconds."""

    __slots__ = ("client", "used")

    def __init__(self, client: Hashable) -> None:
        self.client = client
        self.used = 0.0


class Waiting(NamedTuple):
    """A reader in the queue, with what it and its client had used when it was put there."""

    cost: tuple[float, float]
    number: int
    turn: asyncio.Future[None]
    account: Account


class Turns:
    """`now` is a clock, in seconds."""

    def __init__(self, now: Callable[[], float], at_once: int = AT_ONCE) -> None:
        self._now = now
        self._free = at_once
        self._queue: list[Waiting] = []  # a heap
        self._number = 0
        # Seconds used by each client that has readers, and how many readers those are.
        self._used: dict[Hashable, float] = {}
        self._readers: Counter[Hashable] = Counter()
        self._steps: set[asyncio.Future[Any]] = set()

    @contextlib.contextmanager
    def account(self, client: Hashable) -> Iterator[Account]:
        """Open an account for a reader of `client` for as long as the block runs."""
        self._readers[client] += 1
        self._used.setdefault(client, 0.0)
        try:
            yield Account(client)
        finally:
            self._readers[client] -= 1
            if not self._readers[client]:
                del self._readers[client], self._used[client]

    async def run(self, account: Account, step: Callable[[], Awaitable[T]]) -> T:
        """Wait for a turn, take a step, and return what it returns. Raises what it raises."""
        await self._wait(account)
        began = self._now()
        task = asyncio.ensure_future(step())
        self._steps.add(task)
        task.add_done_callback(partial(self._end, account, began))
        return await asyncio.shield(task)

    def _end(self, account: Account, began: float, step: asyncio.Future[Any]) -> None:
        self._steps.discard(step)
        step.cancelled() or step.exception()  # retrieved: perhaps nobody waits for it any more
        took = self._now() - began
        account.used += took
        if account.client in self._used:
            self._used[account.client] += took
        self._give_back()

    async def _wait(self, account: Account) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(turn, account)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The turn was given in the same step of the event loop.
                self._give_back()
            raise

    def _put(self, turn: asyncio.Future[None], account: Account) -> None:
        self._number += 1
        heappush(self._queue, Waiting(self._cost(account), self._number, turn, account))

    def _give_back(self) -> None:
        """Give the turn that has become free to the reader that has used the least."""
        self._free += 1
        while self._free and self._queue:
            first = heappop(self._queue)
            if first.turn.done():
                continue  # its reader is gone
            if self._cost(first.account) > first.cost:
                # Other readers of its client have had turns in the meantime.
                self._put(first.turn, first.account)
                continue
            self._free -= 1
            first.turn.set_result(None)

    def _cost(self, account: Account) -> tuple[float, float]:
        return self._used.get(account.client, 0.0), account.used
