"""
Finding the newest N events that a selector matches, a few thousand entries at a time.
"""

from __future__ import annotations

from collections.abc import Sequence


class LastEvents:
    """
    The search for the `count` newest matching events among the entries up to `last`.

        search = LastEvents(count, head)
        while not search.done:
            search.look(*await engine.look_back(search.last, selector))
        return search.last
    """

    def __init__(self, count: int, last: int) -> None:
        self.count = count
        """How many are still to be found."""
        self.last = last
        """The offset to look back from next. After the search, the offset just before the events found."""

    @property
    def done(self) -> bool:
        return not self.count or not self.last

    def look(self, offsets: Sequence[int], lowest: int) -> None:
        """Take the matching offsets, in ascending order, among the entries from `lowest` to `last`."""
        if len(offsets) >= self.count:
            self.last, self.count = offsets[-self.count] - 1, 0
        else:
            self.last, self.count = lowest - 1, self.count - len(offsets)
