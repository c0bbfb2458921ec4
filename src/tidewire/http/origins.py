"""
Protection from web pages: which origins may use a hub, and which host names it accepts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from ..errors import Forbidden, InvalidInput, Misdirected
from .admission import is_loopback
from .asgi import Headers
from .requests import Request

logger = logging.getLogger("tidewire")

# In every response: a cache must not serve one origin's response to another.
VARY_ORIGIN: Headers = [(b"vary", b"origin")]

DEFAULT_PORTS = {"http": ":80", "https": ":443"}

# Methods that change nothing.
READING = ("GET", "HEAD", "OPTIONS")

# Log lines about origins, at the most: anyone can send any origin.
MAX_LOGGED = 100

LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}


class Cors:
    """
    Which pages of other origins may read and write: none, unless their origin is allowed.

    Subscriptions with a cookie are checked too, since an EventSource sends no preflight.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = frozenset(check_origin(origin) for origin in allowed)
        self._logged: set[tuple[str, bool]] = set()

    def check(self, request: Request) -> None:
        """Refuse what another site's page makes a browser send. Without an Origin (curl) all is allowed."""
        origin = page_of(request)
        # Browsers send no Origin with an `<img>`, which could use up the streams of the user.
        foreign = origin is None or (origin != "" and origin not in self.allowed)
        refused = foreign and (request.method not in READING or b"cookie" in request.headers)
        if foreign and origin is not None:
            self._log(request, origin, refused)
        if refused:
            raise cross_site()

    def check_page(self, request: Request) -> None:
        """Refuse a write by a cookie if nothing says which page sent it: then `check` could not judge it."""
        if request.header(b"origin") is None and request.header(b"sec-fetch-site") != "same-origin":
            raise cross_site()

    def _log(self, request: Request, origin: str, refused: bool) -> None:
        """Say, once for each origin, what its pages cannot do and how to allow it."""
        if not is_origin(origin) or (origin, refused) in self._logged or len(self._logged) >= MAX_LOGGED:
            return
        self._logged.add((origin, refused))
        logger.warning(
            "%s of a page of %.200s, another origin; --allowed-origin %.200s allows it, in a program"
            " Hub(allowed_origins=[...])",
            f"refused the {request.method}" if refused else f"no CORS header for the {request.method}",
            origin,
            origin,
        )

    def headers(self, request: Request) -> Headers:
        """Return the headers that every response has."""
        headers = list(VARY_ORIGIN)
        origin = request.header(b"origin")
        if origin and origin in self.allowed:
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", b"tidewire-heartbeat, tidewire-position, retry-after"),
            ]
        return headers

    def preflight(self, request: Request) -> Headers:
        """Return the headers that only the answer to a preflight has, if the origin is allowed."""
        if request.header(b"origin") not in self.allowed:
            return []
        return [
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (
                b"access-control-allow-headers",
                b"authorization, cache-control, content-type, event-type, idempotency-key,"
                b" last-event-id, tidewire-client",
            ),
            (b"access-control-max-age", b"7200"),
        ]


def cross_site() -> Forbidden:
    return Forbidden("pages of another origin may not do this; allow the origin at the hub")


def page_of(request: Request) -> str | None:
    """
    Return the origin of the page that a request is of; "" for the hub's own pages and for programs.

    None if it is of another page that the browser does not name.
    """
    origin = request.header(b"origin")
    site = request.header(b"sec-fetch-site")
    # No page can set this header, and where a proxy rewrites Host, a page's own origin looks foreign.
    if site == "same-origin":
        return ""
    if origin is None:
        return None if site in ("cross-site", "same-site") else ""
    return "" if own(request, origin) else origin


def own(request: Request, origin: str) -> bool:
    """Return whether `origin` is that of the hub as its clients see it."""
    # The scheme is not compared: behind a proxy that terminates TLS the hub sees http. What follows
    # it is compared as text: a URL parser raises for some texts, such as `http://[` (attack E14).
    scheme, _, name = origin.lower().partition("://")
    name = without_port(name, scheme)
    hosts = (request.header(b"host"), forwarded_host(request))
    return any(host and without_port(host.lower(), scheme) == name for host in hosts)


def forwarded_host(request: Request) -> str | None:
    """
    Return the Host that a trusted proxy received, or None.

    A proxy is trusted on this machine, and where the server took the client's address from its
    `X-Forwarded-For`. Where the browser itself says what is foreign, nothing else is asked: a program
    that lets all pages send all headers would let them send this one.
    """
    host = request.header(b"x-forwarded-host")
    if host is None or b"sec-fetch-site" in request.headers:
        return None
    clients = [name.strip() for name in (request.header(b"x-forwarded-for") or "").split(",")]
    client = request.client
    if client is None or is_loopback(client) or client in clients:
        return host.partition(",")[0].strip()
    return None


def without_port(host: str, scheme: str) -> str:
    """Return `host` without the default port of `scheme`."""
    return host.removesuffix(DEFAULT_PORTS.get(scheme, " "))


def check_origin(origin: str) -> str:
    if not is_origin(origin):
        raise InvalidInput(
            f"an allowed origin must be a scheme and a host, such as https://example.com, not {origin!r}",
            code="invalid_origin",
        )
    scheme, _, host = origin.lower().partition("://")
    # As browsers spell it.
    return f"{scheme}://{without_port(host, scheme)}"


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
