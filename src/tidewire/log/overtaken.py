"""
What retention took from a stream: which terms of its selector have a mark beyond its position.

Rule 1: a topic is looked up; all patterns are compared with a mark at once.
Rule 2: only marks beyond the position are looked at, and a limited number in one step:
        100,000 marks take many steps, with other work in between.
Rule 3: marks only grow. Those that are set between two steps are newer than all that have been
        looked at, and the next step starts with them.
"""

from __future__ import annotations

from ..pattern_table import bits_of
from ..topics import Selector
from .entries import Marks

# Marks looked at in one step: about 1 us each, 25 us for the deepest names there are.
STEP = 200


class Overtaken:
    """
    The search for the terms of `selector` that lost an entry after `offset`.

        search = Overtaken(selector, offset)
        while not search.step(marks):
            await asyncio.sleep(0)
        search.terms
    """

    def __init__(self, selector: Selector, offset: int) -> None:
        self.selector = selector
        self.offset = offset
        self._all = False
        self._topics: set[str] = set()
        self._patterns = 0  # a bit for each that was found
        # Marks with offsets in (low, high] have been looked at.
        self._low = self._high = -1

    def step(self, marks: Marks, most: int = STEP) -> bool:
        """Look at newer marks, and at `most` older ones. Return whether all have been looked at."""
        self._all = self._all or marks.dropped > self.offset
        self._topics |= {topic for topic in self.selector.topics if marks.of(topic) > self.offset}
        if self._all or not self.selector.patterns:
            return True
        every = (1 << len(self.selector.patterns)) - 1
        table, newest = self.selector.table, marks.newest
        low = newest if self._high < 0 else self._low
        for topic, offset in marks.newest_first():
            if offset <= self.offset or self._patterns == every:
                low = self.offset
                break
            if self._low < offset <= self._high:
                continue
            if offset <= low:
                if not most:
                    break
                most -= 1
                low = offset - 1
            self._patterns |= table.matching(topic)
        else:
            low = self.offset
        self._low, self._high = low, newest
        return low == self.offset

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms found, in the selector's order."""
        if self._all:
            return self.selector.terms
        found = self._topics | {self.selector.patterns[bit] for bit in bits_of(self._patterns)}
        return tuple(term for term in self.selector.terms if term in found)
