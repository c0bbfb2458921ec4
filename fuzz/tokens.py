"""Tokens: as a header has them, and the claims of tokens whose signature is right."""

from __future__ import annotations

import jwt

from fuzz.running import refused
from tidewire.auth.bearer import bearer_token
from tidewire.auth.claims import Expected, read_claims, read_head
from tidewire.auth.keys import read_key
from tidewire.auth.tokens import payload_of

SECRET = "a-secret-of-the-fuzzer-0123456789-0123456789"
KEYS = [read_key(SECRET)]
NOW = 1_795_000_000.0

SEEDS = [
    b'{"exp": 1795000600, "tidewire": {"subscribe": ["a/**"], "publish": ["b"], "admin": true}}',
    b'{"exp": 1795000600, "iat": 1795000000, "nbf": 1.5, "iss": "i", "sub": "s", "jti": "j", "aud": "a"}',
    b'{"exp": 1e400, "iat": "x", "tidewire": []}',
    b'{"exp": 1795000600, "tidewire": {"subscribe": [1, null, {}]}}',
    b'{"alg": "HS256", "kid": "k"}',
    b"eyJhbGciOiJIUzI1NiJ9.e30.x",
]


def check(data: bytes) -> None:
    refused(lambda: verified(data))
    refused(lambda: read_claims(data, Expected(), NOW))
    refused(lambda: read_claims(data, Expected("i", "a", 3600), NOW))
    signed = jwt.PyJWS().encode(data, SECRET, "HS256").encode()
    assert payload_of(signed, read_head(signed), KEYS) == (KEYS[0], data)
    for header in (data, b"Bearer " + data):
        refused(lambda header=header: bearer_token({"headers": [(b"authorization", header)]}))
    refused(lambda: bearer_token({"headers": [], "query_string": data}))


def verified(token: bytes) -> None:
    assert payload_of(token, read_head(token), KEYS) is None, "a forged token"
