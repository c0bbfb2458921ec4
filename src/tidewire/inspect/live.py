"""
What a viewer is sent: the overview once a second, and the view that it looks at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from ..errors import TidewireError
from ..event_stream import Event
from .sampling import Sampler

Show = Callable[[], Awaitable[Any]]


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
        while self._may_look():
            yield event("overview", self._overview())
            if self._view is not None:
                yield await self._show(*self._view)
            await self._sampler.next()

    async def _show(self, name: str, show: Show) -> Event:
        try:
            return event(name, await show())
        except TidewireError as error:
            return event("gone", error.problem())


def event(name: str, value: Any) -> Event:
    return Event(orjson.dumps(value).decode(), name)
