"""
What a viewer is sent: the overview once a second, and the view that it looks at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from ..errors import TidewireError
from ..event_stream import Event
from .sampling import Sampler

Show = Callable[[], Awaitable[Any]]

# A view that takes long to make is made less often: it is at rest for this many times as long.
REST = 50


class LiveView:
    """
    `overview` returns the data of each event of that name. `view`: the name of the other event and what
    returns its data. `may_look` says whether the viewer still may.
    """

    def __init__(
        self,
        sampler: Sampler,
        overview: Callable[[], Any],
        view: tuple[str, Show] | None,
        may_look: Callable[[], bool],
    ) -> None:
        self._sampler = sampler
        self._overview = overview
        self._view = view
        self._may_look = may_look

    async def events(self) -> AsyncIterator[Event]:
        """Yield events until the viewer may not look any more."""
        now, due = asyncio.get_running_loop().time, 0.0
        while self._may_look():
            yield event("overview", self._overview())
            if self._view is not None and now() >= due:
                began = now()
                shown = await self._show(*self._view)
                due = began + (now() - began) * REST
                yield shown
            await self._sampler.next()

    async def _show(self, name: str, show: Show) -> Event:
        try:
            return event(name, await show())
        except TidewireError as error:
            return event("gone", error.problem())


def event(name: str, value: Any) -> Event:
    return Event(orjson.dumps(value).decode(), name)
