"""
Settings to a running server: sockets, TLS, logging, signals and the exit.

What keeps it from starting is one sentence that says what to do: `StartRefused`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import json
import logging
import math
import os
import socket
import ssl
import stat
from collections.abc import Callable, Generator, Sequence
from typing import Any

import uvicorn
from uvicorn.lifespan.on import LifespanOn

from ..errors import StartRefused, TidewireError
from ..settings import Settings
from .protocol import StreamProtocol

logger = logging.getLogger("tidewire.server")

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")

# Connections that may wait to be accepted: a whole node's streams come back at once.
# asyncio takes the same number as how many it accepts in one step, and without a
# descriptor as how often it fails to, once a second; so it hears a smaller one.
BACKLOG = 4096
ACCEPT_AT_ONCE = 100

# Anyone on this machine may connect to a unix socket, as to a loopback port, unless
# its file stood there before with another mode.
SOCKET_MODE = 0o666

# Seconds between two lines that say that descriptors have run out.
ACCEPT_ERROR_INTERVAL = 10.0
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# New objects after which the collector of cycles runs; Python's own number is 700.
COLLECT_AFTER = 10_000

# What portable requests may take beyond the drain before they are cancelled.
SHUTDOWN_GRACE = 5


def serve(
    app: Any,
    *,
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    log_level: str = "info",
    access_log: bool = False,
    started: Callable[[Sequence[str]], object] = lambda urls: None,
    failure: Callable[[], str] = str,
) -> None:
    """
    Serve an ASGI app until SIGTERM or SIGINT; return when it has stopped in good order.

    `uds`: the path of a unix socket, instead of host and port. Port 0 takes a
    free one. `started` is called with the URLs once the app has started and
    connections are accepted. `failure` is asked now and then: once it says why
    the app is of no use any more, the server stops. Raises `StartRefused`, and
    `TidewireError` after a failure.
    """
    configure_logging(log_level, access_log)
    raise_descriptor_limit()
    tls = None if ssl_certfile is None else tls_context(ssl_certfile, ssl_keyfile)
    listeners = bind_unix(uds) if uds else bind_tcp(host, port)
    config = uvicorn.Config(
        app,
        http=StreamProtocol.configured(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=access_log,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=math.ceil(settings.drain) + SHUTDOWN_GRACE,
        ssl_context_factory=None if tls is None else lambda config, default: tls,
    )
    server = Server(config, listeners, settings.head_timeout)
    server.on_started = functools.partial(started, [url_of(sock, host, tls) for sock in listeners])
    server.failure = failure
    try:
        with rare_collections():
            server.run()
    finally:
        for sock in listeners:
            sock.close()
        if uds:
            with contextlib.suppress(OSError):
                os.unlink(uds)
    if reason := failure():
        raise TidewireError(f"stopped, since nothing can be stored any more: {reason}", code="engine_failed")


class Lifespan(LifespanOn):
    """uvicorn's, but a start that fails is told to whoever started the server, not to the log."""

    failure = "the program did not start: its log says why"

    async def startup(self) -> None:
        self.main_task = asyncio.create_task(self.main())
        await self.receive_queue.put({"type": "lifespan.startup"})
        await self.startup_event.wait()
        if self.startup_failed or self.error_occurred:
            raise StartRefused(self.failure)

    async def send(self, message: Any) -> None:
        if message["type"] == "lifespan.startup.failed":
            self.failure = message.pop("message", "") or self.failure
        await super().send(message)


class Server(uvicorn.Server):
    """uvicorn's, with sockets that are bound already, a bound on TLS handshakes, and a clean exit."""

    def __init__(
        self, config: uvicorn.Config, listeners: Sequence[socket.socket], tls_timeout: float
    ) -> None:
        config.load()
        config.lifespan_class = Lifespan
        super().__init__(config)
        self.listeners = listeners
        self.on_started: Callable[[], object] = lambda: None
        self.failure: Callable[[], str] = str
        # A handshake is part of the head; the peer's goodbye is nothing to wait for.
        self._tls = {"ssl_handshake_timeout": tls_timeout, "ssl_shutdown_timeout": 1.0} if config.ssl else {}
        self._accept_error_at = -math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._handle_loop_error)
        await self.lifespan.startup()
        try:
            self.servers = [await self._listen(sock) for sock in self.listeners]
        except OSError as error:
            await self.lifespan.shutdown()
            raise StartRefused(why_not(error, str(self.listeners[0].getsockname()))) from None
        self.started = True
        self.on_started()

    async def on_tick(self, counter: int) -> bool:
        # Whoever starts it again gets a log that can be written, or is told why it cannot.
        return await super().on_tick(counter) or bool(self.failure())

    async def _listen(self, sock: socket.socket) -> asyncio.base_events.Server:
        loop, config = asyncio.get_running_loop(), self.config
        create: Any = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        protocol_class: Any = config.http_protocol_class
        protocol = functools.partial(
            protocol_class,
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        server: asyncio.base_events.Server = await create(
            protocol, sock=sock, ssl=config.ssl, backlog=ACCEPT_AT_ONCE, **self._tls
        )
        sock.listen(config.backlog)
        return server

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # uvicorn raises a captured signal again when it is done, so that the process
        # would die of it. Here a stop in good order is an exit with 0.
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    def _handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say now and then that descriptors have run out; asyncio would say it a hundred times a second."""
        # uvloop says nothing: it has a spare descriptor, accepts what comes with it and closes that.
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
            if loop.time() > self._accept_error_at + ACCEPT_ERROR_INTERVAL:
                self._accept_error_at = loop.time()
                logger.error("no connection can be accepted: %s (see `ulimit -n`)", os.strerror(error.errno))
        elif not (self.should_exit and isinstance(error, ValueError)):
            # (asyncio tries to accept once more on a socket that is closed by now.)
            loop.default_exception_handler(context)


@contextlib.contextmanager
def rare_collections() -> Generator[None, None, None]:
    """
    Have the collector of cycles look less often, and never at what is there already.

    The log's entries are many, are kept, and are in no cycle: looking through them
    again and again was a sixth of the cost of a publish.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


# -- Sockets.


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


def url_of(sock: socket.socket, host: str, tls: ssl.SSLContext | None) -> str:
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


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as it may: each stream takes one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says "infinite" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# -- Logging.


class LineFormatter(logging.Formatter):
    """One record, one line (an exception adds indented ones): what users can put in is escaped as in JSON."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join("    " + printable(line) for line in super().formatException(ei).splitlines())


def printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def configure_logging(level: str, access_log: bool) -> None:
    """Log to stderr. uvicorn's own progress is shown only to those who debug."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    wanted = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("tidewire").setLevel(wanted)
    logging.getLogger("uvicorn").setLevel(wanted if level == "debug" else max(wanted, logging.WARNING))
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access_log else logging.CRITICAL)
