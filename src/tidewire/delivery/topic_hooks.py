"""
`on_first` and `on_last`: functions of the program, called for the first and the last subscriber of a topic.

The streams of all nodes of the log count. A node calls the functions for its own streams: the first if no
other node had one before, the last if no other node has one left. It decides that after it has reported
its streams (log/presence.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..log.presence import Held, Presence
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

    def topics(self, selector: Selector) -> list[str]:
        """Return the topics of this hook that a stream with `selector` counts for."""
        if self.selector is None:
            return [self.term] if selector.matches(self.term) else []
        return [topic for topic in selector.topics if self.selector.matches(topic)]


class HookedTopics:
    """The topics of one hook that streams of this node count for."""

    def __init__(self, hook: TopicHook) -> None:
        self.hook = hook
        self.held: dict[str, Held] = {}
        self.decided: set[str] = set()  # as of the last report that is done
        self.changed: set[str] = set()  # opened or gone since the last report began

    def count(self, selector: Selector, change: int, since: float) -> None:
        for topic in self.hook.topics(selector):
            before = self.held.get(topic)
            count = change if before is None else before.streams + change
            if not count:
                del self.held[topic]
                self.changed.add(topic)
            elif before is None:
                self.held[topic] = Held(count, since)
                self.changed.add(topic)
            else:
                self.held[topic] = Held(count, min(before.since, since))


class Due(NamedTuple):
    """A topic of a hook that this node has streams for, or has no more."""

    topics: HookedTopics
    topic: str
    since: float | None
    """Since when there are streams; None if there are none."""


class TopicHooks:
    """All hooks of a node. `spawn` runs the program's functions, which may be async."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], object], others: Presence) -> None:
        self._spawn = spawn
        self._others = others
        self._hooks: list[HookedTopics] = []

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def add(self, hook: TopicHook, selectors: Mapping[Selector, Held]) -> None:
        """Add `hook`. It starts with the streams that are open, given by their selectors."""
        topics = HookedTopics(hook)
        self._hooks.append(topics)
        for selector, held in selectors.items():
            topics.count(selector, held.streams, held.since)

    def count(self, selector: Selector, change: int, now: float) -> None:
        """Count a stream with `selector` that opened (+1) or ended (-1)."""
        for topics in self._hooks:
            topics.count(selector, change, now)

    def take(self) -> Callable[[], None]:
        """Note what has changed since the last call; the result calls the functions that are due for it."""
        due = []
        for topics in self._hooks:
            for topic in topics.changed:
                held = topics.held.get(topic)
                # A stream that came and went between two reports is as if it had never been.
                if (held is not None) != (topic in topics.decided):
                    due.append(Due(topics, topic, held.since if held else None))
            topics.changed.clear()
        return partial(self._decide, due)

    def _decide(self, due: Iterable[Due]) -> None:
        for topics, topic, since in due:
            others = self._since(topics.hook, topic)
            if since is None:
                topics.decided.discard(topic)
                if others == math.inf:
                    self._call(topics.hook.last, topic)
            else:
                topics.decided.add(topic)
                if others >= since:
                    self._call(topics.hook.first, topic)

    def inherit(self, selectors: Iterable[Selector]) -> None:
        """Call what is due for topics that only a node had which died, with streams with `selectors`."""
        found = {
            (topics, topic): None  # in order
            for selector in selectors
            for topics in self._hooks
            for topic in topics.hook.topics(selector)
        }
        for topics, topic in found:
            ours = topic in topics.held or topic in topics.decided
            if not ours and self._since(topics.hook, topic) == math.inf:
                self._call(topics.hook.last, topic)

    def _since(self, hook: TopicHook, topic: str) -> float:
        return self._others.since(topic, named=hook.selector is not None)

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
