"""
Which full blocks have no topic that a selector matches.

That never changes. So of many readers who look for the same rare topics, one looks through the log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ...topics import Selector

# Selectors remembered, and blocks of all of them together: 4 MiB.
SELECTORS = 32
MOST = 65_536


class EmptyBlocks:
    """The empty blocks of the selectors that were asked for last. One thread at a time may use it."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[frozenset[str], set[int]] = OrderedDict()

    def of(self, selector: Selector) -> set[int]:
        """Return those that are known. Do not change the set."""
        return self._blocks.get(frozenset(selector.terms), set())

    def add(self, selector: Selector, blocks: Iterable[int]) -> None:
        terms = frozenset(selector.terms)
        self._blocks.setdefault(terms, set()).update(blocks)
        self._blocks.move_to_end(terms)
        while len(self._blocks) > SELECTORS or sum(map(len, self._blocks.values())) > MOST:
            self._blocks.popitem(last=False)
