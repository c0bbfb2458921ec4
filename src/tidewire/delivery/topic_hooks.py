"""
`on_first` and `on_last`: functions of the program, called for the first and the last subscriber of a topic.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from ..topics import Selector, check_term, is_pattern

logger = logging.getLogger("tidewire")

HookFunction = Callable[[str], Awaitable[None] | None]


class TopicHook:
    """Functions to call for the first and last subscriber of a topic, or of each topic of a pattern."""

    def __init__(self, term: str, first: HookFunction | None, last: HookFunction | None) -> None:
        self.term = check_term(term)
        self.selector = Selector([term]) if is_pattern(term) else None
        self.first = first
        self.last = last
        self.counts: dict[str, int] = {}

    def topics(self, selector: Selector) -> list[str]:
        """Return the topics of this hook that a stream with `selector` counts for."""
        if self.selector is None:
            return [self.term] if selector.matches(self.term) else []
        return [topic for topic in selector.topics if self.selector.matches(topic)]


class TopicHooks:
    """All hooks of a node. `spawn` runs the program's functions, which may be async."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._spawn = spawn
        self._hooks: list[TopicHook] = []

    def add(self, hook: TopicHook, selectors: Iterable[Selector]) -> None:
        """Add `hook`. It starts with the streams that are open, given by their selectors."""
        self._hooks.append(hook)
        for selector in selectors:
            self._count(hook, selector, +1)

    def count(self, selector: Selector, change: int) -> None:
        """Count a stream with `selector` that opened (+1) or ended (-1); call the functions that are due."""
        for hook in self._hooks:
            self._count(hook, selector, change)

    def _count(self, hook: TopicHook, selector: Selector, change: int) -> None:
        for topic in hook.topics(selector):
            count = hook.counts.get(topic, 0) + change
            if count:
                hook.counts[topic] = count
            else:
                del hook.counts[topic]
                self._call(hook.last, topic)
            if count == 1 and change == 1:
                self._call(hook.first, topic)

    def _call(self, function: HookFunction | None, topic: str) -> None:
        if function is not None:
            self._spawn(call_hook(function, topic))


async def call_hook(function: HookFunction, topic: str) -> None:
    """Call a program's function. An exception is logged; the stream goes on."""
    try:
        result = function(topic)
        if result is not None:
            await result
    except Exception:
        logger.exception("on_first or on_last of %r failed", topic)
