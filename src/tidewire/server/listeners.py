"""
What a server listens on: TCP and unix sockets, bound before it starts, and TLS.

What keeps it from starting is one sentence that says what to do: `StartRefused`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import stat
from typing import Any

from ..errors import StartRefused

# Anyone on this machine may connect to a unix socket, as to a loopback port, unless
# its file stood there before with another mode.
SOCKET_MODE = 0o666


def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of `host`, all with one port. Raise `StartRefused`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise StartRefused(f"nothing is known of the name {host}: take an address of this machine") from None
    bound: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            bound.append(bind_address(family, address, bound[0].getsockname()[1] if bound else port))
        except OSError as error:
            failure = error
    if not bound or (failure and failure.errno == errno.EADDRINUSE):
        for sock in bound:
            sock.close()
        assert failure is not None
        raise StartRefused(why_not(failure, f"{host}:{port}")) from None
    return bound


def bind_address(family: int, address: Any, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # Windows means another thing by it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address[0], port, *address[2:]))
    except OSError:
        sock.close()
        raise
    return sock


def bind_unix(path: str) -> list[socket.socket]:
    """Return a socket bound to `path`, in place of one that nobody listens on. Raise `StartRefused`."""
    mode = remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, mode)
    except OSError as error:
        sock.close()
        raise StartRefused(why_not(error, path)) from None
    return [sock]


def remove_stale(path: str) -> int:
    """Remove a socket file that a killed server left, and return the mode it had."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return SOCKET_MODE
    if not stat.S_ISSOCK(mode):
        raise StartRefused(f"{path} is a file and no socket: take another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) == 0:
            raise StartRefused(f"{path} is in use: stop what listens there, or take another path")
    with contextlib.suppress(OSError):  # then `bind` says why
        os.unlink(path)
    return stat.S_IMODE(mode)


REASONS = {
    errno.EADDRINUSE: "{where} is in use: stop what runs there, or take another port",
    errno.EADDRNOTAVAIL: "{where} is no address of this machine",
    errno.EACCES: "{where} is not allowed to this user: ports below 1024 often are not",
    errno.EPERM: "{where} is not allowed to this user: ports below 1024 often are not",
    errno.ENOENT: "{where}: there is no such directory",
}


def why_not(error: OSError, where: str) -> str:
    """Say in one sentence why `where` cannot be listened on."""
    return REASONS.get(error.errno or 0, "{where}: {error}").format(
        where=where, error=error.strerror or error
    )


def url_of(sock: socket.socket, tls: ssl.SSLContext | None) -> str:
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    address, port = sock.getsockname()[:2]
    if sock.family == socket.AF_INET6:
        address = f"[{address}]"
    return f"{'https' if tls else 'http'}://{address}:{port}"


def tls_context(certfile: str, keyfile: str | None) -> ssl.SSLContext:
    """Return a context with this certificate, for HTTP/1.1. Raise `StartRefused`."""
    for path in filter(None, (certfile, keyfile)):
        try:
            open(path, "rb").close()
        except OSError as error:
            raise StartRefused(f"the TLS file {path} cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An encrypted key would make OpenSSL ask the terminal.
        context.load_cert_chain(certfile, keyfile, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        files = " and ".join(filter(None, (certfile, keyfile)))
        reason = getattr(error, "reason", None) or error
        raise StartRefused(
            f"{files}: not a certificate with its unencrypted key, in PEM ({reason})"
        ) from None
    return context
