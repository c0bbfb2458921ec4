"""
A connection to the server: work in, results out.

Rule 1: one piece of work at a time, within a time limit. After any error, and when its caller is cancelled,
        the connection is closed: nothing of it is left for the next piece of work.
Rule 2: nothing is sent twice. Work whose connection broke may have been carried out: `Lost.sent`.
Rule 3: a connection that the server has closed in the meantime is noticed before anything is sent on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, errors

from ...errors import StoreFull, TidewireError, Unavailable
from ...log.tasks import start

T = TypeVar("T")

Connection = AsyncConnection[tuple[Any, ...]]
Work = Callable[[Connection], Awaitable[T]]

# The server soon forgets a peer that is gone without a word, and its locks with it.
BEGIN_SESSION = """
SELECT set_config('tcp_keepalives_idle', '2', false), set_config('tcp_keepalives_interval', '1', false),
  set_config('tcp_keepalives_count', '3', false), pid, backend_start,
  current_setting('default_transaction_isolation') = 'read committed'
FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""


class Lost(Unavailable):
    """The connection could not be made, or broke. `sent`: the work may have been carried out."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(
            f"the PostgreSQL server cannot be reached: {why}", code="engine_unavailable", retry_after=1
        )
        self.sent = sent


class NoLog(Unavailable):
    """The tables of the log are not there."""


class Link:
    """A connection to the server of `conninfo`, made when it is needed. `timeout` is in seconds."""

    def __init__(self, conninfo: str, timeout: float) -> None:
        self._conninfo = conninfo
        self._timeout = timeout
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._at_work = False
        self.session: tuple[Any, ...] = ()
        """What names the session of the newest connection in the server, also after it has ended."""
        self.reads_committed = False
        """Whether a statement outside a transaction sees what others commit while it runs."""
        self.prepares = True
        """Whether statements that are used often are prepared: behind a pooler they cannot be."""

    async def run(self, work: Work[T], timeout: float | None = None) -> T:
        """Return what `work` returns. Raises `Lost`, and other errors of `error_of`."""
        async with self._lock:
            until = asyncio.get_running_loop().time() + (timeout or self._timeout)
            connection = await self._connected(until)
            return await self._carry_out(work, connection, until)

    async def _carry_out(self, work: Work[T], connection: Connection, until: float) -> T:
        task = start(run(work, connection))
        self._at_work = True
        try:
            wait = until - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait({task}, timeout=max(wait, 0))
            if not done:
                raise Lost("no answer in time", sent=True)
            result = task.result()
        except BaseException as error:
            self.abandon()

            def end(task: asyncio.Task[T]) -> None:
                task.cancelled() or task.exception()  # retrieved: nobody waits for it any more
                connection.pgconn.finish()

            if task.done():
                end(task)
            else:
                # Without its socket it ends at once.
                task.add_done_callback(end)
                await asyncio.wait({task})
            if isinstance(error, psycopg.Error | OSError):
                raise error_of(error, sent=True) from None
            raise
        finally:
            self._at_work = False
        if self._connection is not connection:
            connection.pgconn.finish()  # abandoned in the meantime
        return result

    async def _connected(self, until: float) -> Connection:
        if self._connection is not None and is_open(self._connection):
            return self._connection
        self.abandon()
        connection: Connection | None = None
        try:
            async with asyncio.timeout_at(until):
                self._connection = connection = await AsyncConnection.connect(
                    self._conninfo, autocommit=True, prepare_threshold=5 if self.prepares else None
                )
                begun = await (await connection.execute(BEGIN_SESSION)).fetchone()
                *session, self.reads_committed = begun[3:] if begun else (False,)
                self.session = tuple(session)
        except BaseException as error:
            self._connection = None
            if connection is not None:
                connection.pgconn.finish()
            if isinstance(error, TimeoutError):
                raise Lost("no answer in time", sent=False) from None
            if isinstance(error, psycopg.Error | OSError):
                raise error_of(error, sent=False) from None
            raise
        return connection

    def abandon(self) -> None:
        """Close the connection at once. The next piece of work makes another one."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            # A task that waits for the server wakes up, and finds the connection closed. Until then its
            # descriptor stays open: another connection would get the same number.
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.socket(fileno=connection.pgconn.socket) as sock,
            ):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                finally:
                    sock.detach()
            if not self._at_work:
                connection.pgconn.finish()

    async def close(self) -> None:
        """Close the connection once the work on it is done."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()

    def release(self) -> None:
        """Close the connection, from any thread: its event loop is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()


async def run(work: Work[T], connection: Connection) -> T:
    return await work(connection)


def is_open(connection: Connection) -> bool:
    """Whether nothing has come on an idle connection that says that the server has closed it."""
    if connection.closed:
        return False
    if not has_input(connection):
        return True
    with contextlib.suppress(psycopg.Error):
        connection.pgconn.consume_input()  # a notice, or the reason why it is closed
        return connection.pgconn.status == psycopg.pq.ConnStatus.OK and not has_input(connection)
    return False


def has_input(connection: Connection) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([connection.pgconn.socket], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def error_of(error: Exception, *, sent: bool) -> TidewireError:
    """Return the error of ours for one of psycopg or of the socket."""
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, errors.DiskFull | errors.OutOfMemory):
        return StoreFull(f"the PostgreSQL server has no room left: {text}", retry_after=1)
    if isinstance(error, errors.InsufficientPrivilege):
        return Unavailable(
            f"the PostgreSQL role may not do what a log needs: {text}; let it own the schema tidewire and"
            " what is in it",
            code="engine_unavailable",
        )
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName | errors.UndefinedFunction):
        return NoLog(f"the database has no log: {text}", code="engine_unavailable", retry_after=1)
    # After an error that is not fatal, the server has rolled back and the connection goes on.
    if isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "ERROR":
        return Unavailable(f"the PostgreSQL server refuses: {text}", code="engine_unavailable", retry_after=1)
    return Lost(text, sent=sent)
