"""
A run that this process makes: one task iterates its producer, another stores what it yields.

Rule 1: the producer never waits for the log, unless MOST items or MOST_BYTES wait to be stored.
Rule 2: a batch is stored at once if none is on its way; what comes meanwhile is the next batch.
Rule 3: items are numbered, so a batch whose answer was lost is sent again and stored once.
Rule 4: whoever stops the run stores the end. This process sees it in the log, and ends its producer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..delivery.node import Node
from ..delivery.tasks import start
from ..errors import StoreFull, TidewireError, Unavailable
from ..log.drafts import draft
from ..log.entries import Draft, RunItem, RunStop
from ..log.runs import CANCELLED, DONE, FAILED, Run
from .dialects import Dialect, Speaker, Spelled
from .producing import Producer, produce

logger = logging.getLogger("tidewire")

# What may wait to be stored.
MOST = 256
MOST_BYTES = 256 * 1024
# Seconds that a cancelled producer may take to end. After that, nobody waits for it.
CANCEL_TIMEOUT = 5.0
# Seconds between two attempts to store, and until a log that cannot be written is given up.
STORE_AGAIN = 0.2
GIVE_UP = 30.0


class Making:
    """`ended` is called when the run is over and its producer has ended or was abandoned."""

    def __init__(
        self,
        node: Node,
        run: Run,
        dialect: Dialect,
        speaker: Speaker,
        ended: Callable[[Making], object],
        unwatched: float | None = None,
    ) -> None:
        self.run = run
        self.unwatched = unwatched  # seconds without a viewer after which it is cancelled
        self.unwatched_since: float | None = None
        self._node = node
        self._dialect = dialect
        self._speaker = speaker
        self._ended = ended
        self._waiting: list[Draft] = []
        self._size = 0  # bytes, or nearly
        self._number = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._complete = False  # the producer has ended
        self._error: BaseException | None = None  # what it raised
        self._over = False

    def start(self, producer: Producer) -> None:
        self._producing = start(self._produce(producer))
        self._task = start(self._make())

    def on_stopped(self) -> None:
        """The log has the end of the run."""
        self._over = True
        self._news.set()
        self._room.set()

    async def wait(self, seconds: float) -> None:
        """Wait until all of it has ended, but no longer than that."""
        await asyncio.wait([self._task], timeout=seconds)

    # -- the producer's side

    async def _produce(self, producer: Producer) -> None:
        try:
            await produce(producer, self._put, f"the run {self.run.key!r} of {self.run.topic!r}")
            await self._add(list(self._speaker.last()))
        except BaseException as error:  # `SystemExit` too: raised out of a task it would end the server
            self._error = error
        finally:
            self._complete = True
            self._news.set()

    async def _put(self, item: Any) -> None:
        await self._add(list(self._speaker.item(item)))

    async def _add(self, spelled: list[Spelled]) -> None:
        limit = self._node.settings.max_event
        for event, data in spelled:
            item = draft(self.run.topic, data, event=event, max_event=limit)
            step = RunItem(self.run.key, self.run.id, self._number)
            self._number += 1
            self._size += len(data)
            self._waiting.append(item._replace(record=step))
        self._news.set()
        while not self._over and (len(self._waiting) >= MOST or self._size >= MOST_BYTES):
            self._room.clear()
            await self._room.wait()
        if self._over:
            raise asyncio.CancelledError

    # -- the log's side

    async def _make(self) -> None:
        try:
            refusal = await self._flush()
            if not self._over:
                await self._stop(*self._outcome(refusal))
            await self._end_producer()
        except Exception:
            logger.exception("the run %r of %r failed", self.run.key, self.run.topic)
        finally:
            self._ended(self)

    async def _flush(self) -> TidewireError | None:
        """Store what the producer yields until it has ended or the run is over. Return why, if it failed."""
        while not self._over:
            await self._news.wait()
            self._news.clear()
            if self._waiting and not self._over:
                batch, self._waiting, self._size = self._waiting, [], 0
                self._room.set()
                try:
                    await self._store(batch)
                except TidewireError as error:
                    return error
            if self._waiting or self._over:
                self._news.set()
            elif self._complete:
                return None
        return None

    async def _store(self, drafts: list[Draft]) -> None:
        """Store drafts, if need be in several attempts. Raises `TidewireError` if they are refused."""
        now = asyncio.get_running_loop().time
        until = now() + GIVE_UP
        while not self._over:
            try:
                # The append of the log, not of the node: the end is stored while the node drains, too.
                await self._node.log.append(drafts)
            except (Unavailable, StoreFull):
                if self._node.engine.failure or now() > until:
                    raise
                await asyncio.sleep(STORE_AGAIN)
            else:
                return

    def _outcome(self, refusal: TidewireError | None) -> tuple[str, str]:
        """Return the state and the reason of the end. What the producer raised is for our log alone."""
        error = self._error if refusal is None else refusal
        if error is None:
            return DONE, ""
        if isinstance(error, asyncio.CancelledError):
            return CANCELLED, "producer"
        what = " ".join([f"{type(error).__name__}:", *str(error).split()]).rstrip(":")
        logger.error("the run %r of %r failed: %s", self.run.key, self.run.topic, what, exc_info=error)
        return FAILED, "producer_failed" if refusal is None else refusal.code

    async def _stop(self, state: str, reason: str) -> None:
        try:
            await self._store([stop_draft(self.run, self._dialect, state, reason)])
        except TidewireError as error:
            # It stays open, and ends as lost as soon as the log can be written.
            logger.error("cannot store the end of the run %r of %r: %s", self.run.key, self.run.topic, error)

    async def _end_producer(self) -> None:
        if self._producing.done():
            return
        self._producing.cancel()
        await asyncio.wait([self._producing], timeout=CANCEL_TIMEOUT)
        if not self._producing.done():
            logger.warning(
                "the producer of the run %r of %r does not stop: it goes on, and nobody reads it",
                self.run.key,
                self.run.topic,
            )


def stop_draft(run: Run, dialect: Dialect, state: str, reason: str) -> Draft:
    closing = tuple(dialect.closing(run, state, reason))
    return Draft(run.topic, record=RunStop(run.key, run.id, state, reason, closing))
