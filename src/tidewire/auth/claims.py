"""
What a token says: its head, before it is verified, and its claims, after that. No I/O and no clock.

Rule 1: nothing of an unverified token is used but `alg` and `kid`, and those only to pick one of the
        keys that the hub has. `jku`, `x5u` and `jwk` are never read.
Rule 2: every claim is compared exactly and has one type. A claim of another type is a bad token.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from ..errors import TidewireError, Unauthorized
from .access import expired
from .grants import Grant

# The clock of an issuer may be ahead of ours by this many seconds.
LEEWAY = 10.0
MAX_KID = 512
MAX_HEAD = 4 * 1024


class Head(NamedTuple):
    alg: str
    kid: str | None


class Expected(NamedTuple):
    """What the claims must be. Without an `audience` a token must not have one (RFC 7519, section 4.1.3)."""

    issuer: str | None = None
    audience: str | None = None
    max_life: float = math.inf


def read_head(token: bytes) -> Head:
    """Return what the unverified head of a token says. Raises `Unauthorized`."""
    encoded = token.partition(b".")[0]
    if len(encoded) > MAX_HEAD:
        raise bad("the head is too long")
    try:
        fields = orjson.loads(base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)))
    except (ValueError, binascii.Error):
        raise bad("the head is not JSON") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("alg"), str):
        raise bad("the head has no alg")
    # RFC 7515, section 4.1.11: an extension that is not understood makes the token invalid.
    if "crit" in fields:
        raise bad("the head has crit")
    kid = fields.get("kid")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= MAX_KID):
        raise bad("kid is not a short text")
    return Head(fields["alg"], kid)


def read_claims(payload: bytes, expected: Expected, now: float) -> Grant:
    """Return the grant in the payload of a verified token at `now`. Raises `Unauthorized`."""
    try:
        claims = orjson.loads(payload)
    except ValueError:
        raise bad("the claims are not JSON") from None
    if not isinstance(claims, dict):
        raise bad("the claims are not an object")
    until = seconds(claims, "exp")
    issued = seconds(claims, "iat")
    if until is None:
        raise bad("exp is missing")
    if (issued or 0) > now + LEEWAY or (seconds(claims, "nbf") or 0) > now + LEEWAY:
        raise bad("iat or nbf is in the future")
    if until - (now if issued is None else issued) > expected.max_life + LEEWAY:
        raise bad("the token lives longer than max_token_life")
    issuer, audience = text(claims, "iss"), claims.get("aud")
    if audience != expected.audience:
        raise bad("aud is not ours")
    if expected.issuer is not None and issuer != expected.issuer:
        raise bad("iss is not the expected one")
    if now >= until:
        raise expired()
    own = claims.get("tidewire", {})
    if not isinstance(own, dict) or not isinstance(own.get("admin", False), bool):
        raise bad("the claim tidewire is not an object with lists and a bool")
    try:
        return Grant(
            subscribe=terms(own, "subscribe"),
            publish=terms(own, "publish"),
            admin=own.get("admin", False),
            until=until,
            iss=issuer or "",
            sub=text(claims, "sub") or "",
            jti=text(claims, "jti") or "",
            iat=issued,
        )
    except Unauthorized:
        raise
    except TidewireError as error:
        raise bad(error.detail) from None


def seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # The bound is the year 9999. Beyond it are mistakes, such as milliseconds, and 1e400.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 253_402_300_800:
        raise bad(f"{name} is not a time in seconds since 1970")
    return float(value)


def text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise bad(f"{name} is not text")
    return value


def terms(own: Mapping[str, Any], name: str) -> list[str]:
    value = own.get(name, [])
    if not isinstance(value, list):
        raise bad(f"tidewire.{name} is not a list")
    return value


class BadToken(Unauthorized):
    """
    A token is not valid. `why` is for the log and for `tidewire token explain`.

    A client that has no valid token learns nothing: every one of these has the same answer.
    """

    code = "invalid_token"

    def __init__(self, why: str) -> None:
        super().__init__("the token is not valid")
        self.why = why


def bad(why: str) -> BadToken:
    return BadToken(why)
