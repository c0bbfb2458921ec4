"""
Describing a log file, and making it smaller.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ...errors import StoreFull
from ...log.clock import LogClock
from ...settings import Settings
from .database import refusal, unreadable
from .file_lock import holder
from .log_file import Clock, LogFile
from .read_only import ProgressCallback, ReadOnly, explained
from .reader import position_in

# Offsets read, or entries trimmed, in one transaction.
STEP = 10_000
TOP_TOPICS = 20
LAST_LIVES = 5


# -- describing a log


def info(path: str, report: ProgressCallback) -> dict[str, Any]:
    """Return what `tidewire log info` prints. Raises `StartRefused` if `path` cannot be read as a log."""
    log = ReadOnly(path)
    with contextlib.closing(log), explained(log.path):
        found = summary(log)
        found["topics"] = topics_by_volume(log, report)
    return found


def summary(log: ReadOnly) -> dict[str, Any]:
    with log.snapshot():
        extent, lives = log.extent(), log.lives()
        return {
            "path": log.path,
            "file_bytes": size_of(log.path),
            "wal_bytes": size_of(f"{log.path}-wal"),
            "in_use": holder(log.path) or None,
            "clean": bool(log.meta()["clean"]),
            "head": str(position_in(lives, extent.head)),
            "floor": extent.floor,
            "entries": extent.entries,
            "bytes": extent.bytes - extent.trimmed_bytes,
            "oldest": count(log, "SELECT min(time) FROM entries WHERE offset = ?", extent.floor),
            "newest": extent.newest or None,
            "lives": len(lives),
            "last_lives": [{"life": life, "first": first} for life, first in lives[-LAST_LIVES:]],
            "keys": count(log, "SELECT count(*) FROM keys"),
            "marks": count(log, "SELECT count(*) FROM marks"),
            "ended": count(log, "SELECT count(*) FROM records WHERE kind = 'end'"),
        }


def count(log: ReadOnly, query: str, *values: int) -> Any:
    return log.db.execute(query, values).fetchone()[0]


def topics_by_volume(log: ReadOnly, report: ProgressCallback) -> list[dict[str, Any]]:
    """Return the largest topics. It reads step by step: during each a hub cannot restart its WAL."""
    events: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    extent = log.extent()
    for first in range(extent.floor, extent.head + 1, STEP):
        last = min(first + STEP - 1, extent.head)
        for topic, number, size in log.db.execute(
            "SELECT topic, sum(NOT is_end), sum(size) FROM entries"
            " WHERE offset BETWEEN ? AND ? GROUP BY topic",
            (first, last),
        ):
            events[topic] += number
            sizes[topic] += size
        report(last - extent.floor + 1, extent.entries)
    return [
        {"topic": topic, "events": events[topic], "bytes": size}
        for topic, size in sizes.most_common(TOP_TOPICS)
    ]


def size_of(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def on_disk(path: str) -> int:
    """Return the size of a log, including what a killed hub left in its WAL."""
    return size_of(path) + size_of(f"{path}-wal")


# -- writing to a log that no hub uses


@contextlib.contextmanager
def writing(path: str, clock: Callable[[float], Clock] = LogClock) -> Iterator[LogFile]:
    """
    Open a log for writing, alone; a new life starts.

    Raises `StartRefused` if it cannot be opened or written, `StoreFull` if the disk is full, and
    `Unavailable` if another program has locked it.
    """
    file = LogFile(path, alone=True, clock=clock)
    clean = True
    try:
        yield file
    except sqlite3.Error as error:
        passing = refusal(error)
        clean = passing is not None
        raise passing or unreadable(file.path, error) from None
    finally:
        file.close(clean=clean)


class Trimmed(NamedTuple):
    entries: int
    """How many were trimmed."""
    bytes: int
    """How much smaller the file is."""
    size: int
    """How large the file is now."""
    shortage: StoreFull | None
    """Why the space was not given back to the disk."""


def trim(path: str, keep: Settings, report: ProgressCallback) -> Trimmed:
    """
    Trim the log at `path` to the retention of `keep`, then give the space back to the disk.

    Raises as `writing` does.
    """
    shortage = None
    before = on_disk(os.path.realpath(path))
    with writing(path) as file:
        floor = file.floor
        kept = file.head - floor + 1
        while plan := file.plan_trim(keep, STEP, spare_runs=False):
            file.commit([], plan, keep)
            file.checkpoint()
            report(file.floor - floor, kept)
        try:
            give_back(file)
        except StoreFull as error:
            shortage = error
    after = on_disk(file.path)
    return Trimmed(file.floor - floor, max(before - after, 0), after, shortage)


def give_back(file: LogFile) -> None:
    """Give the space of trimmed entries back to the disk. Raises `StoreFull` if there is no room to do so."""
    used, unused = file.space()
    free = shutil.disk_usage(os.path.dirname(file.path)).free
    # Checked first: a VACUUM that runs out of space fills the disk for other programs too.
    if unused and free < 2 * used:
        raise StoreFull(
            f"the file keeps the space of the trimmed entries for new ones: giving it back needs"
            f" {2 * used // 1024**2} MiB of free disk for a moment, and only {free // 1024**2} MiB are free"
        )
    if unused:
        file.vacuum()
