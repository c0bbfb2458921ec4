"""
The runs of a log, as one node sees them: it starts them, makes its own, and ends what others left.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence

from ..data import Encoder
from ..delivery.node import Node
from ..delivery.tasks import Tasks
from ..errors import InvalidInput, RunConflict, TidewireError, Unknown
from ..log.entries import Draft, Record, RunStart
from ..log.history import limited
from ..log.records import RUN
from ..log.runs import CANCELLED, LOST, Run, run_of
from .dialects import Dialect, dialect_of, is_registered
from .making import Making, stop_draft
from .producing import Producer

logger = logging.getLogger("tidewire")

# Seconds between two looks at whether those that make the open runs live.
LOOK_EVERY = 1.0
# How often a start is tried again: its answer was lost, or another run came in between.
ATTEMPTS = 5
# Runs that are listed in one step of the event loop: 1 ms.
IN_ONE_STEP = 500
# Seconds that a drain waits for producers after their runs are over.
LAST_WORDS = 1.0
# Seconds between two looks of a drain at whether runs are still open.
POLL = 0.05


class NodeRuns:
    """Make it for an open node, which tells it of records and of its drain."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._name = node.engine.presence.name
        self._made: dict[str, Making] = {}  # by the id of the run
        self._starting: set[str] = set()
        self._tasks = Tasks()
        self._draining = False
        node.companion = self
        self._timer = node.loop.call_soon(self._look)

    async def all(self) -> list[Run]:
        """Return the runs that are open, and those of the last day; other work goes on in between."""
        found = []
        for count, run in enumerate(self._node.window.records.runs(), 1):
            found.append(run)
            if not count % IN_ONE_STEP:
                await asyncio.sleep(0)
        return found

    async def newest(self, topic: str) -> Run | None:
        """Return the newest run of a topic, whichever process started it. Raises `Unavailable`."""
        if self._node.engine.shared:
            # The start may have been stored a moment ago, or while this process was paused.
            until = self._node.loop.time() + self._node.settings.engine_timeout
            reader = self._node.reader
            async with limited(until):
                with reader.turns.account(object()) as account:
                    await reader.look(account)
        return self._node.window.records.newest_run(topic)

    # -- starting and stopping

    async def start(
        self,
        topic: str,
        producer: Producer,
        key: str,
        dialect: Dialect,
        *,
        replace: bool,
        unwatched: float | None,
        encoder: Encoder | None,
    ) -> Run:
        """
        Return the run of that topic and key; start it if there is none.

        Raises `RunConflict` if another run of the topic is open, `InvalidInput` if the dialect is not known,
        and what publishing raises.
        """
        if not is_registered(dialect):
            raise InvalidInput(
                "use a dialect of tidewire.runs.dialects, or pass yours to its register() first",
                code="invalid_dialect",
            )
        if refusal := self._node.publish_refusal():
            raise refusal
        work = self._start(topic, producer, key, dialect, replace, unwatched, encoder)
        # A client that leaves cancels its request. The run may have started by then.
        return await asyncio.shield(self._tasks.spawn(work))

    async def _start(
        self,
        topic: str,
        producer: Producer,
        key: str,
        dialect: Dialect,
        replace: bool,
        unwatched: float | None,
        encoder: Encoder | None,
    ) -> Run:
        id = secrets.token_hex(8)
        self._starting.add(id)
        try:
            step = Draft(topic, record=RunStart(key, id, self._name, dialect.name))
            await self._store_start(step, replace)
            run = self._node.window.records.run(topic, key)
            assert run is not None
            if run.id == id and run.open:
                speaker = dialect.speaker(run, encoder)
                making = self._made[id] = Making(self._node, run, dialect, speaker, self._ended, unwatched)
                making.start(producer)
            return run
        finally:
            self._starting.discard(id)

    async def _store_start(self, step: Draft, replace: bool) -> None:
        for attempt in range(ATTEMPTS):
            drafts = [step]
            active = self._node.window.records.newest_run(step.topic) if replace else None
            if active is not None and active.open and active.key != step.record.key:  # type: ignore[union-attr]
                drafts.insert(0, stop_draft(active, dialect_of(active), CANCELLED, "replaced"))
            try:
                await self._node.append(drafts)
            except (RunConflict, Unknown) as error:
                again = replace or isinstance(error, Unknown)
                if not again or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    async def cancel(self, topic: str, reason: str = "") -> Run | None:
        """Cancel the open run of a topic. Return it as it is then; None if no run of the topic is known."""
        run = await self.newest(topic)
        if run is None or not run.open:
            return run
        # Also while memory is short: a run that is over needs none.
        if refusal := self._node.refusal():
            raise refusal
        await self._node.log.append([stop_draft(run, dialect_of(run), CANCELLED, reason)])
        return self._node.window.records.run(topic, run.key)

    def _ended(self, making: Making) -> None:
        self._made.pop(making.run.id, None)

    # -- what the node tells (Companion)

    def on_records(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.kind == RUN and self._made:
                run = run_of(record)
                making = self._made.get(run.id)
                if making is not None and not run.open:
                    making.on_stopped()

    async def drain(self) -> None:
        """Let the runs that this process makes go on for `run_grace`, then end them and store their ends."""
        await self._let_runs_go_on(self._node.settings.run_grace)
        self._draining = True
        self._timer.cancel()
        making = list(self._made.values())
        await asyncio.gather(*(self._stop(item.run, LOST, "draining") for item in making))
        await asyncio.gather(*(item.wait(LAST_WORDS) for item in making))
        await self._tasks.cancel()

    async def _let_runs_go_on(self, seconds: float) -> None:
        for _ in range(round(seconds / POLL)):
            if not (self._made or self._starting):
                return
            await asyncio.sleep(POLL)

    # -- what dead processes left

    def _look(self) -> None:
        """End the runs whose processes are dead, and those of this process that are not wanted unwatched."""
        if self._draining:
            return
        self._timer = self._node.loop.call_later(LOOK_EVERY, self._look)
        if not self._node.log.up:
            return
        lives: dict[str, bool] = {}
        open_runs = self._node.window.records.open_runs
        for id, making in list(self._made.items()):
            if id not in open_runs:
                # After a reset of the log: nobody told of the record of its end.
                making.on_stopped()
        for run in list(open_runs.values()):
            if run.node == self._name:
                ours = run.id in self._made or run.id in self._starting
                lives[run.node] = ours
            elif run.node not in lives:
                lives[run.node] = self._node.engine.presence.lives(run.node)
            if not lives[run.node]:
                self._tasks.spawn(self._stop(run, LOST, "process_ended"))
        self._cancel_unwatched()

    def _cancel_unwatched(self) -> None:
        now = self._node.loop.time()
        for making in self._made.values():
            if making.unwatched is None:
                continue
            if self._node.subscribers(making.run.topic):
                making.unwatched_since = None
            elif making.unwatched_since is None:
                making.unwatched_since = now
            elif now - making.unwatched_since >= making.unwatched:
                self._tasks.spawn(self._stop(making.run, CANCELLED, "unwatched"))

    async def _stop(self, run: Run, state: str, reason: str) -> None:
        try:
            await self._node.log.append([stop_draft(run, dialect_of(run), state, reason)])
        except TidewireError as error:
            # It is tried again at the next look, here or in another process.
            logger.warning("cannot end the run %r of %r: %s", run.key, run.topic, error)
