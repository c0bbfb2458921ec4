"""
Storing what is published: one call of the server at a time, with all that waits.

    waiting batches -> judged by the log as this node knows it -> STORE -> reported to the sink -> receipts

Rule 1: if other nodes have stored something in the meantime, STORE stores after it as long as the judgement
        still holds. Otherwise it returns what they have stored, and the batches are judged again.
Rule 2: a node that came too late several times gets the next turn: the others wait for it, but not for long.
Rule 3: keys are believed to be new. If one is not, STORE stores nothing and returns what is held.
Rule 4: of a call whose answer is lost it is not known whether it is stored. It is, if the log has its first
        entry when the node has found the log again. Otherwise it may be stored later: that is `Unknown`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

from ...errors import StoreFull, TidewireError, Unavailable, Unknown
from ...log.entries import Receipt
from ...log.judging import HeldKey, Judgement, Result, name_of
from ...log.records import END, RUN, TICKET
from ...log.tasks import start
from ...log.waiting_batch import WaitingBatch
from ...position import Position, new_checks
from ...settings import Settings
from .codec import Stored, head_of, key_of, key_tail, record_name, record_tail, stored_of, value_of
from .keys import Keys
from .link import Link, Lost
from .scripts import FORGET_KEYS, STORE
from .state import LogChanged, LogState

logger = logging.getLogger("tidewire")

# Drafts in one call; a larger batch has its own.
GROUP = 128
# Calls that come too late before a node asks for the next turn.
PATIENT = 2
# The part of the engine's timeout after which a publish that was not stored is refused.
PATIENCE = 0.8
# Seconds between two attempts while it is another node's turn.
PAUSE = 0.001, 0.003
# Keys forgotten in one call.
FORGET_STEP = 1_000
# Entries read at once after the answer to a call was lost.
MOST = 1_000
# Where the arguments of STORE say whether the node wants the next turn.
ASK = 6
# Records that later judgements depend on, beside the ends of topics.
DECISIVE = (END, RUN, TICKET)


class Owner(Protocol):
    """The engine, as storing sees it."""

    @property
    def state(self) -> LogState: ...

    def now(self) -> float:
        """The log's clock."""

    def take(self, found: Sequence[Stored]) -> None:
        """Take entries that follow each other, and report what is new. Raises `LogChanged`."""

    async def mended(self) -> None:
        """Wait until the log was looked at again, after something went wrong."""

    def on_trouble(self, error: Exception) -> None:
        """The server cannot be reached, or the log is not as it should be."""


class Attempt(NamedTuple):
    """What one call is to store."""

    judgement: Judgement
    results: list[Result]
    checks: list[str]
    arguments: list[Any]
    head: int
    life: str


