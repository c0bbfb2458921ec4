"""
The budget of one step of the event loop: how much work for requests it may do.

Each request alone is short, but all requests that have arrived are read in the same step of the loop. A
hundred resumes with a hundred patterns each made one step of 50 ms. So each request says what it will cost
before its work begins, and waits for a later step if nothing is left of this one.

Rule 1: requests go on in the order in which they came.
Rule 2: a request may cost more than its step has left. It is then the last one of that step.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque

# What one step may cost. An event of a batch costs 1: it takes about 10 us to read and to store.
BUDGET = 500
# What a request costs without its query and its body: 100 to 150 us.
REQUEST = 12
# Bytes of a query, and of a body, that cost 1.
QUERY_BYTES = 40
BODY_BYTES = 100


class StepBudget:
    """The budget of one event loop, which all its requests share. Get it by `budget_of_loop()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = BUDGET
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, cost: int) -> None:
        """Wait until there is room for `cost`: nearly always not at all."""
        if self._waiting or self._left <= 0:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append((cost, turn))
            await turn
        else:
            self._spend(cost)

    def _spend(self, cost: int) -> None:
        if self._left == BUDGET:
            self._loop.call_soon(self._next_step)
        self._left -= cost

    def _next_step(self) -> None:
        self._left = BUDGET
        while self._waiting and self._left > 0:
            cost, turn = self._waiting.popleft()
            if not turn.done():  # its client may be gone
                # In this order: the next step has its own budget before those that go on now spend more.
                self._spend(cost)
                turn.set_result(None)


def cost_of_request(query: bytes) -> int:
    """Return what it costs to judge a request without a body, by the size of its query."""
    return REQUEST + len(query) // QUERY_BYTES


def cost_of_body(body: bytes) -> int:
    """Return what it costs to read a body of events and to store them, by its size."""
    return 1 + len(body) // BODY_BYTES


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, StepBudget] = weakref.WeakKeyDictionary()


def budget_of_loop() -> StepBudget:
    """Return the budget of the running event loop, made at first use."""
    loop = asyncio.get_running_loop()
    budget = _of_loops.get(loop)
    if budget is None:
        budget = _of_loops[loop] = StepBudget(loop)
    return budget
