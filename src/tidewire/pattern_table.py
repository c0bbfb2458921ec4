"""
Many patterns compared with a topic at once: the cost does not grow with their number.

Each pattern is one bit. For each level there is a table: from a name to the patterns that allow it
there. Walking down the levels of a topic, the bits of the patterns that no longer match are cleared.
When none is left, no pattern matches. So a topic costs one lookup per level, with one pattern as with
a hundred: 25 us for the deepest topic there is, and about 1 us for one of three levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

# Topics whose answer a table remembers: most logs repeat theirs.
KNOWN = 256


class Level(NamedTuple):
    """What patterns allow at one level, as bits."""

    names: Mapping[str, int]
    """The patterns that allow a name, those with a `*` included."""
    stars: int
    """The patterns with a `*`: they allow every other name."""
    rest: int
    """The patterns with `**`: they allow this level and all that follow."""


class PatternTable:
    """
    Patterns, compiled. It takes about 100 bytes for each level of each pattern.

    `patterns` are as `check_term` accepts them. Topics are not checked: reserved ones are the caller's task.
    """

    __slots__ = ("_all", "_ends", "_known", "_levels")

    def __init__(self, patterns: Sequence[str]) -> None:
        split = {1 << index: pattern.split("/") for index, pattern in enumerate(patterns)}
        self._all = (1 << len(patterns)) - 1
        depth = max(map(len, split.values()), default=0)
        self._levels = [
            level_of({bit: ls[at] for bit, ls in split.items() if at < len(ls)}) for at in range(depth)
        ]
        self._known: dict[str, bool] = {}
        # By number of levels: the patterns that end there.
        self._ends: dict[int, int] = {}
        for bit, levels in split.items():
            if levels[-1] != "**":
                self._ends[len(levels)] = self._ends.get(len(levels), 0) | bit

    def matches(self, topic: str) -> bool:
        """Whether a pattern matches `topic`."""
        known = self._known.get(topic)
        if known is None:
            if len(self._known) == KNOWN:
                self._known.clear()
            known = self._known[topic] = bool(self._find(topic, any_one=True))
        return known

    def matching(self, topic: str) -> int:
        """Return the patterns that match `topic`: bit n is set for the pattern with index n."""
        return self._find(topic, any_one=False)

    def _find(self, topic: str, any_one: bool) -> int:
        """Return the patterns that match, or at least one of them if `any_one`."""
        alive, found = self._all, 0
        # One level more than the longest pattern is as bad as a hundred more.
        levels = topic.split("/", len(self._levels))
        for (names, stars, rest), name in zip(self._levels, levels, strict=False):
            if rest:
                found |= alive & rest
                if found and any_one:
                    return found
            alive &= names.get(name, stars)
            if not alive:
                return found
        return found | (alive & self._ends.get(len(levels), 0))


def level_of(parts: Mapping[int, str]) -> Level:
    """Return one level of a table: what each pattern, by its bit, has there."""
    names: dict[str, int] = {}
    stars = rest = 0
    for bit, part in parts.items():
        if part == "*":
            stars |= bit
        elif part == "**":
            rest |= bit
        else:
            names[part] = names.get(part, 0) | bit
    return Level({name: bits | stars for name, bits in names.items()}, stars, rest)


def bits_of(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, the lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