class Storing:
    def __init__(self, link: Link, keys: Keys, settings: Settings, name: str, owner: Owner) -> None:
        self._link = link
        self._keys = keys
        self._settings = settings
        self._name = name
        self._owner = owner
        self._waiting: deque[WaitingBatch] = deque()
        self._wake = asyncio.Event()
        self.untrimmed = 0
        """Entries stored since retention was last looked at."""
        self.idle = asyncio.Event()
        """Set while nothing is being stored."""
        self.idle.set()
        self._task = start(self._run())

    def put(self, waiting: WaitingBatch) -> None:
        self._waiting.append(waiting)
        self.idle.clear()
        self._wake.set()

    async def close(self) -> None:
        """Store what is waiting, unless that takes too long, and stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.engine_timeout):
                await self.idle.wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for waiting in self._waiting:
            waiting.tell(waiting.answer, Unavailable("the log is closed", code="engine_unavailable"))

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                self.idle.set()
                self._wake.clear()
                await self._wake.wait()
            if group := self._next_group():
                await self._store(group)

    def _next_group(self) -> list[WaitingBatch]:
        group: list[WaitingBatch] = []
        count = 0
        while self._waiting and (not group or count + len(self._waiting[0].drafts) <= GROUP):
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                group.append(waiting)
                count += len(waiting.drafts)
        return group

    async def _store(self, group: list[WaitingBatch]) -> None:
        until = asyncio.get_running_loop().time() + PATIENCE * self._settings.engine_timeout
        results: list[Result] = [unknown()] * len(group)
        try:
            results = await self._store_until(group, until)
        except TidewireError as error:
            results = [error] * len(group)
        except Exception:
            logger.exception("storing in Redis failed")
        finally:
            for waiting, result in zip(group, results, strict=True):
                waiting.tell(waiting.answer, result)

    async def _store_until(self, group: Sequence[WaitingBatch], until: float) -> list[Result]:
        clock = asyncio.get_running_loop().time
        held: dict[bytes, bytes] = {}
        late = 0
        while True:
            attempt = await self._judge(group, held)
            if not attempt.judgement.entries:
                return await self._placed(attempt, attempt.head)
            try:
                attempt.arguments[ASK] = int(late >= PATIENT)
                code, *rest = await self._link.run(STORE, self._store_keys, *attempt.arguments)
            except Lost as lost:
                return await self._after_loss(group, attempt, lost)
            except StoreFull as full:
                held.update(await self._held(self._names(group)))
                attempt = await self._judge(group, held)
                return refused(attempt, full)
            if code == b"ok":
                return await self._stored(attempt, *rest)
            try:
                if code in (b"moved", b"turn"):
                    between, self._owner.state.keys_held, *more = rest
                    self._take(between)
                    late += code == b"moved"
                    if more:
                        held.update(zip(more[0][::2], more[0][1::2], strict=True))
                    if code == b"turn":
                        await asyncio.sleep(random.uniform(*PAUSE))
                else:
                    raise LogChanged
            except LogChanged as error:
                self._owner.on_trouble(error)
                await self._owner.mended()
            if clock() > until:
                raise Unavailable(
                    "other nodes publish all the time; try again", code="engine_busy", retry_after=1
                )

    @property
    def _store_keys(self) -> tuple[str, ...]:
        keys = self._keys
        return keys.log, keys.meta, keys.keys, keys.keyline, keys.records, keys.turn

    def _take(self, items: Sequence[Any]) -> None:
        if items:
            lives = self._owner.state.lives
            self._owner.take([stored_of(item, lives) for item in items])

    # -- judging

    async def _judge(self, group: Sequence[WaitingBatch], held: dict[bytes, bytes]) -> Attempt:
        names = self._names(group)
        settings, state = self._settings, self._owner.state
        if names and state.keys_held + len(names) > settings.max_keys:
            await self.forget_keys()
        attempt = self._judged(group, held, names)
        doubtful = any(isinstance(result, TidewireError) for result in attempt.results)
        newer = [value for value in held.values() if value and key_of(value).held.offset > state.head]
        if doubtful and any(name not in held for name in names):
            # A key counts before all else, so a refusal needs to know what is held.
            held.update(await self._held(names))
            return await self._judge(group, held)
        if newer:
            await self._catch_up()
            return await self._judge(group, held)
        return attempt

    def _names(self, group: Sequence[WaitingBatch]) -> list[bytes]:
        """Return the names of all keys of a group."""
        drafts = [draft for waiting in group for draft in waiting.drafts if draft.key is not None]
        return [name_of(draft.topic, draft.key) for draft in drafts if draft.key is not None]

    def _judged(
        self, group: Sequence[WaitingBatch], held: dict[bytes, bytes], names: Sequence[bytes]
    ) -> Attempt:
        state = self._owner.state
        known: dict[bytes, HeldKey] = {}
        state.key_checks.clear()
        for name in names:
            if value := held.get(name):
                known[name], state.key_checks[known[name].offset] = key_of(value)
        judgement = Judgement(state, max(self._owner.now(), state.time), self._settings, known)
        results = [judgement.add(waiting.drafts) for waiting in group]
        checks = new_checks(len(judgement.entries))
        arguments = self._arguments(judgement, checks, held) if judgement.entries else []
        return Attempt(judgement, results, checks, arguments, state.head, state.life)

    def _arguments(self, judgement: Judgement, checks: Sequence[str], held: dict[bytes, bytes]) -> list[Any]:
        state = self._owner.state
        head, records = state.head, judgement.records
        until = {record.offset: record.until for record in records.values() if record.kind == END}
        barrier = max((r.offset - head for r in records.values() if r.kind in DECISIVE), default=0)
        # The record of a run names offsets.
        in_place = any(record.kind == RUN for record in records.values())
        entries, keys = judgement.entries, judgement.keys
        flat: list[Any] = [
            state.epoch, head, state.check, state.total, self._name, int(in_place), 0, barrier,
            len(entries), len(keys), len(records),
        ]  # fmt: skip
        previous, total = state.check, state.total
        for entry, check in zip(entries, checks, strict=True):
            total += entry.size
            value = value_of(entry, until.get(entry.offset, 0.0) if entry.end else 0.0)
            line = head_of(check, previous, total, entry.time, state.epoch)
            flat += (b"%d-0" % entry.offset, entry.topic.encode(), value, line)
            previous = check
        for name, key in keys.items():
            flat += (name, held.get(name, b""), key.offset - head, key_tail(key))
        for record in records.values():
            flat += (record_name(record.kind, record.name), record.offset - head, record_tail(record))
        return flat

    async def _held(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        if not names:
            return {}
        values = await self._link.ask(b"HMGET", self._keys.keys, *names)
        return {name: value or b"" for name, value in zip(names, values, strict=True)}

    async def _catch_up(self) -> None:
        """Learn what others have stored that this node has a key of."""
        after = self._owner.state.head + 1
        try:
            self._take(await self._link.ask(b"XRANGE", self._keys.log, after, b"+", b"COUNT", GROUP))
        except LogChanged as error:
            self._owner.on_trouble(error)
            await self._owner.mended()

    async def forget_keys(self) -> None:
        """Forget the keys that are too old."""
        cutoff, more = self._owner.now() - self._settings.key_age, True
        while more:
            looked, self._owner.state.keys_held = await self._link.run(
                FORGET_KEYS, (self._keys.keys, self._keys.keyline), repr(cutoff), FORGET_STEP
            )
            more = looked == FORGET_STEP

    # -- what comes of it

    async def _stored(self, attempt: Attempt, between: Sequence[Any], keys_held: int) -> list[Result]:
        """Report what was stored. Whatever comes in between, it is not stored again."""
        state = self._owner.state
        state.keys_held = keys_held
        after = attempt.head + len(between)
        try:
            self._take(between)
            # Otherwise the log was read again in the meantime.
            if state.head == after:
                self._owner.take(self._entries(attempt, state))
            state.records.count_items(attempt.judgement.items, after - attempt.head)
        except LogChanged as error:
            self._owner.on_trouble(error)
            await self._owner.mended()
        self.untrimmed += len(attempt.checks)
        return await self._placed(attempt, after)

    def _entries(self, attempt: Attempt, state: LogState) -> list[Stored]:
        """Return the entries as they were stored, after the head."""
        shift, found = state.head - attempt.head, []
        records = attempt.judgement.records.values()
        until = {record.offset: record.until for record in records if record.kind == END}
        previous, total, time = state.check, state.total, state.time
        for entry, check in zip(attempt.judgement.entries, attempt.checks, strict=True):
            life, offset, _ = entry.position
            entry.position = Position(life, offset + shift, check)
            entry.time = time = max(entry.time, time)
            total += entry.size
            found.append(Stored(entry, life, previous, total, until.get(offset, 0.0)))
            previous = check
        return found

    async def _entries_after(self, head: int) -> Sequence[Any]:
        found: Sequence[Any] = await self._link.ask(b"XRANGE", self._keys.log, head + 1, b"+", b"COUNT", MOST)
        return found

    async def _placed(self, attempt: Attempt, after: int) -> list[Result]:
        """Return the answers with the positions that the entries have, when they are stored after `after`."""
        life, head = attempt.life, attempt.head

        def placed(receipt: Receipt) -> Receipt:
            offset = receipt.position.offset
            if offset <= head:
                return receipt
            check = attempt.checks[offset - head - 1]
            return Receipt(Position(life, offset - head + after, check), receipt.duplicate)

        results = [
            result if isinstance(result, TidewireError) else [placed(receipt) for receipt in result]
            for result in attempt.results
        ]
        receipts = chain.from_iterable(item for item in results if not isinstance(item, TidewireError))
        older = {r.position.offset for r in receipts if r.duplicate and not r.position.check}
        if not older:
            return results
        known = await self._checks(sorted(older))

        def checked(receipt: Receipt) -> Receipt:
            position = receipt.position
            check = position.check or known.get(position.offset, "")
            return receipt._replace(position=position._replace(check=check))

        return [
            result if isinstance(result, TidewireError) else [checked(receipt) for receipt in result]
            for result in results
        ]

    async def _checks(self, offsets: Sequence[int]) -> dict[int, str]:
        """Return the checks of older entries, as far as these are kept."""
        lives = self._owner.state.lives
        replies = await self._link.call(*((b"XRANGE", self._keys.log, o, o) for o in offsets))
        found = [stored_of(reply[0], lives) for reply in replies if isinstance(reply, list) and reply]
        return {stored.entry.offset: stored.entry.position.check for stored in found}

    async def _after_loss(self, group: Sequence[WaitingBatch], attempt: Attempt, lost: Lost) -> list[Result]:
        self._owner.on_trouble(lost)
        if not lost.sent:
            return refused(attempt, lost)
        await self._owner.mended()
        state = self._owner.state
        for item in await self._entries_after(attempt.head):
            stored = stored_of(item, state.lives)
            if stored.entry.position.check == attempt.checks[0]:
                after = stored.entry.offset - 1
                try:
                    while state.head < after + len(attempt.checks):
                        self._take(await self._entries_after(state.head))
                except LogChanged:
                    break
                state.records.count_items(attempt.judgement.items, after - attempt.head)
                return await self._placed(attempt, after)
        return refused(attempt, unknown())


def refused(attempt: Attempt, error: TidewireError) -> list[Result]:
    """Return the answers if nothing new is stored: `error`, but a repeat gets its first id."""
    return [error if touched(result, attempt.head) else result for result in attempt.results]


def unknown() -> Unknown:
    return Unknown(
        "the Redis server did not answer; to publish again without a duplicate, use a key", retry_after=1
    )


def touched(result: Result, head: int) -> bool:
    """Whether an answer is of something that would be new after `head`."""
    return not isinstance(result, TidewireError) and any(r.position.offset > head for r in result)
