"""
What a server listens on: TCP and unix sockets, bound before it starts, and TLS.

If it cannot start, `StartRefused` says in one sentence why and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from typing import Any

from ..errors import StartRefused

# Any user of this machine may connect to a unix socket, as to a loopback port, unless
# its file existed before with another mode.
SOCKET_MODE = 0o666


@contextlib.contextmanager
def listening(host: str, port: int, uds: str | None = None) -> Iterator[list[socket.socket]]:
    """
    Give the bound sockets of a server, and close them at the end.

    `uds`: the path of a unix socket to use instead of host and port. Port 0 chooses
    a free one. Raises `StartRefused` if they cannot be bound.
    """
    listeners = bind_unix(uds) if uds else bind_tcp(host, port)
    try:
        yield listeners
    finally:
        for sock in listeners:
            sock.close()
        if uds:
            with contextlib.suppress(OSError):
                os.unlink(uds)


def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket per address of `host`, all on one port. Raises `StartRefused` if it fails."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise StartRefused(f"cannot resolve {host}; use an address of this machine") from None
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
        raise StartRefused(bind_failure(failure, f"{host}:{port}")) from None
    return bound


def bind_address(family: int, address: Any, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows the option means something else
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address[0], port, *address[2:]))
    except OSError:
        sock.close()
        raise
    return sock


def bind_unix(path: str) -> list[socket.socket]:
    """Return a socket bound to `path`; replace one without a listener. Raises `StartRefused` if it fails."""
    mode = remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, mode)
    except OSError as error:
        sock.close()
        raise StartRefused(bind_failure(error, path)) from None
    return [sock]


def remove_stale(path: str) -> int:
    """Remove a socket file that a killed server left behind. Return its mode."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return SOCKET_MODE
    if not stat.S_ISSOCK(mode):
        raise StartRefused(f"{path} is not a socket; use another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) == 0:
            raise StartRefused(f"{path} is in use; stop the program that listens there, or use another path")
    with contextlib.suppress(OSError):  # then `bind` fails and says why
        os.unlink(path)
    return stat.S_IMODE(mode)


REASONS = {
    errno.EADDRINUSE: "{where} is in use; stop the program that listens there, or use another port",
    errno.EADDRNOTAVAIL: "{where} is not an address of this machine",
    errno.EACCES: "this user may not listen on {where}; ports below 1024 often need root",
    errno.EPERM: "this user may not listen on {where}; ports below 1024 often need root",
    errno.ENOENT: "{where}: no such directory",
}


def bind_failure(error: OSError, where: str) -> str:
    """Return in one sentence why the server cannot listen on `where`."""
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
    """Return a context with this certificate, for HTTP/1.1. Raises `StartRefused` if it cannot be loaded."""
    for path in filter(None, (certfile, keyfile)):
        try:
            open(path, "rb").close()
        except OSError as error:
            raise StartRefused(f"cannot read the TLS file {path}: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(certfile, keyfile, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        files = " and ".join(filter(None, (certfile, keyfile)))
        reason = getattr(error, "reason", None) or error
        raise StartRefused(f"{files}: not a certificate and its unencrypted key in PEM ({reason})") from None
    return context
