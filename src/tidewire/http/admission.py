"""
Whether a stream may be opened now: counts and a rate. No I/O; the current time is an argument.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from ..errors import TidewireError, TooMany, Unavailable
from ..settings import Settings

# Seconds over which refused clients spread their next attempts.
RETRY_SPREAD = 10.0


class Admission:
    """Admits new streams of one node. Loopback is not counted, unless a limit per address was set."""

    def __init__(self, settings: Settings, max_streams: int) -> None:
        self.max_streams = max_streams
        self._rate = settings.stream_rate
        self._burst = settings.stream_burst
        self._per_address = settings.max_streams_per_address
        self._count_loopback = "max_streams_per_address" in settings.given
        self._tokens = float(self._burst)
        self._filled = 0.0

    def refusal(
        self, address: str | None, of_address: int, streams_open: int, now: float
    ) -> TidewireError | None:
        """
        Return why no stream may be opened now. Return None if one may; that takes a token of the rate.

        `of_address`: the number of open streams that count for the same address; `now` in seconds.
        """
        if streams_open >= self.max_streams:
            return Unavailable("too many open streams on this node", code="full", retry_after=RETRY_SPREAD)
        if address is None:
            return None
        if self.counted(address) and self._per_address and of_address >= self._per_address:
            return TooMany(
                "too many streams from this address", code="too_many_streams", retry_after=RETRY_SPREAD
            )
        if self._rate and not is_loopback(address) and not self._take_token(now):
            return Unavailable("too many new streams at once", code="too_fast", retry_after=RETRY_SPREAD)
        return None

    def counted(self, address: str | None) -> str | None:
        """Return the name under which `address` is counted, or None if it is not counted."""
        if address is None or (is_loopback(address) and not self._count_loopback):
            return None
        return network(address)

    def _take_token(self, now: float) -> bool:
        grown = self._tokens + (now - self._filled) * self._rate
        self._tokens, self._filled = min(grown, float(self._burst)), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def network(address: str) -> str:
    """Return the /64 of an IPv6 address, since one host may own all of it; other addresses as they are."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return parsed.exploded[:19] + "::/64"
    return address
