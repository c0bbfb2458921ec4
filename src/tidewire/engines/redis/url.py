"""
Where the server is, by the URL of the engine:

    redis://user:password@host:6379/0    valkey://…    rediss://… and valkeys://… (TLS)
    unix:///run/redis.sock?db=0          redis+unix://…
    redis+sentinel://host:26379,other:26379/name-of-the-primary/0

`?prefix=` names the log within the server, `tidewire` by default. What else stands in the query goes to
redis-py, such as `ssl_ca_certs`.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from ...errors import InvalidInput

DEFAULT_PREFIX = "tidewire"
# Braces would end the hash tag.
PREFIX = re.compile(r"[^{}\s\x00-\x1f\x7f]{1,100}")
SCHEMES = {"valkey": "redis", "valkeys": "rediss", "redis+unix": "unix", "valkey+unix": "unix"}
SENTINEL_PORT = 26379

# Neither is left to redis-py: each call has its own timeout, and an append must not be sent twice.
OPTIONS = {
    "protocol": 2,
    "socket_timeout": None,
    "socket_connect_timeout": None,
    "health_check_interval": 0,
    "retry": None,
    "decode_responses": False,
}


class Place(NamedTuple):
    """Where a log is: the URL for redis-py without what is ours, and the prefix of its keys."""

    url: str
    prefix: str


def place_of(url: str) -> Place:
    """Read the URL of an engine. Raises `InvalidInput`."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    prefix = next((value for name, value in query if name == "prefix"), DEFAULT_PREFIX)
    if not PREFIX.fullmatch(prefix):
        raise InvalidInput(
            "the prefix of a log in Redis has 1 to 100 characters, and no space or brace",
            code="invalid_engine",
        )
    rest = urlencode([item for item in query if item[0] != "prefix"])
    scheme = SCHEMES.get(parts.scheme, parts.scheme)
    return Place(urlunsplit(parts._replace(scheme=scheme, query=rest)), prefix)


def make_pool(place: Place) -> ConnectionPool:
    """Return what makes connections to a server. Raises `InvalidInput`."""
    try:
        if place.url.startswith(("redis+sentinel:", "valkey+sentinel:")):
            return sentinel_pool(place.url)
        url = re.sub("^unix:/(?!/)", "unix:///", place.url)
        return ConnectionPool.from_url(url, **OPTIONS)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"not a URL of a Redis server: {error}", code="invalid_engine") from None


def sentinel_pool(url: str) -> ConnectionPool:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    name, _, db = unquote(parts.path.strip("/")).partition("/")
    if not (hosts and name):
        raise ValueError("name the sentinels and the primary: redis+sentinel://host:26379/mymaster")
    options: dict[str, object] = dict(parse_qsl(parts.query))
    if credentials:
        user, _, password = credentials.partition(":")
        options |= {"username": unquote(user) or None, "password": unquote(password) or None}
    sentinels = [address_of(host) for host in hosts.split(",")]
    manager = Sentinel(  # type: ignore[no-untyped-call]
        sentinels, sentinel_kwargs={"socket_connect_timeout": 1.0, "socket_timeout": 1.0}
    )
    options = {**OPTIONS, **options, "db": int(db or 0)}
    return SentinelConnectionPool(name, manager, **options)  # type: ignore[no-untyped-call]


def address_of(host: str) -> tuple[str, int]:
    found = urlsplit(f"//{host}")
    return found.hostname or "localhost", found.port or SENTINEL_PORT
