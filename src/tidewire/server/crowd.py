"""
How many connections each address has that are not streams: one that floods must not hold up the others.
"""

from __future__ import annotations

from collections import Counter

from ..http.admission import is_loopback, network
from ..settings import Settings


class Crowd:
    """The connections of one process. Loopback is not counted, unless a limit was set."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.max_connections_per_address
        self._count_loopback = "max_connections_per_address" in settings.given
        self._counts: Counter[str] = Counter()

    def counted(self, address: str | None) -> str | None:
        """Return the name under which `address` is counted, or None if it is not counted."""
        if not self._limit or address is None or (is_loopback(address) and not self._count_loopback):
            return None
        return network(address)

    def enter(self, name: str) -> bool:
        """Return whether there may be one more connection; if so, count it."""
        if self._counts[name] >= self._limit:
            return False
        self._counts[name] += 1
        return True

    def leave(self, name: str) -> None:
        self._counts[name] -= 1
        if not self._counts[name]:
            del self._counts[name]
