"""
The SQLite database of a log: its schema, how it is opened, and what its errors mean.
"""

from __future__ import annotations

import sqlite3

from ...errors import StartRefused, StoreFull, TidewireError, Unavailable

# "TDWR", so that `file` and others can tell a log from other databases.
APPLICATION_ID = 0x54445752
# Offsets of one block, as a power of two: which topics occur in it is noted once.
BLOCK_BITS = 10
# Seconds to wait for a program that has the file locked for a moment, such as a backup.
BUSY = 1.0
# Milliseconds that publishes wait for readers of a long WAL: longer than any page takes.
PATIENCE = 100
# More statements than the lengths of INSERT there are.
STATEMENTS = 128

SCHEMA = """
-- What is now: floor, trimmed_bytes (of all entries below it), dropped_mark, clean.
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('floor', 1), ('trimmed_bytes', 0), ('dropped_mark', 0), ('clean', 1);

-- Every life of the log, for good and in their order, with the first offset that belongs to it.
CREATE TABLE lives (number INTEGER PRIMARY KEY, life TEXT NOT NULL, first INTEGER NOT NULL);

-- `bytes` is the size of the log through this entry, counted from its beginning.
CREATE TABLE entries (
  offset INTEGER PRIMARY KEY,
  topic TEXT NOT NULL,
  event TEXT,
  retry INTEGER,
  is_end INTEGER NOT NULL,
  time REAL NOT NULL,
  size INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  data TEXT NOT NULL
);
CREATE INDEX ends ON entries (topic) WHERE is_end;

-- Which topics occur in each 1,024 offsets. An index by topic would write a page
-- for every topic in every commit; this one grows only at its end.
CREATE TABLE topic_blocks (block INTEGER, topic TEXT, PRIMARY KEY (block, topic)) WITHOUT ROWID;

-- A key is held for its time, whether or not the entry it led to is still kept.
CREATE TABLE keys (
  offset INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  digest BLOB NOT NULL,
  time REAL NOT NULL
);

-- Per topic, the newest entry that is no longer kept.
CREATE TABLE marks (topic TEXT PRIMARY KEY, offset INTEGER NOT NULL, ended INTEGER NOT NULL) WITHOUT ROWID;
"""

# What makes a file of version n one of version n + 1; an empty file has version 0.
MIGRATIONS = (SCHEMA,)


def connect(path: str) -> sqlite3.Connection:
    """
    Open a connection that commits at the end of each statement, and that threads may pass on.

    Raises `sqlite3.Error`.
    """
    db = sqlite3.connect(
        path, timeout=BUSY, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
    )
    try:
        # Nothing that was acknowledged may be lost in a power cut. NORMAL lost 6 of 30,736.
        db.execute("PRAGMA synchronous = FULL")
        # The engine says when: off the way of publishes.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        # A WAL that grew while something kept it from being moved into the file shrinks again.
        db.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        # It may be no database.
        db.close()
        raise
    return db


def prepare(db: sqlite3.Connection, path: str) -> None:
    """Make an empty file a log, and an older log one of this version. Raises `StartRefused`."""
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner != APPLICATION_ID and (tables or version or owner):
        raise StartRefused(f"{path} is a database of another program: take another file", code="log_damaged")
    if version > len(MIGRATIONS):
        raise StartRefused(f"the log {path} was written by a newer Tidewire: install that one")
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StartRefused(
            f"the file system of {path} cannot hold a log: take one of this machine's own disks"
        )
    for number in range(version, len(MIGRATIONS)):
        db.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1}; COMMIT;"
        )


def quick_check(db: sqlite3.Connection, path: str) -> None:
    """Look through the whole file. Raises `StartRefused`."""
    (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        # Its first line only says in which database.
        what = said.splitlines()[-1]
        raise StartRefused(
            f"the log {path} is damaged ({what}): restore it from a backup, or take another file",
            code="log_damaged",
        )


def checkpoint(db: sqlite3.Connection) -> int:
    """Move the WAL into the file, so far as nobody reads or writes what would be moved; return its pages."""
    _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


def begin_wal_anew(db: sqlite3.Connection) -> None:
    """Wait a moment until nobody reads the WAL. Else readers that take turns would let it grow for ever."""
    db.execute(f"PRAGMA busy_timeout = {PATIENCE}")
    try:
        db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    finally:
        db.execute(f"PRAGMA busy_timeout = {round(BUSY * 1000)}")


def refusal(error: sqlite3.Error) -> TidewireError | None:
    """Return what a failed transaction is answered with if it left nothing behind; None if it may have."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull("the disk of the log is full: free some of it, and publish again")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable("another program has locked the log", code="engine_busy", retry_after=1)
    return None


def unreadable(path: str, error: sqlite3.Error) -> StartRefused:
    """Return why a log could not be opened."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StartRefused(
            f"{path} is no log, or a damaged one ({error}): take another file, or a backup",
            code="log_damaged",
        )
    if code == sqlite3.SQLITE_BUSY:
        return StartRefused(f"another program has locked the log {path}: stop that first")
    return StartRefused(f"the log {path} cannot be opened: {error}. Is its directory there and writable?")
