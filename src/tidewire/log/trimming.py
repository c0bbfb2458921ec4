"""
What retention trims: one rule for the engines that keep the log outside the process.

Rule 1: the oldest entries go first, while there are too many, too many bytes, or those that are too old.
Rule 2: the newest entry stays whatever its size: its subscribers have not read it yet.
Rule 3: runs that are open, or were a short time ago, are spared while the log is under twice its limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..settings import Settings


class OldEntry(NamedTuple):
    """One of the oldest entries; `total` is the bytes of the log through it."""

    offset: int
    topic: str
    time: float
    total: int


class Trim(NamedTuple):
    """Entries to delete: the new floor, the bytes of all entries below it, and each topic's newest one."""

    floor: int
    total: int
    marks: Sequence[tuple[str, int]]


def plan(
    oldest: Iterable[OldEntry],
    head: int,
    total: int,
    trimmed: int,
    now: float,
    spared: float,
    settings: Settings,
) -> Trim | None:
    """
    Return which of the `oldest` entries, in order from the floor, retention should delete now.

    `total` is the bytes of the log through its head, `trimmed` those below its floor. Entries from the
    offset `spared` on are spared for the sake of runs.
    """
    most, most_bytes, too_old = (
        settings.retention_entries,
        settings.retention_bytes,
        now - settings.retention_age,
    )
    floor = 0
    marks: dict[str, int] = {}
    for offset, topic, time, through in oldest:
        over = head - offset >= most or (offset < head and total - trimmed > most_bytes)
        if not over and time >= too_old:
            break
        if offset >= spared and not (
            head - offset >= 2 * most
            or total - trimmed > 2 * most_bytes
            or time < too_old - settings.retention_age
        ):
            break
        marks.pop(topic, None)  # keeps them in the order of their offsets
        marks[topic] = offset
        floor, trimmed = offset + 1, through
    return Trim(floor, trimmed, list(marks.items())) if marks else None
