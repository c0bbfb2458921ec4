"""
Shedding load before the memory runs out: the kernel would end the process, and every stream with it.

Rule 1: what hurts clients least comes first. From 80 % of the memory on, new streams are refused. From 90 %
        on, streams whose readers do not keep up are ended, too: they resume where they were. From 95 % on,
        publishes are refused, too. Streams that keep up are never ended.
Rule 2: a step is taken back once 5 % less are used than where it began, so that it does not come and go.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import Unavailable
from .deadlines import EVERY_SECOND, Deadlines

logger = logging.getLogger("tidewire")

# Shares of the memory from which on each step is taken.
WATERMARKS = (0.80, 0.90, 0.95)
TAKEN_BACK = 0.05
STEPS = (
    "nothing is refused any more",
    "new streams are refused",
    "new streams are refused, and streams whose readers do not keep up are ended",
    "new streams and publishes are refused, and streams whose readers do not keep up are ended",
)
STREAMS, READERS, PUBLISHES = 1, 2, 3

# Returns the share of the memory that is used, None if that is not limited or not known.
Share = Callable[[], float | None]


class MemoryWatch:
    """
    Looks at the memory once a second.

    `share` reads it; `shed` ends streams whose readers do not keep up. `due` belongs to the timer.
    """

    def __init__(self, share: Share, deadlines: Deadlines, shed: Callable[[], None]) -> None:
        self.due = 0
        self._step = 0
        self._share = share
        self._deadlines = deadlines
        self._shed = shed

    def start(self, now: float) -> None:
        """Begin to watch, if the memory is limited."""
        if self._share() is not None:
            self._deadlines.watch(self, self.tick(now))

    def stop(self) -> None:
        self._deadlines.unwatch(self)

    def refusal(self, step: int) -> Unavailable | None:
        """Return the refusal of what is refused from `step` on, or None if that is not reached."""
        if self._step < step:
            return None
        return Unavailable("this process is short of memory", code="memory_low", retry_after=10)

    def tick(self, now: float) -> float:
        share = self._share()
        if share is not None:  # else it cannot be read just now, such as without a free descriptor
            self._take(share)
        if self._step >= READERS:
            self._shed()
        return now + EVERY_SECOND

    def _take(self, share: float) -> None:
        step = step_for(share, self._step)
        if step != self._step:
            level = logging.WARNING if step > self._step else logging.INFO
            logger.log(level, "%.0f %% of the memory is used: %s", share * 100, STEPS[step])
            self._step = step


def step_for(share: float, before: int) -> int:
    """Return the step at this share of the memory, `before` which another one was taken."""
    reached = sum(share >= mark for mark in WATERMARKS)
    kept = sum(share >= mark - TAKEN_BACK for mark in WATERMARKS)
    return max(reached, min(before, kept))


# -- how much is used


def memory_share(limit: int) -> Share:
    """Return what reads the share of `limit` bytes that is used; 0 stands for the limit of the container."""
    if limit:
        return lambda: share_of(resident(), limit)
    group = tightest(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return (lambda: None) if group is None else group.share


def share_of(used: int | None, limit: int) -> float | None:
    return None if used is None else used / limit


def resident() -> int | None:
    """Return the resident memory of this process in bytes; None if the system does not say, as on macOS."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


class Names(NamedTuple):
    limit: str
    used: str
    # A line of memory.stat: pages of files that the kernel takes back before it ends a process.
    cache: str


V1 = Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = Names("memory.max", "memory.current", "inactive_file")

# Control groups of version 1 without a limit have nearly 2^63.
NO_LIMIT = 2**60


class ControlGroup(NamedTuple):
    """A control group (of a container, or of a service of systemd) with a limit in bytes."""

    folder: Path
    names: Names
    limit: int

    def share(self) -> float | None:
        """Return the share of the limit that its processes use; None if it cannot be read just now."""
        try:
            used = int((self.folder / self.names.used).read_text())
            lines = (self.folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            return None
        cache = next((line.split()[1] for line in lines if line.startswith(f"{self.names.cache} ")), "0")
        return (used - int(cache)) / self.limit


def tightest(membership: Path, root: Path) -> ControlGroup | None:
    """
    Return the group with the lowest limit of those that a process is in; None if none has a limit.

    `membership`: the process's list of groups; `root`: where their folders are.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    groups = [group for line in lines for group in groups_of(line, root)]
    return min(groups, key=lambda group: group.limit, default=None)


def groups_of(line: str, root: Path) -> Iterator[ControlGroup]:
    """Yield the groups with a limit that a line of `/proc/self/cgroup` says the process is in."""
    _, controllers, path = line.split(":", 2)
    if not controllers:
        names = V2
    elif "memory" in controllers.split(","):
        names, root = V1, root / "memory"
    else:
        return
    folder = root / path.lstrip("/")
    # A container sees its own group as the root, and may be told a path outside of it.
    for place in {folder, *folder.parents}:
        if place == root or root in place.parents:
            try:
                limit = int((place / names.limit).read_text())
            except (OSError, ValueError):  # there is none, or it is "max"
                continue
            if limit < NO_LIMIT:
                yield ControlGroup(place, names, limit)
