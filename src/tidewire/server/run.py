"""
Running a server: from its settings to a clean exit.

If it cannot start, `StartRefused` says in one sentence why and what to do.
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
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.lifespan.on import LifespanOn

from ..delivery.tasks import start
from ..errors import StartRefused, TidewireError
from ..settings import Settings
from .listeners import bind_failure, listening, tls_context, url_of
from .logs import configure_logging
from .protocol import StreamProtocol

logger = logging.getLogger("tidewire.server")

# Connections that may wait to be accepted: all streams of a node may reconnect at once.
# asyncio uses the same number for how many it accepts in one step and, when descriptors
# run out, for how many attempts fail each second; so it gets a smaller one.
BACKLOG = 4096
ACCEPT_AT_ONCE = 100

# Seconds between two log lines that say that descriptors have run out.
ACCEPT_ERROR_INTERVAL = 10.0
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# When the garbage collector runs: after this many new objects, again for those of two runs, and for all
# objects after a hundred of these. The second is at most 15,000 objects, or 10 ms: with Python's ten runs,
# 5,000 new streams made one step of 80 ms. Python's defaults are 700, 10 and 10.
GC_THRESHOLDS = 5_000, 1, 100

# Seconds that a thread keeps the GIL while others wait for it; Python's default is 5 ms.
SWITCH_INTERVAL = 0.0005

# Seconds between two looks whether the server is to stop. uvicorn looks ten times a second, which costs an
# idle process more than its log does.
TICK = 0.25

# Seconds after the drain before portable requests are cancelled.
SHUTDOWN_GRACE = 5


def serve(
    app: Any, *, host: str = "127.0.0.1", port: int = 8000, uds: str | None = None, **options: Any
) -> None:
    """
    Bind a host and port, or a unix socket, and serve an ASGI app there: see `listening` and `serve_on`.

    Raises `StartRefused` if the server cannot start and `TidewireError` if it stopped after a failure.
    """
    with listening(host, port, uds) as listeners:
        serve_on(listeners, app, **options)


def serve_on(
    listeners: Sequence[socket.socket],
    app: Any,
    *,
    settings: Settings,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    log_level: str = "info",
    access_log: bool = False,
    log_format: str = "text",
    started: Callable[[Sequence[str]], object] = lambda urls: None,
    failure: Callable[[], str] = str,
) -> None:
    """
    Serve an ASGI app on bound sockets until SIGTERM or SIGINT; return once it has stopped cleanly.

    `started` is called with the URLs once the app has started and accepts
    connections. `failure` is called four times a second: if it returns why the app
    can no longer work, the server stops. Raises `StartRefused` if the server
    cannot start and `TidewireError` if it stopped after a failure.
    """
    configure_logging(log_level, access_log, log_format)
    raise_descriptor_limit()
    tls = None if ssl_certfile is None else tls_context(ssl_certfile, ssl_keyfile)
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
    with fewer_collections(), faster_thread_switches():
        server.run()
    if server.reason:
        raise TidewireError(
            f"stopped, since nothing can be stored any more: {server.reason}", code="engine_failed"
        )


class Lifespan(LifespanOn):
    """uvicorn's, but a failed start raises `StartRefused` instead of being logged."""

    failure = "the program did not start; see its log"

    async def startup(self) -> None:
        self.main_task = start(self.main())
        await self.receive_queue.put({"type": "lifespan.startup"})
        await self.startup_event.wait()
        if self.startup_failed or self.error_occurred:
            raise StartRefused(self.failure)

    async def send(self, message: Any) -> None:
        if message["type"] == "lifespan.startup.failed":
            self.failure = message.pop("message", "") or self.failure
        await super().send(message)


class Server(uvicorn.Server):
    """uvicorn's, with sockets that are already bound, a timeout for TLS handshakes, and a clean exit."""

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
        # The handshake counts as part of the head. The peer's close_notify is not worth a long wait.
        self._tls = {"ssl_handshake_timeout": tls_timeout, "ssl_shutdown_timeout": 1.0} if config.ssl else {}
        self._accept_error_at = -math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._handle_loop_error)
        await self.lifespan.startup()
        try:
            self.servers = [await self._listen(sock) for sock in self.listeners]
        except OSError as error:
            await self.lifespan.shutdown()
            raise StartRefused(bind_failure(error, str(self.listeners[0].getsockname()))) from None
        self.started = True
        self.on_started()

    async def main_loop(self) -> None:
        # With 0, each tick renews the `Date` header.
        to_stop = await self.on_tick(0)
        while not to_stop:
            await asyncio.sleep(TICK)
            to_stop = await self.on_tick(0)

    async def on_tick(self, counter: int) -> bool:
        # After a restart the log can be written again, or the start fails with the reason.
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

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        interrupted = signal.SIGINT in self._captured_signals
        super().handle_exit(sig, frame)
        # uvicorn stops at once at a SIGINT after any signal. But one Ctrl-C reaches a worker twice: from the
        # terminal, and as a SIGTERM from its parent, which may come first.
        if not interrupted:
            self.force_exit = False

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # When it is done, uvicorn raises a captured signal again, which would kill the
        # process. Here a clean stop exits with 0.
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    def _handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log now and then that descriptors have run out; asyncio would log it a hundred times a second."""
        # uvloop logs nothing: it accepts each connection with a spare descriptor and closes it.
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
            if loop.time() > self._accept_error_at + ACCEPT_ERROR_INTERVAL:
                self._accept_error_at = loop.time()
                logger.error("cannot accept connections: %s (see `ulimit -n`)", os.strerror(error.errno))
        elif not (self.should_exit and isinstance(error, ValueError)):
            # (While stopping, asyncio tries to accept once more on a closed socket.)
            loop.default_exception_handler(context)


@contextlib.contextmanager
def fewer_collections() -> Generator[None, None, None]:
    """
    Run the garbage collector less often, and never on objects that exist already.

    The log keeps many entries, and none is in a cycle. Scanning them again and again
    took a sixth of the time of a publish.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextlib.contextmanager
def faster_thread_switches() -> Generator[None, None, None]:
    """
    Let the threads of a log on disk get the GIL sooner.

    A commit needs it three times, and while the event loop is busy each time takes
    a whole switch interval.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def raise_descriptor_limit() -> None:
    """Raise the descriptor limit to the hard limit: each stream takes a descriptor."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS reports "infinite" but allows less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
