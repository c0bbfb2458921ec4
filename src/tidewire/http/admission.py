"""
Whether a stream may be opened now: counts and rates. No I/O; the current time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

from ..errors import TidewireError, TooMany, Unavailable
from ..settings import Settings

# Seconds over which refused clients spread their next attempts.
RETRY_SPREAD = 10.0

# Addresses whose rate is remembered, about 2 MB. Forgetting one early lets it open another burst.
MAX_ADDRESSES = 10_000

# No address is longer. A proxy's header may name anything as the client.
MAX_NAME = 64


class Admission:
    """Admits new streams of one node. Loopback is not counted, unless a limit per address was set."""

    def __init__(self, settings: Settings, max_streams: int) -> None:
        self.max_streams = max_streams
        self._rates = Rates(settings.stream_rate, settings.stream_burst) if settings.stream_rate else None
        self._per_address = settings.max_streams_per_address
        self._count_loopback = "max_streams_per_address" in settings.given

    def refusal(
        self, address: str | None, of_address: int, streams_open: int, now: float
    ) -> TidewireError | None:
        """
        Return why no stream may be opened now. Return None if one may; that counts for the address's rate.

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
        if not self._within_rate(address, now):
            return Unavailable(
                "too many new streams from this address", code="too_fast", retry_after=RETRY_SPREAD
            )
        return None

    def counted(self, address: str | None) -> str | None:
        """Return the name under which `address` is counted, or None if it is not counted."""
        if address is None or (is_loopback(address) and not self._count_loopback):
            return None
        return network(address)

    def _within_rate(self, address: str, now: float) -> bool:
        return self._rates is None or is_loopback(address) or self._rates.take(network(address), now)


class Rates:
    """The rate of new streams for each address: `burst` at once, then `rate` per second."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        # Token buckets: the tokens left, and when that was. The least recently used come first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, now: float) -> bool:
        """Return whether the address may open a stream at `now`; if so, count it."""
        left, since = self._buckets.pop(name, (self._burst, now))
        tokens = min(left + (now - since) * self._rate, self._burst)
        taken = tokens >= 1
        self._buckets[name] = (tokens - taken, now)
        self._forget(now)
        return taken

    def _forget(self, now: float) -> None:
        """Forget addresses that were idle until their buckets were full, and the oldest beyond the limit."""
        full_at = now - self._burst / self._rate
        while self._buckets:
            _, since = next(iter(self._buckets.values()))
            if since > full_at and len(self._buckets) <= MAX_ADDRESSES:
                return
            self._buckets.popitem(last=False)


def is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def network(address: str) -> str:
    """Return the /64 of an IPv6 address, since one host may own all of it; other text up to 64 characters."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:MAX_NAME]
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return parsed.exploded[:19] + "::/64"
    return address[:MAX_NAME]
