"""
What other processes have stored in the log since this one looked.

Rule 1: everything is read in one transaction, so that floor, marks and entries fit each other.
Rule 2: a look is limited. If there is more, look again.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from ...log.entries import Entry
from .reader import EVERYTHING, ROWS, Lives, entries_of
from .retention import Retention, retention_since
from .staging import HEAD

# Entries in one look, and their bytes, or one larger entry.
LOOK = 1_000
LOOK_BYTES = 4 * 1024 * 1024

TOTAL = "SELECT bytes FROM entries WHERE offset = ?"
FITTING = "SELECT max(offset) FROM entries WHERE offset > ? AND offset <= ? AND bytes <= ?"


class News(NamedTuple):
    """What is new after a head and a floor."""

    entries: list[Entry]
    total: int
    """The bytes of the log through the last of `entries`."""
    keys: int
    """How many keys they brought."""
    retention: Retention
    more: bool
    """Whether there is more to read."""
    lost: bool
    """Whether retention has taken entries that this process never saw. Then there are no `entries`."""


def news_after(db: sqlite3.Connection, head: int, floor: int, total: int, lives: Lives) -> News | None:
    """Return what is new in the log, or None. Raises `sqlite3.Error`."""
    db.execute("BEGIN")
    try:
        (newest,) = db.execute(f"SELECT {HEAD}").fetchone()
        retention = retention_since(db, floor)
        if (newest, retention.floor) == (head, floor):
            return None
        if retention.floor > head + 1:
            return News([], total, 0, retention, False, True)
        return read_news(db, head, newest, total, lives, retention)
    finally:
        db.execute("COMMIT")


def read_news(
    db: sqlite3.Connection, head: int, newest: int, total: int, lives: Lives, retention: Retention
) -> News:
    through = min(newest, head + LOOK)
    entries: list[Entry] = []
    keys = 0
    if through > head:
        most, (total,) = total + LOOK_BYTES, db.execute(TOTAL, (through,)).fetchone()
        if total > most:
            through = max(head + 1, db.execute(FITTING, (head, through, most)).fetchone()[0] or 0)
            (total,) = db.execute(TOTAL, (through,)).fetchone()
        (text,) = db.execute(EVERYTHING.of(ROWS), (head + 1, through)).fetchone()
        entries = entries_of(text, lives)
        (keys,) = db.execute(
            "SELECT count(*) FROM keys WHERE offset > ? AND offset <= ?", (head, through)
        ).fetchone()
    return News(entries, total, keys, retention, through < newest, False)
