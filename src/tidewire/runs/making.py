"""
A run that this process makes: one task iterates its producer, another follows what becomes of the run.

Rule 1: the producer never waits for the log, unless MOST items or MOST_BYTES wait to be stored.
Rule 2: a batch is stored at once if none is on its way; what comes meanwhile is the next batch. No task does
        that, since waking one for each token would be a third of its cost.
Rule 3: items are numbered, so a batch whose answer was lost is sent again and stored once.
Rule 4: whoever stops the run stores the end. This process sees it in the log, and ends its producer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from ..delivery.node import Node
from ..delivery.tasks import start
from ..errors import StoreFull, TidewireError, Unavailable
from ..event_stream import check_publish_type
from ..log.drafts import check_data
from ..log.entries import Draft, Receipt, RunItem, RunStop
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
        self._limit = node.settings.max_event
        self._waiting: list[Draft] = []
        self._size = 0  # bytes, or nearly
        self._number = 0
        self._busy = False  # a batch is on its way, or about to be
        self._failed: list[Draft] = []  # the batch on its way, if its first attempt failed
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
            self._add(self._speaker.last())
        except BaseException as error:  # `SystemExit` too: raised out of a task it would end the server
            self._error = error
        finally:
            self._complete = True
            self._news.set()

    def _put(self, item: Any) -> Awaitable[None] | None:
        """Take an item, all of it or nothing. Return what to wait for if too much waits to be stored."""
        self._add(self._speaker.item(item))
        if self._over:
            raise asyncio.CancelledError
        return self._wait_for_room() if self._is_full else None

    def _add(self, spelled: Iterable[Spelled]) -> None:
        topic, key, id, *_ = self.run
        limit, number, size = self._limit, self._number, self._size
        drafts = []
        for event, data in spelled:
            item = RunItem(key, id, number)
            # The topic was checked when the run was started.
            drafts.append(Draft(topic, check_data(data, limit), check_publish_type(event), record=item))
            number += 1
            size += len(data)
        self._waiting += drafts
        self._number, self._size = number, size
        if drafts and not self._busy:
            self._busy = True
            # Not in this step of the event loop: a producer that never waits would keep it for itself.
            self._node.loop.call_soon(self._send)

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) >= MOST or self._size >= MOST_BYTES

    async def _wait_for_room(self) -> None:
        while self._is_full and not self._over:
            self._room.clear()
            await self._room.wait()
        if self._over:
            raise asyncio.CancelledError

    # -- the log's side

    def _send(self) -> None:
        """Start to store what waits. If that fails, the task takes over."""
        batch, self._waiting, self._size = self._waiting, [], 0
        self._room.set()
        try:
            # The log's, not the node's: a run goes on while the node drains.
            outcome = self._node.log.submit(batch)
        except Exception:
            self._fail(batch)
        else:
            if outcome.done():
                self._sent(batch, outcome)
            else:
                outcome.add_done_callback(partial(self._sent, batch))

    def _sent(self, batch: list[Draft], outcome: asyncio.Future[list[Receipt]]) -> None:
        if outcome.cancelled() or outcome.exception() is not None:
            self._fail(batch)
        else:
            self._go_on()

    def _fail(self, batch: list[Draft]) -> None:
        self._failed = batch
        self._news.set()

    def _go_on(self) -> None:
        """A batch is stored: store what has come in the meantime."""
        if self._waiting:
            self._send()
            return
        self._busy = False
        if self._complete:
            self._news.set()

    async def _make(self) -> None:
        try:
            refusal = await self._follow()
            if not self._over:
                await self._stop(*self._outcome(refusal))
            await self._end_producer()
        except Exception:
            logger.exception("the run %r of %r failed", self.run.key, self.run.topic)
        finally:
            self._ended(self)

    async def _follow(self) -> TidewireError | None:
        """Wait until all is stored, or the run is over. Return why, if it is refused."""
        while not (self._over or (self._complete and not self._busy)):
            await self._news.wait()
            self._news.clear()
            if self._failed:
                try:
                    await self._store(self._failed)
                except TidewireError as error:
                    return error
                self._failed = []
                self._go_on()
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
