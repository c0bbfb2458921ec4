"""
The other nodes of a log whose engine is a server: a `Presence` for nodes on any machine.

Rule 1: a node lives as long as the server says so. For a while after this node could not ask, all count as
        alive: after an outage, no node has had the time to say that it is back.
Rule 2: the times that nodes compare are those of one clock. What a node adds to its own never changes, so
        two nodes never judge the same two times differently.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar

from ..errors import TidewireError
from .count_text import MAX_BYTES, Neighbour, encode
from .presence import Client, Reporter
from .tasks import start

logger = logging.getLogger("tidewire")

# Seconds between two reports.
REPORT_EVERY = 0.2
# Seconds between two looks at the other nodes; a node keeps its own sign of life as often.
LOOK_EVERY = 0.4
# Seconds after which a node that gave no sign of life is dead.
LEASE = 3.0
# Seconds after which what a dead node has reported is removed even if no node wants to inherit from it.
KEEP_DEAD = 10.0
# Above this size, text is made and read on a thread.
LONG_TEXT = 16 * 1024
MANY = 200

T = TypeVar("T")


class Report(NamedTuple):
    """What the server knows of another node. `text` is None if it is not known, or the same as before."""

    alive: bool
    text: bytes | None


class PresenceStore(Protocol):
    """Where nodes report. Its methods raise `TidewireError` if the server cannot be reached."""

    async def exchange(self, text: bytes | None) -> Mapping[str, Report]:
        """
        Give a sign of life, and report `text` unless it is None. Return all other nodes by their names.

        A node that is dead is among them until one buries it.
        """

    async def bury(self, name: str) -> bool:
        """Remove a dead node. Return whether this node did it: exactly one of them does."""


class RemotePresence:
    """
    A `Presence` of the node `name`. Until `open` and after `close`, it is as if it were alone.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._store: PresenceStore | None = None
        self._reporter: Reporter | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._waiting = self._hurry = self._reporting = False
        self._unsent: bytes | None = None
        self._complete = True
        self._due = self._stepped = 0.0
        self._flushed: list[asyncio.Future[None]] = []
        self._neighbours: dict[str, Neighbour] = {}
        self._died: dict[str, float] = {}
        self._reached_since: float | None = None

    def open(self, store: PresenceStore, clock: float) -> None:
        """`clock` is what the clock of all nodes shows more than the monotonic clock of this machine."""
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._clock = clock
        self._task = start(self._run())

    async def close(self) -> None:
        self._store = None
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._decide_alone()

    # -- reporting

    def start(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def changed(self) -> None:
        self._waiting = True
        if self._store is None:
            self._decide_alone()
        else:
            self._wake.set()

    def _decide_alone(self) -> None:
        if self._waiting and self._reporter is not None:
            self._waiting = False
            self._reporter.begin()()
        self._resolve_flushed()

    async def flush(self) -> None:
        if self._store is None or not (self._waiting or self._reporting):
            return
        self._hurry = True
        self._wake.set()
        done = self._loop.create_future()
        self._flushed.append(done)
        await done

    def _resolve_flushed(self) -> None:
        for done in self._flushed:
            if not done.done():
                done.set_result(None)
        self._flushed.clear()

    async def _run(self) -> None:
        while self._store is not None:
            await self._pause()
            await self._step(self._store)

    async def _pause(self) -> None:
        """Wait until a report is due, or a look."""
        look = self._stepped + LOOK_EVERY
        while True:
            due = look
            if self._waiting:
                due = 0.0 if self._hurry else min(look, self._due)
            wait = due - self._loop.time()
            if wait <= 0:
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _step(self, store: PresenceStore) -> None:
        decide: Callable[[], None] | None = None
        if self._waiting and self._reporter is not None:
            self._waiting, self._hurry, self._reporting = False, False, True
            decide = self._reporter.begin()
            self._unsent = await self._text(self._reporter)
            self._due = self._loop.time() + REPORT_EVERY
        self._stepped = self._loop.time()
        try:
            found = await store.exchange(self._unsent)
            self._unsent = None
            if self._reached_since is None:
                self._reached_since = self._loop.time()
            await self._read(found)
            await self._bury(store)
        except TidewireError as error:
            self._reached_since = None
            logger.debug("cannot exchange what streams the nodes have: %s", error)
        except Exception:
            self._reached_since = None
            logger.exception("cannot exchange what streams the nodes have")
        if decide is not None:
            decide()
        self._reporting = False
        if not self._waiting:
            self._resolve_flushed()

    async def _text(self, reporter: Reporter) -> bytes:
        counts = reporter.counts()
        many = len(counts.selectors) + len(counts.clients) > MANY
        text, complete = await self._call(lambda: encode(counts, self._clock), on_thread=many)
        if self._complete and not complete:
            logger.warning(
                "this node has streams for too many topics (%d KiB): other nodes do not count them",
                MAX_BYTES // 1024,
            )
        self._complete = complete
        return text

    async def _call(self, function: Callable[[], T], *, on_thread: bool) -> T:
        return await self._loop.run_in_executor(None, function) if on_thread else function()

    # -- what others report

    async def _read(self, found: Mapping[str, Report]) -> None:
        now = self._loop.time()
        known = self._neighbours
        self._neighbours = {name: known.get(name) or Neighbour(self._clock) for name in found}
        for name, report in found.items():
            neighbour = self._neighbours[name]
            neighbour.dead = not report.alive
            if report.text is not None:
                await self._update(name, neighbour, report.text)
        dead = [name for name, report in found.items() if not report.alive]
        self._died = {name: self._died.get(name, now) for name in dead}

    async def _update(self, name: str, neighbour: Neighbour, text: bytes) -> None:
        try:
            await self._call(lambda: neighbour.update(text), on_thread=len(text) > LONG_TEXT)
        except (ValueError, TypeError, TidewireError):
            # Another version of Tidewire writes it.
            logger.debug("cannot read the counts of %s", name, exc_info=True)

    async def _bury(self, store: PresenceStore) -> None:
        reporter, now = self._reporter, self._loop.time()
        if self._is_early(now):
            return
        for name, since in list(self._died.items()):
            inherits = reporter is not None and reporter.inherits
            if not (inherits or now - since > KEEP_DEAD) or not await store.bury(name):
                continue
            neighbour = self._neighbours.pop(name)
            if inherits and reporter is not None:
                reporter.inherit(neighbour.selectors)

    def _is_early(self, now: float) -> bool:
        return self._reached_since is None or now - self._reached_since < LEASE

    # -- what they have

    def lives(self, name: str) -> bool:
        if name == self.name or self._store is None or self._is_early(self._loop.time()):
            return True
        neighbour = self._neighbours.get(name)
        return neighbour is not None and not neighbour.dead

    @property
    def _living(self) -> Iterable[Neighbour]:
        if self._store is None:
            return ()
        return [neighbour for neighbour in self._neighbours.values() if not neighbour.dead]

    @property
    def has_peers(self) -> bool:
        """Whether clients may find another node that accepts streams and does not drain."""
        return any(neighbour.accepts and not neighbour.drains for neighbour in self._living)

    def streams(self, topic: str) -> int:
        return sum(neighbour.streams(topic) for neighbour in self._living)

    def of_client(self, client: Client) -> int:
        return sum(neighbour.clients.get(client, 0) for neighbour in self._living)

    def since(self, topic: str, *, named: bool) -> float:
        if self._store is None:
            return math.inf
        known = self._neighbours.values()
        return min((neighbour.since(topic, named=named) for neighbour in known), default=math.inf)
