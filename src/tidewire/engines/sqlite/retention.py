"""
What retention did to the log, read from its file: another process may have done it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple


class Retention(NamedTuple):
    floor: int
    """The offset of the oldest entry kept."""
    marks: Sequence[tuple[str, int]] = ()
    """The marks that were set, in the order of their offsets."""
    dropped_mark: int = 0
    """The largest mark that is no longer kept."""
    trimmed_bytes: int = 0
    """The bytes of all entries below the floor."""


def retention_since(db: sqlite3.Connection, floor: int) -> Retention:
    """Return what has changed since the floor was `floor`. Raises `sqlite3.Error`."""
    (now,) = db.execute("SELECT value FROM meta WHERE name = 'floor'").fetchone()
    if now == floor:
        return Retention(floor)
    marks = db.execute(
        "SELECT topic, offset FROM marks WHERE offset >= ? AND offset < ? ORDER BY offset", (floor, now)
    ).fetchall()
    values = dict(db.execute("SELECT name, value FROM meta").fetchall())
    return Retention(now, marks, values["dropped_mark"], values["trimmed_bytes"])
