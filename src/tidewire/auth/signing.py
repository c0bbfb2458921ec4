"""
Making keys and tokens: for `tidewire token`, and for programs without an identity provider.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import jwt

from .keys import EXTRA, invalid, of_public, read_text, secret


def new_secret() -> str:
    """Return a secret for HS256, of 256 random bits."""
    return secrets.token_urlsafe(32)


def sign(claims: Mapping[str, Any], key: str) -> str:
    """
    Return a token.

    `key`: a secret, a private key in PEM, or the path of a file with one of them. Raises `InvalidInput`
    if it is neither or too weak.
    """
    text = read_text(key)
    if "-----BEGIN" not in text:
        return jwt.encode(dict(claims), secret(text.encode()).value, "HS256")
    private = private_key(text.encode())
    return jwt.encode(dict(claims), private, of_public(private.public_key()).algorithm)


def private_key(pem: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        return load_pem_private_key(pem, None)
    except ImportError:
        raise invalid(f"is in PEM, which needs another package: {EXTRA}") from None
    except Exception:  # of many types, by what is wrong with the text
        raise invalid("is not a private key in PEM without a password") from None
