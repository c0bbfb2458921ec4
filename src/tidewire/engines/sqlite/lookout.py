"""
The thread that waits for the other processes of a log: for a ring, or until it is time to look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .nodes import Nodes

# Seconds between two looks at the log. A ring comes first, unless it was lost.
LOOK_EVERY = 0.05
# Waking up is what an idle process costs. One that hears rings needs fewer looks while the log is quiet.
QUIET_EVERY = 0.2
# Looks that find nothing before the log is quiet.
QUIET_AFTER = 20
# A process that is alone needs fewer: one that joins rings.
ALONE_EVERY = 1.0


class Lookout:
    """
    Calls `look`, in its thread, whenever another process may have stored something, until `stop`.

    `version` returns what is another value after each commit, or None if that is not known.
    `each_time` is called whether or not it is.
    """

    def __init__(
        self,
        nodes: Nodes,
        look: Callable[[], object],
        version: Callable[[], bytes | None],
        each_time: Callable[[], object],
    ) -> None:
        self._nodes = nodes
        self._each_time = each_time
        self._version = version
        self._look = look
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tidewire-log-lookout", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._nodes.wake()
        self._thread.join()

    def _run(self) -> None:
        seen, in_vain = None, 0
        while not self._stopping:
            self._nodes.wait(self._pause(in_vain))
            self._each_time()
            # The writer's thread has to wake up for a look, so idle processes do without.
            version = self._version()
            in_vain += 1
            if version is None or version != seen:
                seen, in_vain = version, 0
                self._look()

    def _pause(self, in_vain: int) -> float:
        if self._nodes.alone:
            return ALONE_EVERY
        return QUIET_EVERY if in_vain > QUIET_AFTER and self._nodes.hears_rings else LOOK_EVERY
