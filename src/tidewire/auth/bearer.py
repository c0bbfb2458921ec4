"""
The bearer token of a request (RFC 6750, section 2.1). No I/O: headers and query in, a token out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from ..errors import InvalidInput, Unauthorized

# No token is longer: 1,000 grants take about as much.
MAX_TOKEN = 32 * 1024

# "b64token"; "credentials = "Bearer" 1*SP b64token"; the scheme in any case (RFC 9110, section 11.1).
TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
BEARER = re.compile(rb"bearer +(%b)" % TOKEN.pattern, re.IGNORECASE)

# What clients call a token in the query, where logs and histories would keep it.
QUERY_NAMES = {"access_token", "authorization", "jwt", "token"}


def bearer_token(scope: Mapping[str, Any]) -> bytes | None:
    """
    Return the token in the `Authorization` header of an ASGI scope, or None if it has no such header.

    Raises `InvalidInput` if a token is in the query (`token_in_query`), and `Unauthorized` if the header
    is not one bearer token.
    """
    if any(name.lower() in QUERY_NAMES for name, _ in parsed_query(scope.get("query_string", b""))):
        raise InvalidInput(
            "send the token in the Authorization header, not in the URL", code="token_in_query"
        )
    given = [value for name, value in headers_of(scope) if name.lower() == b"authorization"]
    if not given:
        return None
    found = BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if found is None or len(found[1]) > MAX_TOKEN:
        raise Unauthorized("send one header: `Authorization: Bearer TOKEN`", code="invalid_token")
    return found[1]


def has_authorization(scope: Mapping[str, Any]) -> bool:
    return any(name.lower() == b"authorization" for name, _ in headers_of(scope))


def headers_of(scope: Mapping[str, Any]) -> Iterable[tuple[bytes, bytes]]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return headers


def parsed_query(query: bytes) -> list[tuple[str, str]]:
    # Whether the query is valid at all is judged elsewhere.
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True) if query else []
