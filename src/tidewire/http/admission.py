"""
Whether a stream may be opened, or an event published, now: counts and rates. No I/O; the current time is an
argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from ..auth.grants import Grant
from ..auth.tickets import LIFETIME as TICKET_LIFETIME
from ..errors import TidewireError, TooMany, Unavailable
from ..log.presence import Client
from ..settings import Settings

# Seconds over which refused clients spread their next attempts.
RETRY_SPREAD = 10.0

# Addresses or subjects whose rate is remembered, about 2 MB. Forgetting one early allows it another burst.
MAX_ADDRESSES = 10_000

# No address is longer. A proxy's header may name anything as the client.
MAX_NAME = 64


class Admission:
    """
    Admits new streams and publishes of one node.

    Loopback is not counted, unless a limit per address was set. Nor is a grant without a subject.
    """

    def __init__(self, settings: Settings, max_streams: int) -> None:
        self.max_streams = max_streams
        self._rates = Rates(settings.stream_rate, settings.stream_burst) if settings.stream_rate else None
        self._publishes = publish_rates(settings)
        most = settings.max_tickets_per_subject
        self._tickets = Rates(most / TICKET_LIFETIME, most) if most else None
        self._per_address = settings.max_streams_per_address
        self._per_subject = settings.max_streams_per_subject
        self._count_loopback = "max_streams_per_address" in settings.given

    def refusal(
        self, address: str | None, of_address: int, streams_open: int, now: float, of_subject: int = 0
    ) -> TidewireError | None:
        """
        Return why no stream may be opened now. Return None if one may; that counts for the address's rate.

        `of_address` and `of_subject`: the numbers of open streams that count for the same address and for
        the same subject; `now` in seconds.
        """
        if streams_open >= self.max_streams:
            return Unavailable("too many open streams on this node", code="full", retry_after=RETRY_SPREAD)
        if self._per_subject and of_subject >= self._per_subject:
            return TooMany(
                "too many streams of this subject",
                code="too_many_streams_of_subject",
                retry_after=RETRY_SPREAD,
            )
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

    def publish_refusal(self, grant: Grant, events: int, now: float) -> TooMany | None:
        """Return why `grant` may publish nothing now. Return None if it may; then `events` are counted."""
        if self._publishes is None or grant.subject is None:
            return None
        if self._publishes.take(grant.subject, now, events):
            return None
        wait = self._publishes.wait(grant.subject)
        return TooMany("you publish too fast", code="too_many_publishes", retry_after=wait)

    def ticket_refusal(self, grant: Grant, address: str | None, now: float) -> TooMany | None:
        """Return why `grant` gets no ticket now. Return None if it does; then that is counted."""
        # Without a subject it counts for its address: tickets that nobody has are kept for a minute, too.
        name = grant.subject or self.counted(address)
        if self._tickets is None or name is None or self._tickets.take(name, now):
            return None
        wait = self._tickets.wait(name)
        return TooMany("you ask for too many tickets", code="too_many_tickets", retry_after=wait)

    def counted(self, address: str | None) -> str | None:
        """Return the name under which `address` is counted, or None if it is not counted."""
        if address is None or (is_loopback(address) and not self._count_loopback):
            return None
        return network(address)

    def _within_rate(self, address: str, now: float) -> bool:
        return self._rates is None or is_loopback(address) or self._rates.take(network(address), now)


class Rates:
    """
    The rate of something for each name: `burst` at once, then `rate` per second.

    What is taken at once may be up to `most` more than is left; then the name waits until that is paid off.
    """

    def __init__(self, rate: float, burst: int, most: int = 0) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._full_after = (burst + most) / rate
        # Token buckets: the tokens left, and when that was. The least recently used come first.
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: Hashable, now: float, count: int = 1) -> bool:
        """Return whether `name` may go on at `now`; if so, count it."""
        left, since = self._buckets.pop(name, (self._burst, now))
        tokens = min(left + (now - since) * self._rate, self._burst)
        taken = tokens >= 1
        self._buckets[name] = (tokens - count if taken else tokens, now)
        self._forget(now)
        return taken

    def wait(self, name: Hashable) -> float:
        """Return how many seconds after its last `take` a name may go on."""
        left, _ = self._buckets[name]
        return (1 - left) / self._rate

    def _forget(self, now: float) -> None:
        """Forget names that were idle until their buckets were full, and the oldest beyond the limit."""
        full_at = now - self._full_after
        while self._buckets:
            _, since = next(iter(self._buckets.values()))
            if since > full_at and len(self._buckets) <= MAX_ADDRESSES:
                return
            self._buckets.popitem(last=False)


def publish_rates(settings: Settings) -> Rates | None:
    """Return the rates of publishing for each subject; None without a limit."""
    if not settings.publish_rate:
        return None
    return Rates(settings.publish_rate, settings.publish_burst, settings.max_batch)


def address_client(counted: str | None) -> Client | None:
    """Return whom streams of an address are counted for."""
    return None if counted is None else (counted,)


def is_loopback(address: str) -> bool:
    return len(address) <= MAX_NAME and judge_address(address).loopback


def network(address: str) -> str:
    """Return the /64 of an IPv6 address, since one host may own all of it; other text up to 64 characters."""
    return judge_address(address[:MAX_NAME]).network


class JudgedAddress(NamedTuple):
    loopback: bool
    network: str


# It is asked five times for each stream, and takes up to 30 us.
@lru_cache(MAX_ADDRESSES)
def judge_address(address: str) -> JudgedAddress:
    try:
        parsed = ip_address(address)
    except ValueError:
        return JudgedAddress(False, address)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return JudgedAddress(parsed.is_loopback, parsed.exploded[:19] + "::/64")
    return JudgedAddress(parsed.is_loopback, address)
