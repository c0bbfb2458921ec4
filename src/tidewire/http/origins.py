"""
Protection from web pages: which origins may use a hub, and which host names it accepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from ..errors import Forbidden, InvalidInput, Misdirected
from .asgi import Headers
from .requests import Request

# In every response: a cache must not serve one origin's response to another.
VARY_ORIGIN: Headers = [(b"vary", b"origin")]

LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}


class Cors:
    """
    Which pages of other origins may read and write: none, unless their origin is allowed.

    Subscriptions with a cookie are checked too, since an EventSource sends no preflight.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = frozenset(check_origin(origin) for origin in allowed)

    def check(self, request: Request) -> None:
        """Refuse what another site's page makes a browser send. Without an Origin (curl) all is allowed."""
        origin = request.header(b"origin")
        writes = request.method not in ("GET", "HEAD", "OPTIONS")
        if origin is None:
            foreign = request.header(b"sec-fetch-site") == "cross-site"
        else:
            foreign = not self.own(request, origin) and origin not in self.allowed
        if foreign and (writes or b"cookie" in request.headers):
            raise Forbidden("pages of another origin may not do this; allow the origin at the hub")

    def own(self, request: Request, origin: str) -> bool:
        # The scheme is not compared: behind a proxy that terminates TLS the hub sees http. What follows
        # it is compared as text: a URL parser raises for some texts, such as `http://[` (attack E14).
        host = request.header(b"host") or ""
        return host != "" and origin.partition("://")[2].lower() == host.lower()

    def headers(self, request: Request | None) -> Headers:
        """Return the headers that every response has."""
        headers = list(VARY_ORIGIN)
        origin = request and request.header(b"origin")
        if origin and origin in self.allowed:
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", b"tidewire-heartbeat, tidewire-position, retry-after"),
            ]
        return headers

    def preflight(self, request: Request) -> Headers:
        headers = self.headers(request)
        if len(headers) > 1:
            headers += [
                (b"access-control-allow-methods", b"GET, POST, DELETE"),
                (
                    b"access-control-allow-headers",
                    b"authorization, cache-control, content-type, event-type, idempotency-key,"
                    b" last-event-id, tidewire-client",
                ),
                (b"access-control-max-age", b"7200"),
            ]
        return headers


def check_origin(origin: str) -> str:
    if not is_origin(origin):
        raise InvalidInput(
            f"an allowed origin must be a scheme and a host, such as https://example.com, not {origin!r}",
            code="invalid_origin",
        )
    return origin


def is_origin(text: str) -> bool:
    try:
        scheme, host, *_ = urlsplit(text)
    except ValueError:  # such as http://[
        return False
    return scheme in ("http", "https") and host != "" and text == f"{scheme}://{host}"


def check_host(request: Request, allowed: Iterable[str]) -> None:
    """Refuse other host names: a page can point its own name at a loopback address (DNS rebinding)."""
    host = (request.header(b"host") or "").lower()
    name = host.rpartition(":")[0] if re.search(r":[0-9]*$", host) else host
    if name not in LOOPBACK_NAMES and name not in allowed and host not in allowed:
        raise Misdirected(
            "this hub does not accept that host name; add it with --allowed-host", code="wrong_host"
        )
