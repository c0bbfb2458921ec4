"""
All cohorts of a node, by what they want.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..topics import Selector, TopicIndex
from .cohort import Cohort
from .framing import Framing
from .subscriber import Subscriber

if TYPE_CHECKING:
    from .rounds import Rounds


class Cohorts:
    """Each subscriber is in exactly one cohort: that of its selector, framing and run, plain or not."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self._cohorts: dict[tuple[Selector, Framing, bool, str | None], Cohort] = {}
        self._index: TopicIndex[Cohort] = TopicIndex()

    def __iter__(self) -> Iterator[Cohort]:
        return iter(self._cohorts.values())

    def __len__(self) -> int:
        return len(self._cohorts)

    def matching(self, topic: str) -> Sequence[Cohort]:
        """Return the cohorts that want `topic`."""
        return self._index.match(topic)

    def subscribers(self) -> list[Subscriber]:
        return [item for cohort in self for item in (*cohort.members, *cohort.behind)]

    def add(self, subscriber: Subscriber, framing: Framing) -> None:
        """Add a subscriber, which is behind, to its cohort."""
        key = (subscriber.selector, framing, subscriber.plain, subscriber.run)
        cohort = self._cohorts.get(key)
        if cohort is None:
            cohort = self._cohorts[key] = Cohort(self._rounds, *key)
            self._index.add(cohort.selector, cohort)
        # Ten thousand subscribers share one selector.
        subscriber.cohort, subscriber.selector = cohort, cohort.selector
        cohort.behind.add(subscriber)

    def remove(self, subscriber: Subscriber) -> Cohort | None:
        """Remove a subscriber. Return its cohort if nobody is left in it: then that is gone, too."""
        cohort, subscriber.cohort = subscriber.cohort, None
        if cohort is None:
            return None
        cohort.remove(subscriber)
        key = (cohort.selector, cohort.framing, cohort.plain, cohort.run)
        if len(cohort) or self._cohorts.pop(key, None) is None:
            return None
        self._index.discard(cohort.selector, cohort)
        return cohort
