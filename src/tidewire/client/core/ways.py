"""
The way to a server: the proxy and the certificates that the environment names for it.

They are looked up when a URL first needs them, so that a variable meant for others does no harm: a stream
from this machine needs neither, and one without TLS no certificates.
"""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple, TypeVar
from urllib.request import getproxies

import httpx2

T = TypeVar("T")

# Never reached through a proxy, whatever the environment says. (With curl and httpx2 they are.)
THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


class WrongEnvironment(httpx2.UnsupportedProtocol):
    """A variable of the environment that this URL needs cannot be used. The message names it."""


class Way(NamedTuple):
    """What all requests of one connection pool have in common."""

    proxy: str | None
    tls: bool


def way_to(url: httpx2.URL) -> Way:
    return Way(proxy_for(url), url.scheme == "https")


def proxy_for(url: httpx2.URL) -> str | None:
    """Return the URL of the proxy for a URL, as the environment says it, or None."""
    if url.host in THIS_MACHINE:
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or is_exempt(url.host, url.port, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_exempt(host: str, port: int | None, names: str) -> bool:
    """Whether NO_PROXY names the host: itself, with its port, a domain above it, or its network."""
    for name in names.lower().split(","):
        exempt = name.strip().removeprefix("*.").removeprefix(".")
        if exempt in ("*", host, f"{host}:{port}") or (exempt and host.endswith(f".{exempt}")):
            return True
    return is_in_network(host, names)


def is_in_network(host: str, names: str) -> bool:
    with suppress(ValueError):
        address = ip_address(host)
        return any(address in network for network in networks(names))
    return False


def networks(names: str) -> Iterator[IPv4Network | IPv6Network]:
    for name in names.split(","):
        with suppress(ValueError):
            yield ip_network(name.strip(), strict=False)


def build(transport: Callable[..., T], way: Way) -> T:
    """Return the transport for a way. Raises `WrongEnvironment` if a variable cannot be used."""
    tls = way.tls or (way.proxy or "").startswith("https:")
    # Where nobody is asked for a certificate, a context that trusts nobody.
    context = certificates() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if way.proxy is None:
        return transport(verify=context)
    scheme = way.proxy.partition(":")[0]
    if scheme not in PROXY_SCHEMES:
        raise WrongEnvironment(
            f"cannot use the proxy of {variable(way)}: {scheme}:// is not one of {', '.join(PROXY_SCHEMES)}"
        )
    try:
        return transport(verify=context, proxy=httpx2.Proxy(way.proxy))
    except ImportError:
        problem = "SOCKS needs an extra: pip install 'tidewire[socks]'"
    except (ValueError, httpx2.InvalidURL) as error:
        problem = str(error)
    raise WrongEnvironment(f"cannot use the proxy of {variable(way)}: {problem}")


def variable(way: Way) -> str:
    """Return the name of the variable that a proxy comes from."""
    scheme = "https" if way.tls else "http"
    names = [spelled for name in (f"{scheme}_proxy", "all_proxy") for spelled in (name, name.upper())]
    return next((name for name in names if os.environ.get(name)), "the system")


# Reading the system's certificates takes 60 ms, 30 times as long as the rest of a client.
@functools.cache
def certificates() -> ssl.SSLContext:
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        names = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        problem = (error.strerror or str(error)).lower()
    raise WrongEnvironment(f"cannot read the certificates of {' or '.join(names) or 'the system'}: {problem}")
