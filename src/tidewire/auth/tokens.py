"""
Grants from tokens: JWTs (RFC 7519) in the `Authorization` header, or in the session cookie.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jwt

from ..errors import InvalidInput, TidewireError
from ..log.records import not_good
from .access import Kind, missing, not_granted
from .bearer import bearer_token, has_authorization
from .claims import BadToken, Expected, Head, bad, read_claims, read_head
from .cookies import has_session, session_token
from .grants import Grant
from .jwks import Jwks
from .keys import PUBLIC_ALGORITHMS, Key, name_of_key, read_key

logger = logging.getLogger("tidewire")

# Verified tokens to remember, and the bytes that one may have: 8 MiB at the most.
MAX_REMEMBERED = 2_000
MAX_REMEMBERED_BYTES = 4 * 1024


class Verified(NamedTuple):
    grant: Grant
    key: Key


class Tokens:
    """
    Grants from JWTs.

    `keys`: each a secret of at least 32 bytes, a public key in PEM, or the path of a file with one of them.
    `issuer`, `audience`: what `iss` and `aud` of every token must be, exactly; without an audience a
    token must not have one. `jwks_url`: where the keys of an identity provider are; it signs tokens for
    others too, so issuer and audience are required with it. `anonymous`: what a request without a token
    may do. Raises `InvalidInput` if a key is too weak or is not one, or there is none.
    """

    takes_tokens = True

    def __init__(
        self,
        *keys: str,
        issuer: str | None = None,
        audience: str | None = None,
        jwks_url: str | None = None,
        anonymous: Grant | None = None,
    ) -> None:
        self._keys = tuple(map(read_key, keys))
        self._jwks = None if jwks_url is None else Jwks(jwks_url)
        if not self._keys and jwks_url is None:
            raise InvalidInput("tokens need a key or the URL of a JWKS", code="invalid_token_key")
        if jwks_url is not None and not (issuer and audience):
            raise InvalidInput("a JWKS needs an issuer and an audience", code="invalid_jwks_url")
        self._expected = Expected(issuer, audience)
        self._anonymous = anonymous
        self._verified: OrderedDict[bytes, Verified] = OrderedDict()
        # One for each key of the JWKS: keys cannot be hashed.
        self._checks: list[tuple[Key, Callable[[], bool]]] = []

    def key_of(self, grant: Grant) -> str:
        found = (key for key, check in self._checks if check is grant.check)
        return next(map(name_of_key, found), "")

    async def with_key(self, grant: Grant, key: str) -> Grant:
        if not key:
            return grant
        found = None if self._jwks is None else await self._jwks.named(key)
        if found is None:
            raise not_good()
        return replace(grant, check=self._check_of(found))

    def limit_life(self, seconds: float) -> None:
        """Refuse tokens that live longer."""
        self._expected = self._expected._replace(max_life=seconds)

    async def grant(self, scope: Mapping[str, Any]) -> Grant:
        # The header wins: a page of the same user may send a cookie without knowing.
        token = bearer_token(scope) or session_token(scope)
        if token is None:
            if self._anonymous is None:
                raise missing()
            return self._anonymous
        return self.recall(token) or await self.verify(token, time.time())

    def refusal(self, grant: Grant, kind: Kind, topic: str | None = None) -> TidewireError:
        # Without a token nobody learns which grant would do.
        return missing() if self.is_anonymous(grant) else not_granted(kind, topic)

    def is_anonymous(self, grant: Grant) -> bool:
        return grant is self._anonymous

    def by_cookie(self, scope: Mapping[str, Any]) -> bool:
        return not has_authorization(scope) and has_session(scope)

    def remember(self, scope: Mapping[str, Any]) -> Callable[[], Grant | None] | None:
        try:
            token = bearer_token(scope)
        except TidewireError:
            return None
        if token is None:
            # A write with a cookie is checked for its page each time.
            return None if self._anonymous is None or has_session(scope) else lambda: self._anonymous
        return partial(self.recall, token)

    def recall(self, token: bytes) -> Grant | None:
        """Return the grant of a token that was verified before. None if it was not, or is not valid now."""
        known = self._verified.get(token)
        if known is None:
            return None
        if known.grant.is_over(time.time()) or not self._still_has(known.key):
            del self._verified[token]
            return None
        self._verified.move_to_end(token)
        return known.grant

    def _check_of(self, key: Key) -> Callable[[], bool] | None:
        """Return what says whether a key is still one of the JWKS; the same function for an equal key."""
        if self._jwks is None or key in self._keys:
            return None
        self._checks = [item for item in self._checks if self._jwks.holds(item[0])]
        for known, check in self._checks:
            if known == key:
                return check
        check = partial(self._still_has, key)
        self._checks.append((key, check))
        return check

    def _still_has(self, key: Key) -> bool:
        return key in self._keys or (self._jwks is not None and self._jwks.has(key))

    async def verify(self, token: bytes, now: float) -> Grant:
        """Return the grant of a token at `now`, in seconds since 1970. Raises `Unauthorized`."""
        try:
            head = read_head(token)
            key, payload = await self._signed(token, head)
            grant = replace(read_claims(payload, self._expected, now), check=self._check_of(key))
        except BadToken as error:
            logger.debug("refused a token: %s", error.why)
            raise
        if len(token) <= MAX_REMEMBERED_BYTES:
            self._verified[token] = Verified(grant, key)
            if len(self._verified) > MAX_REMEMBERED:
                self._verified.popitem(last=False)
        return grant

    async def _signed(self, token: bytes, head: Head) -> tuple[Key, bytes]:
        """Return the key that a token is signed with, and its payload. Raises `Unauthorized`."""
        found = payload_of(token, head, self._keys)
        # What no key of a JWKS can have signed is not worth a fetch.
        if found is None and self._jwks is not None and head.alg in PUBLIC_ALGORITHMS:
            found = payload_of(token, head, await self._jwks.find(head.kid))
        if found is None:
            raise bad("no key of the hub has signed it")
        return found


def payload_of(token: bytes, head: Head, keys: Iterable[Key]) -> tuple[Key, bytes] | None:
    """Return which of `keys` a token is signed with, and its payload; None if it is none of them."""
    for key in keys:
        # The algorithm is the key's. A token that names another one is not verified at all.
        if key.algorithm == head.alg:
            try:
                whole = jwt.PyJWS(algorithms=[key.algorithm]).decode_complete(
                    token, key.value, algorithms=[key.algorithm]
                )
            # RecursionError: of a head that is nested too deep.
            except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
                continue
            return key, whole["payload"]
    return None
