"""
The files in which the nodes of a log keep their counts: <log>.nodes/<name>.counts.

Rule 1: a node replaces its own file and never changes it. Other nodes see the old one or the new one.
Rule 2: the file of a node without a lock is that of a dead node. The node that removes it inherits
        from the dead one. A node that leaves removes its own before it gives up its lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from ...errors import TidewireError
from ...log.count_text import MAX_BYTES, Neighbour, encode
from ...log.presence import Counts
from .nodes import Nodes, Version

logger = logging.getLogger("tidewire")

# Seconds after which the file of a dead node is removed even if no node wants to inherit from it.
KEEP_DEAD = 10.0


class CountFiles:
    """The counts of the nodes at `nodes`, read and written on any thread."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._lock = threading.Lock()
        self._versions: dict[str, Version] = {}
        self._died: dict[str, float] = {}
        self._complete = True
        self._seen: int | None = None  # the folder's time of change at the last look
        self.neighbours: Mapping[str, Neighbour] = {}  # replaced, never changed

    def report(self, counts: Counts) -> None:
        """Write this node's counts, then read those of the others."""
        text, complete = encode(counts)
        if self._complete and not complete:
            logger.warning(
                "this process has streams for too many topics (%d KiB): other processes do not count them",
                MAX_BYTES // 1024,
            )
            self._complete = False
        try:
            self._nodes.replace("counts", text)
        except OSError:
            pass  # the folder has been removed, or the disk is full: the others do not see this node
        self.look()

    def moved(self) -> bool:
        """Whether a file may have been replaced since the last look."""
        changed = self._changed()
        return changed is None or changed != self._seen

    def _changed(self) -> int | None:
        try:
            return self._nodes.changed()
        except OSError:
            return 0  # the folder has been removed

    def look(self) -> None:
        """Read what has changed."""
        with self._lock:
            self._look()

    def _look(self) -> None:
        neighbours = self.neighbours
        if self.moved():
            self._seen = self._changed()
            neighbours = self._read_changed()
        for name, neighbour in neighbours.items():
            neighbour.dead = not self._nodes.lives(name)
        self.neighbours = neighbours
        self._bury()

    def _read_changed(self) -> Mapping[str, Neighbour]:
        files = self._nodes.versions("counts")
        found = {name: self.neighbours.get(name) or Neighbour() for name in files}
        for name, neighbour in found.items():
            if self._versions.get(name) != files[name]:
                self._read(name, neighbour)
        self._versions = files
        return found

    def _read(self, name: str, neighbour: Neighbour) -> None:
        try:
            neighbour.update(self._nodes.read(name, "counts"))
        except (OSError, ValueError, TypeError, TidewireError):
            # It has just been removed, or another version of Tidewire writes it.
            logger.debug("cannot read the counts of %s", name, exc_info=True)

    def _bury(self) -> None:
        dead = [name for name, neighbour in self.neighbours.items() if neighbour.dead]
        now = time.monotonic()
        self._died = {name: self._died.get(name, now) for name in dead}
        if dead:
            self._nodes.tidy()
        for name, since in self._died.items():
            if now - since > KEEP_DEAD:
                self._nodes.remove(name, "counts")

    @property
    def has_dead(self) -> bool:
        return any(neighbour.dead for neighbour in self.neighbours.values())

    def take_dead(self) -> list[Neighbour]:
        """Return the dead nodes that this one inherits from: no other node gets them. Then look."""
        with self._lock:
            taken = [
                neighbour
                for name, neighbour in self.neighbours.items()
                if neighbour.dead and self._nodes.remove(name, "counts")
            ]
            self._look()
        return taken
