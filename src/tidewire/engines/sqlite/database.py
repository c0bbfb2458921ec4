"""
The SQLite database of a log: its schema, how it is opened, and what its errors mean.
"""

from __future__ import annotations

import sqlite3

from ...errors import StartRefused, StoreFull, TidewireError, Unavailable
from .watch import FileLost

# "TDWR", so that `file` and other programs can tell a log from other databases.
APPLICATION_ID = 0x54445752
# Offsets in one block, as a power of two: the topics of a block are recorded once.
BLOCK_BITS = 10
# Seconds to wait for a program that has the file locked for a moment, such as a backup.
BUSY_TIMEOUT = 1.0
# Milliseconds that publishes wait for readers of a long WAL: longer than any page takes.
READERS_TIMEOUT = 100
# Prepared statements kept: more than there are lengths of INSERT, each for two sets of columns.
CACHED_STATEMENTS = 256

# Seconds that topics stay ended which had ended before there were records.
ENDED_AGE = 30 * 86_400

SCHEMA = """
-- The current state: floor, trimmed_bytes (of all entries below it), dropped_mark, clean.
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('floor', 1), ('trimmed_bytes', 0), ('dropped_mark', 0), ('clean', 1);

-- Every life of the log, in order and for good, with the first offset that belongs to it.
CREATE TABLE lives (number INTEGER PRIMARY KEY, life TEXT NOT NULL, first INTEGER NOT NULL);

-- `bytes` is the size of the log from its start through this entry.
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

-- Which topics occur in each block of 1,024 offsets. An index by topic would write a
-- page for every topic in every commit; this one grows only at its end.
CREATE TABLE topic_blocks (block INTEGER, topic TEXT, PRIMARY KEY (block, topic)) WITHOUT ROWID;

-- A key is held until it expires, whether or not its entry is still kept.
CREATE TABLE keys (
  offset INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  digest BLOB NOT NULL,
  time REAL NOT NULL
);

-- Per topic, the newest entry that is no longer kept.
CREATE TABLE marks (topic TEXT PRIMARY KEY, offset INTEGER NOT NULL, ended INTEGER NOT NULL) WITHOUT ROWID;
"""

# The ends of topics become records, which outlive their entries and their marks.
RECORDS = f"""
CREATE TABLE records (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  until REAL NOT NULL,
  offset INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID;
INSERT INTO records SELECT 'end', topic, data, time + {ENDED_AGE}, offset FROM entries WHERE is_end;
INSERT INTO records
SELECT 'end', topic, '', CAST(strftime('%s', 'now') AS REAL) + {ENDED_AGE}, offset FROM marks WHERE ended;
DROP INDEX ends;

CREATE TABLE newest_trimmed (topic TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO newest_trimmed SELECT topic, offset FROM marks;
DROP TABLE marks;
ALTER TABLE newest_trimmed RENAME TO marks;
"""

# Processes that share the log read which marks another one has set.
SHARED = """
CREATE INDEX marks_by_offset ON marks (offset);
-- The log's clock minus the machine's monotonic one, in microseconds.
INSERT INTO meta VALUES ('clock', 0);
"""

# The trace of an entry's publish.
TRACES = """
ALTER TABLE entries ADD COLUMN traceparent TEXT;
"""

# Script n turns a file of version n into one of version n + 1; an empty file has version 0.
MIGRATIONS = (SCHEMA, RECORDS, SHARED, TRACES)


def connect(path: str) -> sqlite3.Connection:
    """
    Open a connection that commits after each statement and that threads may pass on to each other.

    Raises `sqlite3.Error` if that fails.
    """
    db = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        # A power cut must not lose anything that was acknowledged. NORMAL lost 6 of 30,736.
        db.execute("PRAGMA synchronous = FULL")
        # The engine chooses the moment, so that publishes do not wait for it.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        # A WAL that grew while it could not be moved into the file shrinks again.
        db.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        # The file may not be a database.
        db.close()
        raise
    return db


def prepare(db: sqlite3.Connection, path: str) -> None:
    """
    Turn an empty file into a log, and an older log into one of this version.

    Raises `StartRefused` if it is another program's file or a newer log, or if its disk cannot hold a log.
    """
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner != APPLICATION_ID and (tables or version or owner):
        raise StartRefused(f"{path} is another program's database; use another file", code="log_damaged")
    if version > len(MIGRATIONS):
        raise StartRefused(f"the log {path} was written by a newer Tidewire; install that version")
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StartRefused(f"the file system of {path} cannot hold a log; use a local disk")
    for number in range(version, len(MIGRATIONS)):
        db.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1}; COMMIT;"
        )


def quick_check(db: sqlite3.Connection, path: str) -> None:
    """Check the whole file. Raises `StartRefused` if it is damaged."""
    (result,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        # The first line only names the database.
        what = result.splitlines()[-1]
        raise StartRefused(
            f"the log {path} is damaged ({what}); restore it from a backup or use another file",
            code="log_damaged",
        )


def checkpoint(db: sqlite3.Connection) -> int:
    """Move the part of the WAL that nothing reads or writes into the file. Return the pages in the WAL."""
    _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


def restart_wal(db: sqlite3.Connection) -> None:
    """Restart the WAL, after a brief wait for its readers: overlapping ones could keep it growing forever."""
    db.execute(f"PRAGMA busy_timeout = {READERS_TIMEOUT}")
    try:
        db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    finally:
        db.execute("PRAGMA busy_timeout = 0")


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection has the file locked."""
    # SQLite tells PROTOCOL when it could not even read for ten seconds, as beside a process that is stopped.
    return code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def is_io_error(error: Exception) -> bool:
    """Whether the disk has failed."""
    return isinstance(error, sqlite3.Error) and code_of(error) == sqlite3.SQLITE_IOERR


def refusal(error: sqlite3.Error) -> TidewireError | None:
    """Return the answer to a failed transaction that stored nothing; None if it may have stored something."""
    if code_of(error) == sqlite3.SQLITE_FULL:
        return StoreFull("the log's disk is full; free some space and publish again")
    if is_busy(error):
        return busy()
    return None


def busy() -> Unavailable:
    return Unavailable("another program has locked the log; try again", code="engine_busy", retry_after=1)


def unreadable(path: str, error: sqlite3.Error) -> StartRefused:
    """Return the error for a log that could not be opened."""
    if isinstance(error, FileLost):
        return StartRefused(f"the log {path} can no longer be written: {error}")
    code = code_of(error)
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StartRefused(
            f"{path} is not a log, or is damaged ({error}); use another file or a backup",
            code="log_damaged",
        )
    if code == sqlite3.SQLITE_BUSY:
        return StartRefused(f"another program has locked the log {path}; stop that program first")
    return StartRefused(f"cannot open the log {path} ({error}); check that its folder exists and is writable")
