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
        self._count = count
        self.last = last
        """The offset to look back from next. After the search, the offset just before the events found."""

    @property
    def done(self) -> bool:
        return not self._count or not self.last

    def look(self, offsets: Sequence[int], lowest: int) -> None:
        """Take the matching offsets, in ascending order, among the entries from `lowest` to `last`."""
        if len(offsets) >= self._count:
            self.last, self._count = offsets[-self._count] - 1, 0
        else:
            self.last, self._count = lowest - 1, self._count - len(offsets)
