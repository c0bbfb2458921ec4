"""
Settings to a running server: signals and the exit.

What keeps it from starting is one sentence that says what to do: `StartRefused`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import math
import os
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

import uvicorn
from uvicorn.lifespan.on import LifespanOn

from ..errors import StartRefused, TidewireError
from ..settings import Settings
from .listeners import bind_tcp, bind_unix, tls_context, url_of, why_not
from .logs import configure_logging
from .protocol import StreamProtocol

logger = logging.getLogger("tidewire.server")

# Connections that may wait to be accepted: a whole node's streams come back at once.
# asyncio takes the same number as how many it accepts in one step, and without a
# descriptor as how often it fails to, once a second; so it hears a smaller one.
BACKLOG = 4096
ACCEPT_AT_ONCE = 100

# Seconds between two lines that say that descriptors have run out.
ACCEPT_ERROR_INTERVAL = 10.0
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# New objects after which the collector of cycles runs; Python's own number is 700.
COLLECT_AFTER = 10_000

# Seconds that a thread keeps Python's lock while others want it; Python's own are 5 ms.
SWITCH_INTERVAL = 0.0005

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
    server.on_started = functools.partial(started, [url_of(sock, tls) for sock in listeners])
    server.failure = failure
    try:
        with rare_collections(), prompt_threads():
            server.run()
    finally:
        for sock in listeners:
            sock.close()
        if uds:
            with contextlib.suppress(OSError):
                os.unlink(uds)
    if server.reason:
        raise TidewireError(
            f"stopped, since nothing can be stored any more: {server.reason}", code="engine_failed"
        )


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
        self.reason = ""
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
        self.reason = self.reason or self.failure()
        return await super().on_tick(counter) or bool(self.reason)

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


@contextlib.contextmanager
def prompt_threads() -> Generator[None, None, None]:
    """
    Have the threads of a log on disk get Python's lock sooner.

    A commit asks for it three times, and beside a busy event loop each time
    takes as long as this.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as it may: each stream takes one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says "infinite" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
