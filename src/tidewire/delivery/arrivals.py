"""
New entries on their way from the log to the cohorts that want them, as a span of offsets per topic.

Rule 1: the work is for each topic and cohort, never for each entry and cohort: a batch of
        1,000 entries of one topic marks each of its cohorts once.
Rule 2: marking may take several steps of the event loop. Until it is done the `horizon`
        stays where it was, and no cohort is written to beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..log.entries import Entry
from ..log.window import Window


class Span(NamedTuple):
    """The offsets of the first and the last new entry of a topic."""

    topic: str
    first: int
    last: int


class Arrivals:
    """New entries that cohorts have not been marked for. `count` grows with each batch."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._taken = False  # `take` is in progress
        self._horizon = 0
        self.count = 0

    def __bool__(self) -> bool:
        return self._taken or bool(self._first)

    @property
    def horizon(self) -> int:
        """The offset through which every cohort has been marked."""
        return self._horizon if self else self._window.head

    def add(self, batch: Sequence[Entry]) -> None:
        if not self:
            self._horizon = batch[0].offset - 1
        self.count += 1
        first, last = self._first, self._last
        for entry in batch:
            topic, offset = entry.topic, entry.position[1]
            if topic not in first:
                first[topic] = offset
            last[topic] = offset

    def take(self) -> Iterator[Span]:
        """Yield what has arrived. The horizon moves once all of it has been taken."""
        first, last = self._first, self._last
        self._first, self._last, self._taken = {}, {}, True
        through = self._window.head
        for topic, offset in first.items():
            yield Span(topic, offset, last[topic])
        self._taken = False
        self._horizon = through

    def clear(self) -> None:
        """Forget everything: the log was replaced."""
        self._first.clear()
        self._last.clear()
        self._taken = False
