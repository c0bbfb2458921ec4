"""
What a program wants to know of subscribers: the first and the last of a topic.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from ..topics import Selector, check_term, is_pattern

logger = logging.getLogger("tidewire")

Hook = Callable[[str], Awaitable[None] | None]


class Watch:
    """A program's wish to know the first and last subscriber of a topic, or of each topic of a pattern."""

    def __init__(self, term: str, first: Hook | None, last: Hook | None) -> None:
        self.term = check_term(term)
        self.selector = Selector([term]) if is_pattern(term) else None
        self.first = first
        self.last = last
        self.counts: dict[str, int] = {}

    def topics(self, selector: Selector) -> list[str]:
        """Return the topics of this watch that a stream with `selector` is a subscriber of."""
        if self.selector is None:
            return [self.term] if selector.matches(self.term) else []
        return [topic for topic in selector.topics if self.selector.matches(topic)]


class Watches:
    """All watches of a node. `spawn` runs the program's functions, which may be async."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._spawn = spawn
        self._watches: list[Watch] = []

    def add(self, watch: Watch, selectors: Iterable[Selector]) -> None:
        """Have `watch` told from now on, beginning with the streams there are, given by their selectors."""
        self._watches.append(watch)
        for selector in selectors:
            self._tell(watch, selector, +1)

    def tell(self, selector: Selector, change: int) -> None:
        """Tell all watches that a stream with `selector` came (+1) or went (-1)."""
        for watch in self._watches:
            self._tell(watch, selector, change)

    def _tell(self, watch: Watch, selector: Selector, change: int) -> None:
        for topic in watch.topics(selector):
            count = watch.counts.get(topic, 0) + change
            if count:
                watch.counts[topic] = count
            else:
                del watch.counts[topic]
                self._call(watch.last, topic)
            if count == 1 and change == 1:
                self._call(watch.first, topic)

    def _call(self, hook: Hook | None, topic: str) -> None:
        if hook is not None:
            self._spawn(call_hook(hook, topic))


async def call_hook(hook: Hook, topic: str) -> None:
    """Call a program's function. What it raises is logged: a stream does not fail for it."""
    try:
        result = hook(topic)
        if result is not None:
            await result
    except Exception:
        logger.exception("on_first or on_last of %r failed", topic)
