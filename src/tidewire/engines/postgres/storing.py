"""
Storing publishes: all batches that wait become one group, which is judged here and stored by one statement.

Rule 1: a group is judged by the log as this node knows it. The server stores it only if the judgement still
        holds (see `schema`); otherwise this node catches up and judges again.
Rule 2: what users' transactions have put into the outbox by the time a group is begun comes before it.
Rule 3: if the connection breaks while a group is on its way, the log is asked whether it has the group.
        Only if that cannot be decided are its publishes unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, TypeVar

from ...errors import TidewireError, Unavailable, Unknown
from ...log.entries import Draft, Entry, Receipt
from ...log.judging import HeldKey, Judgement, Result, name_of
from ...log.tasks import start
from ...log.waiting_batch import WaitingBatch
from ...position import Position, new_checks
from ...settings import Settings
from . import keys
from .link import Connection, Link, Lost
from .outbox import Waiting, done_with, waiting_in
from .rows import APPEND, Stored, values_of
from .settling import rows
from .state import LogState

logger = logging.getLogger("tidewire")

T = TypeVar("T")

# Drafts in one group; a larger batch gets its own.
GROUP = 2_048
# Bytes of data in one group, or one larger batch.
GROUP_BYTES = 4 * 1024 * 1024
# The part of the engine's timeout after which a group is given up.
PATIENCE = 0.8

# Seconds between two attempts to find out whether a group is stored.
FIND_EVERY = 0.1

FIND = 'SELECT "offset" FROM tidewire.entries WHERE "offset" > %s AND "check" = %s'
# `append` has to see what was committed while it waited for its lock.
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class Again(Enum):
    """Why a group is judged once more."""

    JUDGE = "the log has grown so that the judgement does not hold any more"
    OUTBOX = "what is in the outbox comes first"


class Storing:
    """
    Stores the batches that `put` adds, in its task.

    `state` returns the log as it is known; `catch_up` learns what is new and reports it; `stored` reports the
    entries of a group that directly continues what is known.
    """

    def __init__(
        self,
        link: Link,
        settings: Settings,
        now: Callable[[], float],
        state: Callable[[], LogState],
        catch_up: Callable[[], Awaitable[None]],
        stored: Callable[[Sequence[Stored], Judgement], None],
        failed: Callable[[Lost], None],
    ) -> None:
        self._link = link
        self._settings = settings
        self._now = now
        self._state = state
        self._catch_up = catch_up
        self._stored = stored
        self._failed = failed
        self._waiting: deque[WaitingBatch] = deque()
        self._wake = asyncio.Event()
        self._stopping = self._outbox_due = False
        self._loop = asyncio.get_running_loop()
        self._task = start(self._run())

    def put(self, waiting: WaitingBatch) -> None:
        self._waiting.append(waiting)
        self._wake.set()

    def move_outbox(self) -> None:
        """Move soon what transactions have put into the outbox."""
        self._outbox_due = True
        self._wake.set()

    def refuse_waiting(self, error: TidewireError) -> None:
        """Answer all batches that are in no group yet."""
        while self._waiting:
            waiting = self._waiting.popleft()
            waiting.tell(waiting.answer, error)

    async def stop(self) -> None:
        """Store what is waiting, then end."""
        self._stopping = True
        self._wake.set()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            group = self._next_group()
            if group or self._outbox_due:
                self._outbox_due = False
                await self._store(group)
            elif self._stopping:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _next_group(self) -> list[WaitingBatch]:
        group: list[WaitingBatch] = []
        count = size = 0
        while self._waiting and count < GROUP and size < GROUP_BYTES:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                group.append(waiting)
                count += len(waiting.drafts)
                size += sum(len(draft.data) for draft in waiting.drafts)
        return group

    async def _store(self, group: Sequence[WaitingBatch]) -> None:
        batches = [waiting.drafts for waiting in group]
        results: Sequence[Result]
        try:
            results = await self._attempts(batches)
        except Lost as error:
            self._failed(error)
            answer = Unknown(f"{error.detail}", retry_after=1) if error.sent else error
            results = [answer] * len(group)
        except TidewireError as error:
            results = [error] * len(group)
        except Exception as error:
            logger.exception("cannot store events")
            results = [Unknown(f"storing failed: {error!r}", retry_after=1)] * len(group)
        for waiting, result in zip(group, results, strict=True):
            waiting.tell(waiting.answer, result)

    async def _attempts(self, batches: Sequence[Sequence[Draft]]) -> Sequence[Result]:
        until = self._loop.time() + PATIENCE * self._settings.engine_timeout
        moves = not batches
        while isinstance(found := await self._attempt(batches, moves), Again):
            if self._loop.time() > until:
                raise Unavailable(
                    "other nodes store so much that this event could not be judged in time",
                    code="busy",
                    retry_after=1,
                )
            if found is Again.OUTBOX:
                moves = True
            else:
                await before_storing(self._catch_up())
        return found

    async def _attempt(self, batches: Sequence[Sequence[Draft]], moves: bool) -> Sequence[Result] | Again:
        """Judge and store; with `moves`, what is in the outbox comes first."""
        state = self._state()
        waiting, more = await before_storing(self._waiting_rows()) if moves else ([], False)
        if more:
            batches = []  # they come after what there was no room for
        first = [[item] for _, item in waiting if isinstance(item, Draft)]
        keys_head = state.head
        held = await before_storing(self._held(state, [*first, *batches]))
        if state is not self._state() or any(key.offset > keys_head for key in held.values()):
            return Again.JUDGE
        judgement = Judgement(state, max(self._now(), state.time), self._settings, held)
        results = [judgement.add(drafts) for drafts in (*first, *batches)]
        moved = done_with(waiting, results)
        entries, head = judgement.entries, state.head
        results = results[len(first) :]
        if not (entries or moved):
            return results
        for entry, check in zip(entries, new_checks(len(entries)), strict=True):
            entry.position = Position(entry.position.life, entry.position.offset, check)
        values = [state.life, head, state.check, bool(judgement.records), not moves]
        values += [*values_of(judgement, head, keys_head), moved or None]
        try:
            after = await self._link.run(lambda c: append(c, values, self._link.reads_committed))
        except Lost as error:
            after = await self._find(error, head, entries[0].position.check if entries else "")
        if after is None or after < 0:
            return Again.JUDGE if after is None else Again.OUTBOX
        await self._report(state, judgement, after, after - head)
        return (
            Again.OUTBOX if more else [with_checks(result, entries, head, after - head) for result in results]
        )

    async def _waiting_rows(self) -> tuple[list[Waiting], bool]:
        limit = self._settings.max_event
        return await self._link.run(lambda connection: waiting_in(connection, limit))

    async def _find(self, lost: Lost, head: int, check: str) -> int | None:
        """
        Return after which offset a group is stored whose connection broke; None if it is not stored.

        `check` is that of its first entry. Raises `lost` if it cannot be decided in time.
        """
        session, until = self._link.session, self._loop.time() + PATIENCE * self._settings.engine_timeout
        if not (lost.sent and self._link.prepares and session):
            raise lost
        self._failed(lost)
        while self._loop.time() < until:
            with contextlib.suppress(Lost):
                ended, offset = await self._link.run(lambda c: find(c, session, head, check))
                if ended or offset is not None:
                    return None if offset is None else offset - 1
            await asyncio.sleep(FIND_EVERY)
        raise lost

    async def _report(self, state: LogState, judgement: Judgement, after: int, shift: int) -> None:
        """The entries are stored after `after`, `shift` later than judged. Return once they are reported."""
        # If others have stored something since, the judged entries do not have their offsets.
        if state is self._state() and after == state.head and shift == 0:
            self._stored(stored_rows(judgement.entries, state.total), judgement)
            return
        state.records.count_items(judgement.items, shift)
        try:
            while self._state() is state and state.head < after + len(judgement.entries):
                await self._catch_up()
        except TidewireError as error:
            raise Lost(error.detail, sent=True) from None

    async def _held(self, state: LogState, batches: Sequence[Sequence[Draft]]) -> dict[bytes, HeldKey]:
        """Return the keys of `batches` that the log holds, by their names."""
        names = [
            name_of(draft.topic, draft.key) for drafts in batches for draft in drafts if draft.key is not None
        ]
        if not names:
            return {}
        if state.keys_held + len(names) > self._settings.max_keys:
            until = self._now() - self._settings.key_age
            state.keys_held = await self._link.run(lambda connection: keys.make_room(connection, until))
        found = await self._link.run(lambda connection: keys.held(connection, names))
        state.key_checks = {offset: check for _, offset, _, _, check in found}
        return {name: HeldKey(offset, digest, time) for name, offset, digest, time, _ in found}


async def before_storing(work: Awaitable[T]) -> T:
    """Wait for `work`, which stores nothing: if the connection breaks, nothing is stored."""
    try:
        return await work
    except Lost as error:
        error.sent = False
        raise


async def append(connection: Connection, values: Sequence[object], reads_committed: bool) -> int | None:
    if reads_committed:
        found = await connection.execute(APPEND, values)
    else:
        async with connection.pipeline():
            await connection.execute(BEGIN)
            found = await connection.execute(APPEND, values)
            await connection.execute("COMMIT")
    row = await found.fetchone()
    return row[0] if row else None


async def find(
    connection: Connection, session: Sequence[Any], head: int, check: str
) -> tuple[bool, int | None]:
    """Return whether a session has ended, and the offset of the entry after `head` that has this check."""
    async with connection.transaction():
        # What it has begun to store is stored by now, or will not be.
        await connection.execute("SELECT FROM tidewire.meta FOR UPDATE")
        alive = await rows(
            connection, "SELECT FROM pg_stat_activity WHERE pid = %s AND backend_start = %s", *session
        )
        found = await rows(connection, FIND, head, check)
    return not alive, found[0][0] if found else None


def stored_rows(entries: Sequence[Entry], total: int) -> list[Stored]:
    found = []
    for entry in entries:
        total += entry.size
        found.append(Stored(entry, total))
    return found


def with_checks(result: Result, entries: Sequence[Entry], head: int, shift: int) -> Result:
    """Return an answer with its positions: it was judged after `head`, and stored `shift` offsets later."""
    if isinstance(result, TidewireError):
        return result
    receipts = []
    for receipt in result:
        place = receipt.position.offset - head - 1
        if place >= 0:
            life, offset, check = entries[place].position
            receipt = Receipt(Position(life, offset + shift, check), receipt.duplicate)
        receipts.append(receipt)
    return receipts
