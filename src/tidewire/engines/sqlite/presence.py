"""
The other processes of a log, as the event loop of one of them sees them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from ...log.count_text import Neighbour
from ...log.presence import Client, Reporter
from .count_files import CountFiles
from .nodes import Nodes

logger = logging.getLogger("tidewire")

# Seconds between two reports.
REPORT_EVERY = 0.2
# Seconds between two looks at who lives; what others report is seen when the folder changes.
LOOK_EVERY = 0.4
LOOK_PAUSE = 0.02


class SharedPresence:
    """
    A `Presence` of processes with one log. Files are read and written on `pool`.

    Until `open` and after `close`, this process is as if it were alone.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._files: CountFiles | None = None
        self._reporter: Reporter | None = None
        self._waiting = self._writing = self._inheriting = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._flushed: asyncio.Future[None] | None = None
        self._looked = 0.0  # of the lookout's thread

    def open(self, nodes: Nodes) -> None:
        self._loop = asyncio.get_running_loop()
        self._nodes = nodes
        self._files = CountFiles(nodes)

    @property
    def name(self) -> str:
        return self._nodes.name

    def lives(self, name: str) -> bool:
        return name == self._nodes.name or self._nodes.lives(name)

    def close(self) -> None:
        self._files = None
        if self._timer:
            self._timer.cancel()

    # -- reporting

    def start(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def changed(self) -> None:
        self._waiting = True
        self._report()

    async def flush(self) -> None:
        self._due = 0.0
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._report()
        if self._writing:
            self._flushed = self._flushed or self._loop.create_future()
            await asyncio.shield(self._flushed)

    def _report(self) -> None:
        if not self._waiting or self._writing or self._timer:
            return
        assert self._reporter
        if self._files is None:
            self._waiting = False
            self._reporter.begin()()
            return
        wait = self._due - self._loop.time()
        if wait > 0 and not self._flushed:
            self._timer = self._loop.call_later(wait, self._report_now)
            return
        self._waiting, self._writing = False, True
        self._due = self._loop.time() + REPORT_EVERY
        decide = self._reporter.begin()
        job = self._loop.run_in_executor(self._pool, self._files.report, self._reporter.counts())
        job.add_done_callback(partial(self._reported, decide))

    def _report_now(self) -> None:
        self._timer = None
        self._report()

    def _reported(self, decide: Callable[[], None], job: asyncio.Future[None]) -> None:
        self._writing = False
        if not job.cancelled() and (error := job.exception()):
            logger.error("cannot tell the other processes what streams this one has: %r", error)
        decide()
        self._report()
        if self._flushed and not self._writing:
            self._flushed.set_result(None)
            self._flushed = None

    # -- what others report

    def look(self) -> None:
        """Read what has changed, if anything has. Called on the lookout's thread, at every ring."""
        files, since = self._files, time.monotonic() - self._looked
        if files is None or since < LOOK_PAUSE or (since < LOOK_EVERY and not files.moved()):
            return
        self._looked = time.monotonic()
        files.look()
        if files.has_dead:
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(self._inherit)

    def _inherit(self) -> None:
        if self._inheriting or self._files is None or self._reporter is None or not self._reporter.inherits:
            return
        self._inheriting = True
        job = self._loop.run_in_executor(self._pool, self._files.take_dead)
        job.add_done_callback(self._inherited)

    def _inherited(self, job: asyncio.Future[list[Neighbour]]) -> None:
        self._inheriting = False
        if job.cancelled() or job.exception() or self._reporter is None:
            return
        for neighbour in job.result():
            self._reporter.inherit(neighbour.selectors)

    # -- what they have

    @property
    def _neighbours(self) -> list[Neighbour]:
        return list(self._files.neighbours.values()) if self._files else []

    @property
    def _living(self) -> list[Neighbour]:
        return [neighbour for neighbour in self._neighbours if not neighbour.dead]

    @property
    def has_peers(self) -> bool:
        """Whether clients may find another process that accepts streams and does not drain."""
        return any(neighbour.accepts and not neighbour.drains for neighbour in self._living)

    def streams(self, topic: str) -> int:
        return sum(neighbour.streams(topic) for neighbour in self._living)

    def of_client(self, client: Client) -> int:
        return sum(neighbour.clients.get(client, 0) for neighbour in self._living)

    def since(self, topic: str, *, named: bool) -> float:
        return min((found.since(topic, named=named) for found in self._neighbours), default=math.inf)
