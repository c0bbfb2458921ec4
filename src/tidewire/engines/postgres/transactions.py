"""
Publishing within a transaction of the program: its own connection puts the event into the table `outbox`.

Rule 1: nothing is begun, committed or rolled back here. The event has the fate of the transaction.
Rule 2: drivers and frameworks are known by the names of their classes: none of them is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ...errors import InvalidInput
from ...log.entries import Draft

COLUMNS = ("topic", "data", "event", "retry", "key", "traceparent")
TYPES = ("text", "bytea", "text", "integer", "text", "text")


def insert(places: Sequence[str]) -> str:
    values = ", ".join(f"CAST({place} AS {kind})" for place, kind in zip(places, TYPES, strict=True))
    return f"INSERT INTO tidewire.outbox ({', '.join(COLUMNS)}) VALUES ({values})"


BY_PERCENT = insert(["%s"] * len(COLUMNS))
BY_NUMBER = insert([f"${number}" for number, _ in enumerate(COLUMNS, 1)])
BY_NAME = insert([f":{name}" for name in COLUMNS])

# By the package and the name of a class of the connection: how it is used, and whether it is awaited.
KINDS = {
    ("psycopg", "AsyncConnection"): ("percent", True),
    ("psycopg", "Connection"): ("percent", False),
    ("asyncpg", "Connection"): ("number", True),
    ("asyncpg", "PoolConnectionProxy"): ("number", True),
    ("sqlalchemy", "AsyncSession"): ("name", True),
    ("sqlalchemy", "async_scoped_session"): ("name", True),
    ("sqlalchemy", "AsyncConnection"): ("name", True),
    ("sqlalchemy", "Session"): ("name", False),
    ("sqlalchemy", "scoped_session"): ("name", False),
    ("sqlalchemy", "Connection"): ("name", False),
    ("django", "BaseDatabaseWrapper"): ("cursor", False),
    ("django", "ConnectionProxy"): ("cursor", False),
}
WANTED = "a connection of psycopg or asyncpg, a session or connection of SQLAlchemy, or Django's connection"


def kind_of(connection: object) -> tuple[str, bool]:
    """Return how `connection` is used, and whether it is awaited. Raises `InvalidInput`."""
    # Not its `__class__`: that of a proxy may be another one.
    for base in type(connection).__mro__:
        if kind := KINDS.get((base.__module__.partition(".")[0], base.__name__)):
            return kind
    name = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise InvalidInput(f"connection= takes {WANTED}, but not {name}", code="invalid_connection")


def is_async(connection: object) -> bool:
    """Whether `connection` is awaited. Raises `InvalidInput`."""
    return kind_of(connection)[1]


async def write(connection: Any, draft: Draft) -> None:
    """Put an event into the outbox by `connection`. Raises `InvalidInput`, and as its driver."""
    if not is_async(connection):
        write_now(connection, draft)
        return
    try:
        await _execute(connection, draft)
    except Exception as error:
        raise explained(error) from error


def write_now(connection: Any, draft: Draft) -> None:
    """As `write`, with a connection that is not awaited."""
    if is_async(connection):
        raise InvalidInput(
            "await hub.publish(…, connection=…) with this connection", code="invalid_connection"
        )
    try:
        _execute(connection, draft)
    except Exception as error:
        raise explained(error) from error


def _execute(connection: Any, draft: Draft) -> Any:
    how, _ = kind_of(connection)
    values = (draft.topic, draft.data.encode(), draft.event, draft.retry, draft.key, draft.traceparent)
    if how == "number":
        return connection.execute(BY_NUMBER, *values)
    if how == "name":
        text = sys.modules["sqlalchemy"].text(BY_NAME)
        return connection.execute(text, dict(zip(COLUMNS, values, strict=True)))
    if how == "percent":
        return connection.execute(BY_PERCENT, values)
    if connection.vendor != "postgresql":
        raise InvalidInput("this is not a connection to PostgreSQL", code="invalid_connection")
    with connection.cursor() as cursor:
        return cursor.execute(BY_PERCENT, values)


def explained(error: Exception) -> Exception:
    """Return what to raise for an error of the driver: one of ours if it says how to put it right."""
    state = sqlstate_of(error)
    if state in ("42P01", "3F000"):  # no such table, or no such schema
        return InvalidInput(
            "connection= is to a database that does not have the log of this hub", code="invalid_connection"
        )
    if state == "42501":
        return InvalidInput(
            "the role of connection= may not publish: GRANT USAGE ON SCHEMA tidewire and GRANT INSERT ON"
            " tidewire.outbox to it",
            code="invalid_connection",
        )
    return error


def sqlstate_of(error: BaseException | None) -> str | None:
    """Return PostgreSQL's code of an error, which SQLAlchemy and Django wrap."""
    while error is not None:
        if state := getattr(error, "sqlstate", None) or getattr(error, "pgcode", None):
            return str(state)
        error = getattr(error, "orig", None) or error.__cause__
    return None
