"""
Finding the newest N events that a selector matches, a few thousand entries at a time.
"""

from __future__ import annotations

from collections.abc import Sequence


class LastEvents:
    """
    The search for the `count` newest matching events among the entries from `floor` to `head`.

        search = LastEvents(count, floor, head)
        while not search.done:
            search.look(*matching(down_from=search.last))
        return search.before
    """

    def __init__(self, count: int, floor: int, head: int) -> None:
        self._count = count
        self._floor = floor
        self.last = head
        """The offset to look down from next."""

    @property
    def done(self) -> bool:
        return not self._count or self.last < self._floor

    @property
    def before(self) -> int:
        """The offset just before the events found."""
        return self.last

    def look(self, offsets: Sequence[int], lowest: int) -> None:
        """Take the matching offsets, in ascending order, among the entries from `lowest` to `last`."""
        if len(offsets) >= self._count:
            self.last, self._count = offsets[-self._count] - 1, 0
        else:
            self.last, self._count = lowest - 1, self._count - len(offsets)
