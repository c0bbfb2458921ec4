"""
The URL of a database, as users write it: what psycopg gets, and what is shown.
"""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ...errors import InvalidInput


def conninfo_of(url: str) -> str:
    """Return what psycopg connects to. Raises `InvalidInput` if `url` is not that of a database."""
    try:
        values = conninfo_to_dict(url)
    except psycopg.Error as error:
        text = str(error).strip().partition("\n")[0]
        raise InvalidInput(
            f"the URL of the PostgreSQL database is not valid: {text}", code="invalid_engine"
        ) from None
    # Of several hosts, only the primary will do.
    defaults = {"application_name": "tidewire", "target_session_attrs": "read-write"}
    return make_conninfo("", **{**defaults, **values})


def place_of(url: str) -> str:
    """Return how a database is named in messages: without user and password."""
    try:
        values = conninfo_to_dict(url)
    except psycopg.Error:
        return "of the database"
    host, port = values.get("host") or "localhost", values.get("port")
    return f"{host}{f':{port}' if port else ''}/{values.get('dbname') or ''}"
