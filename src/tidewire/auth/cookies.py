"""
The cookie that has a token for a site's own pages (RFC 6265). No I/O: headers in, a token out, and back.

Rule 1: no script reads the cookie, no page of another site sends it, and it goes over TLS only (or to this
        machine, where browsers allow that).
Rule 2: its name begins with `__Host-` or `__Secure-`, so a page without TLS cannot set it. A second cookie
        of the name is not a choice: another page of the same site may have set it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import InvalidInput, Unauthorized
from .bearer import TOKEN, headers_of

# Browsers drop a cookie whose name and value are longer, without an error.
MAX_COOKIE = 4096


def session_token(scope: Mapping[str, Any]) -> bytes | None:
    """
    Return the token in the session cookie of an ASGI scope, or None without one.

    Raises `Unauthorized` if the cookie has no token or there are several.
    """
    given = session_cookies(scope)
    if not given:
        return None
    if len(given) > 1 or not TOKEN.fullmatch(given[0]):
        raise Unauthorized("the session cookie is not valid; sign in again", code="invalid_token")
    return given[0]


def has_session(scope: Mapping[str, Any]) -> bool:
    """Whether an ASGI scope has a session cookie, valid or not."""
    return bool(session_cookies(scope))


def has_cookie(scope: Mapping[str, Any]) -> bool:
    return bool(cookies_of(scope))


def session_cookie(scope: Mapping[str, Any], token: bytes, seconds: float) -> bytes:
    """
    Return the value of `Set-Cookie` that keeps `token` for `seconds`; without a token, that ends the session.

    Raises `InvalidInput` if the token is too long for a cookie.
    """
    path = cookie_path(scope)
    name = cookie_name(path)
    if len(name) + len(token) > MAX_COOKIE:
        raise InvalidInput(
            f"a token in a cookie may have at most {MAX_COOKIE - len(name)} bytes; grant patterns instead",
            code="token_too_long",
        )
    return b"%b=%b; Path=%b; Max-Age=%d; HttpOnly; Secure; SameSite=Strict" % (
        name,
        token,
        path,
        max(int(seconds), 0),
    )


def cookie_path(scope: Mapping[str, Any]) -> bytes:
    """Return the path that the cookie is for: that of the hub."""
    root: str = scope.get("root_path", "").rstrip("/")
    return quote(root, safe="/").encode() or b"/"


def cookie_name(path: bytes) -> bytes:
    # A `__Host-` cookie has the path `/`. It cannot be set for a whole domain, by another host of it.
    return b"__Host-tidewire" if path == b"/" else b"__Secure-tidewire"


def session_cookies(scope: Mapping[str, Any]) -> list[bytes]:
    name = cookie_name(cookie_path(scope))
    return [value for header in cookies_of(scope) for key, value in pairs(header) if key == name]


def cookies_of(scope: Mapping[str, Any]) -> list[bytes]:
    # HTTP/2 may split the header.
    return [value for name, value in headers_of(scope) if name.lower() == b"cookie"]


def pairs(header: bytes) -> list[tuple[bytes, bytes]]:
    found = [item.partition(b"=") for item in header.split(b";")]
    return [(name.strip(b" \t"), value.strip(b" \t")) for name, _, value in found]
