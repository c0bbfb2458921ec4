"""
Going through many things without holding up the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from ..delivery.deadlines import STEP

T = TypeVar("T")

# Things between two looks at the clock.
BATCH = 16


async def paced(things: Iterable[T]) -> AsyncIterator[T]:
    """Yield `things`; other work goes on every few milliseconds."""
    now = asyncio.get_running_loop().time
    until = now() + STEP
    for count, thing in enumerate(things, 1):
        yield thing
        if not count % BATCH and now() > until:
            await asyncio.sleep(0)
            until = now() + STEP
