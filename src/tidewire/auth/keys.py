"""
Keys that tokens are signed with. Each key has one algorithm, and no token can choose another one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from ..errors import InvalidInput

PUBLIC_ALGORITHMS = {"RS256", "ES256", "EdDSA"}
MIN_SECRET = 32
MIN_RSA_BITS = 2048

# Secrets from examples, such as `!ChangeMe!`, are in every attacker's list.
PLACEHOLDER = re.compile(rb"change.{0,24}me|change.?this|your.{0,24}secret", re.IGNORECASE)
LIKE_A_PATH = re.compile(r"[/~.]|.*\.[A-Za-z]{1,6}$")

EXTRA = "pip install 'tidewire[crypto]'"


class Key(NamedTuple):
    """`value` is what PyJWT takes: bytes for HS256, else a public key of `cryptography`."""

    algorithm: str
    value: Any


def name_of_key(key: Key) -> str:
    """Return a name by which every node knows a public key: the hash of it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der: bytes = key.value.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def read_key(text: str) -> Key:
    """
    Read a key: the path of a file that has it, or the key itself.

    A public key in PEM is for RS256, ES256 or EdDSA, whichever fits it; any other text is a secret for
    HS256. Raises `InvalidInput` if it is neither, or is too weak.
    """
    text = read_text(text)
    return public_key(text.encode()) if "-----BEGIN" in text else secret(text.encode())


def read_text(text: str) -> str:
    """Return what is in the file `text`, or the text itself. Raises `InvalidInput` for a wrong path."""
    if "-----BEGIN" not in text and "\n" not in text:
        try:
            text = Path(text).expanduser().read_text("utf-8")
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~` without a home
            # A misspelt path must not become a secret that everybody can guess.
            if LIKE_A_PATH.match(text):
                raise invalid(f"cannot be read from its file: {type(error).__name__}") from None
    return text.strip()


def secret(value: bytes) -> Key:
    """Return a key for HS256. Raises `InvalidInput` if it can be guessed."""
    # RFC 7518, section 3.2: "A key of the same size as the hash output (for instance, 256 bits for
    # "HS256") or larger MUST be used".
    if len(value) < MIN_SECRET:
        raise invalid(f"must have at least {MIN_SECRET} bytes; make one with `tidewire token key`")
    if PLACEHOLDER.search(value) or len(set(value)) < 8:
        raise invalid("is a placeholder; make one with `tidewire token key`")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(value)
    except jwt.InvalidKeyError:  # a JWK, or a key of another kind
        raise invalid("is neither a secret nor a public key in PEM") from None
    return Key("HS256", value)


def public_key(pem: bytes) -> Key:
    """Return the key in a PEM text. Raises `InvalidInput` if it is not one of the known kinds."""
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise invalid(f"is a public key, which needs another package: {EXTRA}") from None
    if b"PRIVATE KEY" in pem:
        raise invalid("is private; give the hub only the public one: openssl pkey -in FILE -pubout")
    try:
        value = load_pem_public_key(pem)
    except Exception:  # of many types, by what is wrong with the text
        raise invalid("is not a public key in PEM") from None
    return of_public(value)


def of_public(value: Any) -> Key:
    """Return the key for a public key of `cryptography`. Raises `InvalidInput` for other kinds."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(value, RSAPublicKey):
        if value.key_size < MIN_RSA_BITS:
            raise invalid(f"must have at least {MIN_RSA_BITS} bits")
        return Key("RS256", value)
    if isinstance(value, EllipticCurvePublicKey) and isinstance(value.curve, SECP256R1):
        return Key("ES256", value)
    if isinstance(value, Ed25519PublicKey):
        return Key("EdDSA", value)
    raise invalid("must be of RSA, of the curve P-256, or Ed25519")


def invalid(why: str) -> InvalidInput:
    """The key itself is never repeated."""
    return InvalidInput(f"the token key {why}", code="invalid_token_key")
