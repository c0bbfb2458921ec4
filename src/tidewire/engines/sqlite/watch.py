"""
Noticing that a log's file or its WAL was deleted, replaced or truncated while it is open.

SQLite does not notice: it goes on writing to files that have no name any more, and everything it
acknowledges is lost at the next start.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from dataclasses import dataclass

from .door import TABLE, Door
from .file_status import Ask, FileStatus, status_of

# The header of a WAL, and of each page in it, in bytes.
WAL_HEADER = 32
FRAME_HEADER = 24
# One of the two copies of the header in SQLite's shared memory.
WAL_INDEX_HEADER = 48


class FileLost(sqlite3.OperationalError):
    """The file or its WAL is not what was opened: what is written from now on is lost."""


@dataclass(slots=True)
class Known:
    """A file as it was when it was last looked at."""

    name: str
    ask: Ask
    status: FileStatus


class Watch:
    """
    Compares a log's file and its WAL with what was opened. Raises `FileLost` if they differ already.

    It never opens them (see `door`). Only the thread that writes the log may use it.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._file, self._wal = known("file", door.path), known("WAL", f"{door.path}-wal")
        # What was opened, even if there is another file by now.
        self._file.status = self._file.status._replace(device=door.id.device, inode=door.id.inode)

    def look(self) -> None:
        """Raises `FileLost` if one of them was deleted, replaced or truncated."""
        self._compare(self._file)
        self._compare(self._wal)

    def look_at_wal(self) -> None:
        """
        What must be known before a commit: it makes a truncated WAL as long again as it was, with a hole.

        All else shows afterwards too. Raises `FileLost` as `look` does.
        """
        self._compare(self._wal)

    def _compare(self, file: Known) -> None:
        found, before = status(file.name, file.ask), file.status
        if found == before:
            return
        if (found.device, found.inode) != (before.device, before.inode):
            raise FileLost(
                f"its {file.name} was replaced by another one; stop the hub before you replace a log, and"
                " start it again now"
            )
        if found.size < before.size and not self._may_be(file, found.size):
            raise FileLost(
                f"its {file.name} was truncated from {before.size} to {found.size} bytes;"
                " restore a backup and start the hub again"
            )
        file.status = found

    def _may_be(self, file: Known, size: int) -> bool:
        """Whether SQLite itself made a file smaller: a VACUUM does that, and a checkpoint to the WAL."""
        needed = self._needed_by_file() if file is self._file else self._needed_by_wal()
        return needed is not None and size >= needed

    def _needed_by_file(self) -> int | None:
        """Return how long the file is by its own header; None if it has none."""
        if sys.platform == "win32":
            return None
        header = os.pread(self._door.descriptor, 32, 0)
        size = int.from_bytes(header[16:18], "big")
        pages = int.from_bytes(header[28:32], "big")
        return pages * (65536 if size == 1 else size) or None

    def _needed_by_wal(self) -> int | None:
        """Return the length of the frames that SQLite's shared memory counts; None if it is not known."""
        if sys.platform == "win32":
            return None
        try:
            # Opened for good, as all that SQLite has locks on.
            with TABLE.guard:
                descriptor, _ = TABLE.open(f"{self._door.path}-shm", os.O_RDWR)
            header = os.pread(descriptor, 96, 0)
        except OSError:
            return None
        size = int.from_bytes(header[14:16], sys.byteorder)
        # There are two copies, which differ while another program writes: before it, nothing is missing.
        frames = min(int.from_bytes(header[at : at + 4], sys.byteorder) for at in (16, 64))
        return frames and WAL_HEADER + frames * ((65536 if size == 1 else size) + FRAME_HEADER)


def version_of(path: str) -> bytes | None:
    """
    Return what changes with each commit to the log at `path`, by any process; None if it is not known.

    It is the header of SQLite's shared memory. Reading it costs much less than asking SQLite.
    """
    if sys.platform == "win32":
        return None
    try:
        with TABLE.guard:
            descriptor, _ = TABLE.open(f"{path}-shm", os.O_RDWR)
        return os.pread(descriptor, WAL_INDEX_HEADER, 0)
    except OSError:
        return None


def known(name: str, path: str) -> Known:
    ask = status_of(path)
    return Known(name, ask, status(name, ask))


def status(name: str, ask: Ask) -> FileStatus:
    try:
        found = ask()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise FileLost(f"its {name} cannot be found any more: {error.strerror}") from None
    else:
        # A file that is mounted by itself keeps its path, and loses its last link.
        if found.links:
            return found
    raise FileLost(f"its {name} was deleted; restore a backup and start the hub again")
