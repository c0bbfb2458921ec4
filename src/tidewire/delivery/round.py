"""
One write of the same bytes to the members of one or more cohorts.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING

from .subscriber import Subscriber, WriteMethod

if TYPE_CHECKING:
    from .cohort import Cohort


class Round:
    """
    Writes a chunk to every member that its cohorts have when they are added, in that order.

    It uses lists and an iterator, so that nothing but the write itself is done for
    each member: taking each out of a dictionary made a delivery 5 % slower.
    """

    __slots__ = ("_chunk", "_index", "_members", "_turns", "_writes", "cohorts", "left")

    def __init__(self, chunk: bytes) -> None:
        self._chunk = chunk
        self._members: list[Subscriber] = []
        self._writes: list[WriteMethod] = []
        self._turns = iter(self._writes)
        # The index of each member. Made when the first one leaves, which is rare.
        self._index: dict[Subscriber, int] | None = None
        self.cohorts: list[Cohort] = []
        self.left = 0

    def add(self, cohort: Cohort, members: Mapping[Subscriber, WriteMethod]) -> None:
        """Add the members of one more cohort, before the first step."""
        self.cohorts.append(cohort)
        self._members += members
        self._writes += members.values()
        self.left += len(members)

    @property
    def _reached(self) -> int:
        """How many members have had their turn, with the current one: its transport has these bytes."""
        # The iterator counts already: a counter of our own took 7 ns for each member.
        return len(self._writes) - length_hint(self._turns)

    def step(self, count: int) -> int:
        """Write to up to `count` more members. Return how many were written to."""
        chunk, start = self._chunk, self._reached
        # The iterator reads the live list: a member that left before its turn has `write_nothing` there.
        for write in islice(self._turns, count):
            try:
                write(chunk)
            except Exception:
                # A closed transport raises; the members after it must still get their bytes.
                self._members[self._reached - 1].lost()
        reached = self._reached
        skipped = self._writes[start:reached].count(write_nothing) if self._index is not None else 0
        written = reached - start - skipped
        self.left -= written
        return written

    def awaits(self, member: Subscriber) -> bool:
        """Whether the round still has to reach `member`."""
        reached = self._reached
        if not self.left or (reached and member is self._members[reached - 1]):
            return False
        if self._index is None:
            self._index = {other: place for place, other in enumerate(self._members)}
        return self._index.get(member, -1) >= reached

    def skip(self, member: Subscriber) -> bool:
        """Take `member` out of the round. Return whether the round had not reached it."""
        if not self.awaits(member):
            return False
        assert self._index is not None
        self._writes[self._index.pop(member)] = write_nothing
        self.left -= 1
        return True


def write_nothing(data: bytes, /) -> None:
    """Stand in for a member that left before its turn."""


NO_ROUND = Round(b"")
