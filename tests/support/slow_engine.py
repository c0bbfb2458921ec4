"""An engine that answers when it is told to: `Hub("slow")` within `slow_engines`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tidewire.engines.by_url import ENGINES
from tidewire.engines.memory import MemoryEngine
from tidewire.log.entries import Draft, Receipt


class SlowEngine(MemoryEngine):
    """While `slow`, appends wait in `waiting` until `go_on`; then they raise `fault` if it is set."""

    opened: list[SlowEngine]

    async def open(self, sink: Any) -> Any:
        self.opened.append(self)
        self.slow = False
        self.fault: Exception | None = None
        self.waiting: list[asyncio.Future[None]] = []
        return await super().open(sink)

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        return asyncio.ensure_future(self._later(drafts))

    async def _later(self, drafts: Sequence[Draft]) -> list[Receipt]:
        if self.slow:
            self.waiting.append(asyncio.get_running_loop().create_future())
            await self.waiting[-1]
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return await super().append(drafts)

    def go_on(self) -> None:
        """Let all waiting appends continue. May be called from any thread."""
        self.slow = False
        for future in self.waiting:
            future.get_loop().call_soon_threadsafe(future.set_result, None)
        self.waiting.clear()


@contextmanager
def slow_engines() -> Iterator[list[SlowEngine]]:
    """Make the URL `slow` name this engine; each one is added to the list when it is opened."""
    opened: list[SlowEngine] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SlowEngine, "opened", opened, raising=False)
        patch.setitem(ENGINES, "slow", f"{__name__}:SlowEngine")
        yield opened
