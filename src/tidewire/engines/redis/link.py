"""
A connection to the server: commands out, replies in.

Rule 1: a connection is to the server that this node knows. Another one, or one that has started again, may
        have lost entries: then `ServerChanged` is raised, and the node looks at the log first.
Rule 2: after a timeout or a cancelled call the connection is closed: it would return the replies to others.
Rule 3: nothing is sent twice. A call whose connection breaks raises `Lost`, and it may have been carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from ...errors import StoreFull, TidewireError, Unavailable
from .scripts import Script

Command = tuple[Any, ...]
# What the server says when it refuses a write before it has done anything.
REFUSALS = ("READONLY", "MISCONF", "NOREPLICAS", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")


class Lost(Unavailable):
    """The connection could not be made, or broke. `sent`: the command may have been carried out."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(
            f"the Redis server cannot be reached: {why}", code="engine_unavailable", retry_after=1
        )
        self.sent = sent


class ServerChanged(Lost):
    """It is another server than before, or it has started again."""


class Server:
    """What all connections of a node know of the server."""

    def __init__(self, pool: ConnectionPool, place: str) -> None:
        self.pool = pool
        self.place = place
        """Where it is, for messages: without a password."""
        self.run_id: str | None = None
        """The server that the log was looked at on; None while that is not known."""
        self.info: dict[str, str] = {}
        self.clock = 0.0
        """What the server's clock shows more than the monotonic clock of this machine."""

    def make_connection(self) -> AbstractConnection:
        connection: AbstractConnection = self.pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def close(self) -> None:
        """Close the connections to the sentinels, if there are any. The others belong to links."""
        if isinstance(self.pool, SentinelConnectionPool):
            for client in self.pool.sentinel_manager.sentinels:
                with contextlib.suppress(RedisError, OSError):
                    await client.aclose()


class Link:
    """One connection, which is made when it is needed. Calls wait for each other. `timeout` is in seconds."""

    def __init__(self, server: Server, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._connection: AbstractConnection | None = None
        self._lock = asyncio.Lock()

    async def call(self, *commands: Command, timeout: float | None = None) -> list[Any]:
        """
        Return the replies, or the errors, to commands that are sent together.

        Raises `Lost` and, for what concerns all commands, other errors of `error_of`.
        """
        async with self._lock:
            sent = False
            try:
                async with asyncio.timeout(timeout or self._timeout):
                    connection = await self._connected()
                    packed = b"".join(map(pack, commands))
                    sent = True
                    await connection.send_packed_command(packed, check_health=False)
                    return [await self._reply(connection) for _ in commands]
            except TimeoutError:
                await self.close()
                raise Lost("no answer in time", sent=sent) from None
            except (RedisError, OSError) as error:
                await self.close()
                raise error_of(error, sent=sent) from None
            except BaseException:
                await self.close()
                raise

    async def ask(self, *command: Any, timeout: float | None = None) -> Any:
        """Return the reply to one command. Raises as `call`, and what `error_of` makes of an error reply."""
        (reply,) = await self.call(command, timeout=timeout)
        return good(reply)

    async def run(self, script: Script, keys: Sequence[str], *values: Any) -> Any:
        """Run a script. Raises as `ask`."""
        (reply,) = await self.call((b"EVALSHA", script.sha, len(keys), *keys, *values))
        if isinstance(reply, NoScriptError):
            # Nothing of it was run. The server has started again, or its scripts were flushed.
            (reply,) = await self.call((b"EVAL", script.text, len(keys), *keys, *values))
        return good(reply)

    async def together(self, *commands: Command) -> list[Any]:
        """Return the replies to commands that are carried out in one step. Raises as `ask`."""
        *queued, done = await self.call((b"MULTI",), *commands, (b"EXEC",))
        for reply in queued:
            good(reply)
        return [good(reply) for reply in good(done)]

    async def _reply(self, connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return error

    async def _connected(self) -> AbstractConnection:
        if self._connection is not None and self._connection.is_connected:
            return self._connection
        connection = self._server.make_connection()
        self._connection = connection
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await self._recognise(connection)
        except BaseException:
            # `close` found nothing to close if it was called before the connection was made.
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _recognise(self, connection: AbstractConnection) -> None:
        server = self._server
        before = time.monotonic()
        await connection.send_packed_command(pack((b"INFO",)) + pack((b"TIME",)), check_health=False)
        info, now = await self._reply(connection), await self._reply(connection)
        if self._connection is not connection:
            # `close` was called meanwhile, since this may be the wrong server by now.
            raise Lost("the connection was closed", sent=False)
        found = fields_of(info) if isinstance(info, bytes) else {}
        if found.get("role", "master") not in ("master", "primary"):
            raise ReadOnlyError("it is a replica, not the primary")
        run_id = found.get("run_id", "")
        if server.run_id is None:
            server.run_id, server.info = run_id, found
            if not isinstance(now, Exception):
                seconds, micros = now
                server.clock = int(seconds) + int(micros) / 1e6 - (before + time.monotonic()) / 2
        elif run_id != server.run_id:
            raise ServerChanged("it is another server, or it has started again", sent=False)

    async def close(self) -> None:
        """Close the connection at once. The next call makes another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # This does not wait for the peer, which may not answer.
            await connection.disconnect(nowait=True)


def pack(command: Command) -> bytes:
    """Return a command as it is sent: redis-py takes four times as long for hundreds of short words."""
    words = [word if type(word) is bytes else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def good(reply: Any) -> Any:
    """Return a reply. Raises what `error_of` makes of an error."""
    if isinstance(reply, Exception):
        raise error_of(reply, sent=True)
    return reply


def error_of(error: Exception, *, sent: bool) -> TidewireError:
    """Return the error of ours for one of redis-py or of the socket."""
    if isinstance(error, TidewireError):
        return error
    text = str(error) or type(error).__name__
    if isinstance(error, OutOfMemoryError) or text.startswith("OOM"):
        return StoreFull("the Redis server has no memory left", retry_after=1)
    if isinstance(error, AuthorizationError | AuthenticationError):
        return Unavailable(f"the Redis server refuses this user: {text}", code="engine_unavailable")
    if isinstance(error, NoPermissionError):
        return Unavailable(f"the Redis user may not do what a log needs: {text}", code="engine_unavailable")
    if isinstance(error, MovedError):
        return Unavailable(
            "this is a node of a Redis Cluster that does not have the log's keys: name the one that has them",
            code="engine_unavailable",
        )
    if isinstance(error, ResponseError) and not isinstance(error, ReadOnlyError):
        again = 1 if text.startswith(REFUSALS) else None
        return Unavailable(f"the Redis server refuses: {text}", code="engine_unavailable", retry_after=again)
    return Lost(text, sent=sent and not isinstance(error, ReadOnlyError))


def fields_of(info: bytes) -> dict[str, str]:
    """Return the fields of the server's INFO."""
    lines = info.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
