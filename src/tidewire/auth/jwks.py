"""
The public keys of an identity provider, from its JWKS (RFC 7517).

Rule 1: there is one URL, and the operator gave it. No URL is ever made from a token.
Rule 2: however many unknown key names clients send, the keys are fetched once in 30 s at the most.
Rule 3: if a fetch fails, the keys of the last one that succeeded stay valid.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from ..errors import InvalidInput, Unavailable
from .keys import EXTRA, Key, name_of_key, of_public

logger = logging.getLogger("tidewire")

INTERVAL = 30.0  # seconds between two fetches, at least
MAX_AGE = 300.0  # seconds after which the keys are fetched again, since one may have been removed
TIMEOUT = 5.0
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Jwks:
    """The keys at `url`. Raises `InvalidInput` if it is not https, or http on loopback."""

    def __init__(self, url: str) -> None:
        self._url = checked_url(url)
        self._keys: Mapping[str | None, Sequence[Key]] = {}
        self._loaded_at = self._tried_at = -math.inf
        self._fetching: asyncio.Future[None] | None = None

    async def find(self, kid: str | None) -> Sequence[Key]:
        """
        Return the keys that are called `kid`; without a name, the only key there is.

        Raises `Unavailable` if the keys could never be fetched.
        """
        await self._fetch_unless(kid in self._keys)
        return self._keys.get(kid, ())

    async def named(self, name: str) -> Key | None:
        """Return the key with this `name_of_key`, or None. Raises as `find`."""
        found = self._named(name)
        await self._fetch_unless(found is not None)
        return found or self._named(name)

    def _named(self, name: str) -> Key | None:
        every = (key for keys in self._keys.values() for key in keys)
        return next((key for key in every if name_of_key(key) == name), None)

    async def _fetch_unless(self, found: bool) -> None:
        if not found and (self._is_fetching() or self._may_fetch()):
            await asyncio.shield(self._fetch_once())
        if self._loaded_at == -math.inf:
            raise Unavailable(
                "the keys of tokens cannot be fetched", code="auth_unavailable", retry_after=INTERVAL
            )

    def has(self, key: Key) -> bool:
        """Whether the key is still one of these. If the keys are old, start to fetch them again."""
        if time.monotonic() - self._loaded_at > MAX_AGE and self._may_fetch():
            self._fetch_once()
        return self.holds(key)

    def holds(self, key: Key) -> bool:
        """Whether the key was one of these when they were last fetched."""
        return any(key in keys for keys in self._keys.values())

    def _may_fetch(self) -> bool:
        return time.monotonic() - self._tried_at >= INTERVAL

    def _is_fetching(self) -> bool:
        """Whether a fetch is in progress on this loop."""
        task = self._fetching
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    def _fetch_once(self) -> asyncio.Future[None]:
        """Return the fetch in progress; start one if there is none."""
        if self._fetching is None or not self._is_fetching():
            self._tried_at = time.monotonic()
            # Not `create_task`: an eager task factory would run the fetch before it is stored here.
            self._fetching = asyncio.Task(self._fetch(), loop=asyncio.get_running_loop())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            self._keys = keys_in(await load(self._url))
            self._loaded_at = time.monotonic()
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            logger.error("cannot fetch the keys of tokens from %s: %r", self._url, error)


async def load(url: str) -> bytes:
    """Return what is at `url`. Raises `HTTPError`, `TimeoutError`, and `ValueError` if it is too large."""
    async with asyncio.timeout(TIMEOUT), httpx2.AsyncClient(timeout=TIMEOUT) as client:
        async with client.stream("GET", url, headers={"Accept": "application/json"}) as response:
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            body = b""
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES} bytes")
            return body


def keys_in(body: bytes) -> dict[str | None, list[Key]]:
    """Return the usable keys of a JWKS by their names. Raises `ValueError` if it is not a JWKS."""
    fields = orjson.loads(body)
    items = fields.get("keys") if isinstance(fields, dict) else None
    if not isinstance(items, list):
        raise ValueError("it has no list of keys")
    found: dict[str | None, list[Key]] = {}
    for item in items[:MAX_KEYS]:
        key = key_of(item)
        if key is not None:
            found.setdefault(item.get("kid"), []).append(key)
    if len(found) == 1:
        found[None] = next(iter(found.values()))
    else:
        found.pop(None, None)
    return found


def key_of(item: Any) -> Key | None:
    """Return one key of a JWKS, or None if tokens of ours cannot be signed with it."""
    import jwt

    # Never `oct`: a secret that everybody can fetch.
    if not isinstance(item, dict) or item.get("kty") not in ("RSA", "EC", "OKP") or item.get("use") == "enc":
        return None
    if not isinstance(item.get("kid"), str | None):
        return None
    try:
        key = of_public(jwt.PyJWK.from_dict(item).key)
    except (jwt.PyJWTError, InvalidInput, ValueError, TypeError, KeyError):
        return None
    return key if item.get("alg") in (None, key.algorithm) else None


def checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        )
    except ValueError:
        fine = False
    if not fine:
        raise InvalidInput("the URL of the JWKS must be https, or http on loopback", code="invalid_jwks_url")
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise InvalidInput(f"a JWKS needs another package: {EXTRA}", code="invalid_jwks_url") from None
    return url
