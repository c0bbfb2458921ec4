"""
Looking at the whole log in the server: when a node opens it, after each outage, and when something is not as
it should be. What is wrong is put right, and nothing is put right in silence.

Rule 1: a life begins whenever entries may have been lost: the log is shorter than this node knew it, or the
        server is another one, or it has started again. So no position of what was lost can be continued.
Rule 2: what is missing at the beginning is as if retention had taken it, but of unknown topics: the mark of
        all topics says so. If all is missing, even a node that knows of no loss cannot rule one out.
Rule 3: several nodes may look at once. A change is made only if the log is still as it was found.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from ...errors import StartRefused
from ...log.entries import MAX_MARKS, Entry, Marks, Record
from ...position import new_life
from .codec import Lives, Stored, record_from, record_name, record_tail, stored_of
from .keys import Keys
from .link import Link, Server
from .scripts import SETTLE
from .state import NO_CHECK, LogState, Meta, Point

logger = logging.getLogger("tidewire")

VERSION = 1
# Entries and records read at once.
STEP = 500
# Attempts to put the log right while other nodes do the same.
ATTEMPTS = 10


class Found(NamedTuple):
    """The log as it was found in one step."""

    meta: Meta | None
    length: int
    first: Stored | None
    last: Stored | None
    keys_held: int


class Change(NamedTuple):
    """What makes the log right again."""

    meta: Meta
    drop: bool = False
    """Whether all entries go."""
    records: Sequence[tuple[Record, str]] = ()
    told: str = ""


class Settling:
    """Looks at the log over `link`. `place` names it in messages."""

    def __init__(self, link: Link, server: Server, keys: Keys) -> None:
        self._link = link
        self._server = server
        self._keys = keys

    async def settle(self, known: LogState | None) -> tuple[Found, bool]:
        """
        Put the log right if something is wrong. Return what was found, and whether it continues `known`.

        Raises `Unavailable`, and `StartRefused` if the keys are not those of a log.
        """
        for _ in range(ATTEMPTS):
            before = known.point if known else None
            found = await self._look()
            continues = before is not None and await self._continues(found, before)
            change = await self._change(found, known, before, continues)
            if change is None:
                return found, continues
            if await self._make(found, change) and change.told:
                logger.warning("the log %s: %s", self._server.place, change.told)
        raise StartRefused(
            f"the log {self._server.place} changes all the time; is another program writing it?"
        )

    # -- looking

    async def _look(self) -> Found:
        keys = self._keys
        raw, length, first, last, held = await self._link.together(
            (b"HGETALL", keys.meta),
            (b"XLEN", keys.log),
            (b"XRANGE", keys.log, b"-", b"+", b"COUNT", 1),
            (b"XREVRANGE", keys.log, b"+", b"-", b"COUNT", 1),
            (b"HLEN", keys.keys),
        )
        meta = self._meta_of(raw)
        lives: Lives = meta.lives if meta else (("------", 1),)
        return Found(meta, length, self._one(first, lives), self._one(last, lives), held)

    def _meta_of(self, raw: Sequence[bytes]) -> Meta | None:
        if not raw:
            return None
        fields = dict(zip(raw[::2], raw[1::2], strict=True))
        try:
            if int(fields[b"version"]) != VERSION:
                raise StartRefused(
                    f"the log {self._server.place} was written by a later version of Tidewire; use that one"
                )
            return Meta(
                tuple((life, first) for life, first in orjson.loads(fields[b"lives"])),
                fields[b"server"].decode(),
                int(fields[b"head"]),
                fields[b"check"].decode(),
                float(fields[b"time"]),
                *(int(fields[name]) for name in (b"total", b"floor", b"trimmed", b"dropped")),
            )
        except (KeyError, ValueError, TypeError):
            raise StartRefused(
                f"the key {self._keys.meta} is not that of a log; use another prefix, or delete the keys"
                f" {', '.join(self._keys.lasting)}"
            ) from None

    def _one(self, items: Sequence[Any], lives: Lives) -> Stored | None:
        try:
            return stored_of(items[0], lives) if items else None
        except (ValueError, TypeError, AttributeError):
            return None  # another program wrote it

    async def _continues(self, found: Found, known: Point) -> bool:
        """Whether the log that was found is the one that this node knows, or has grown since."""
        meta = found.meta
        if meta is None or meta.epoch != known.epoch or meta.head < known.head:
            return False
        if meta.head == known.head:
            return meta.check == known.check
        if meta.floor > known.head + 1:
            return False  # retention has taken what this node never saw
        # The next entry names the check of the newest that is known.
        offset = known.head + 1
        items = await self._link.ask(b"XRANGE", self._keys.log, offset, offset)
        entry = self._one(items, meta.lives)
        return entry is not None and entry.previous == known.check

    # -- what is wrong

    async def _change(
        self, found: Found, known: LogState | None, before: Point | None, continues: bool
    ) -> Change | None:
        meta, server = found.meta, self._server.run_id or ""
        if meta is None:
            return self._begin(found, known, server)
        if (change := await self._repair(found, meta)) is not None:
            return change
        went_back = (
            before is not None
            and not continues
            and meta.epoch == before.epoch
            and (meta.head < before.head or meta.floor <= before.head + 1)
        )
        if meta.server != server or went_back:
            told = "it has lost its newest events" if went_back else ""
            return Change(
                meta._replace(server=server, lives=with_new_life(meta.lives, meta.head + 1)), told=told
            )
        return None

    def _begin(self, found: Found, known: LogState | None, server: str) -> Change:
        """The log's hash is missing: it is new, or it was deleted."""
        last, first = found.last, found.first
        if known is None or last is not None:
            lives: tuple[tuple[str, int], ...] = ((new_life(), 1),)
            if last is None or first is None:
                return Change(Meta(lives, server, 0, NO_CHECK, 0.0, 0, 1, 0, 0))
            below, floor = first.total - first.entry.size, first.entry.offset
            entry = last.entry
            meta = Meta(
                lives,
                server,
                entry.offset,
                entry.position.check,
                entry.time,
                last.total,
                floor,
                below,
                floor - 1,
            )
            return Change(meta, told=f"its key {self._keys.meta} was deleted; all positions begin again")
        # Other nodes may have stored more than this one knows. So one more offset counts as trimmed.
        lost = known.head + 1
        lives = with_new_life(known.lives, lost)
        meta = Meta(
            lives, server, lost, NO_CHECK, known.time, known.total, lost + 1, known.total, lost
        )  # fmt: skip
        records = [(record, known.checks.get(record.offset, NO_CHECK)) for record in known.records]
        return Change(
            meta,
            records=records,
            told="all its keys were deleted; it goes on with what this process knows of it",
        )

    async def _repair(self, found: Found, meta: Meta) -> Change | None:
        last = found.last.entry.offset if found.last else None
        first = found.first.entry.offset if found.first else None
        kept = meta.head - meta.floor + 1
        if found.length == kept and (not kept or (first, last) == (meta.floor, meta.head)):
            return None
        if found.length and (last is None or last > meta.head):
            # A stream never takes an offset again that is below one that it had.
            changed = meta._replace(floor=meta.head + 1, trimmed=meta.total, dropped=meta.head)
            told = "another program has written into it, so it begins again at its head"
            return Change(changed, drop=True, told=f"{told}; streams that are behind are told")
        floor = await self._whole_from(found, meta)
        below = await self._bytes_below(floor, meta)
        changed = meta._replace(floor=floor, trimmed=below, dropped=floor - 1)
        if floor == meta.floor:
            return None
        return Change(
            changed, told="another program has deleted entries of it; streams that miss them are told"
        )

    async def _whole_from(self, found: Found, meta: Meta) -> int:
        """Return the offset from which on all entries are there, up to the head."""
        if found.last is None or found.last.entry.offset != meta.head or found.first is None:
            return meta.head + 1
        first = found.first.entry.offset
        if found.length == meta.head - first + 1:
            return first
        whole, end = meta.head + 1, b"+"
        while True:
            items = await self._link.ask(b"XREVRANGE", self._keys.log, end, b"-", b"COUNT", STEP)
            for id, _ in items:
                if id != b"%d-0" % (whole - 1):
                    return whole
                whole -= 1
            if len(items) < STEP:
                return whole
            end = b"(%d-0" % whole

    async def _bytes_below(self, floor: int, meta: Meta) -> int:
        if floor > meta.head:
            return meta.total
        entry = self._one(await self._link.ask(b"XRANGE", self._keys.log, floor, floor), meta.lives)
        return meta.trimmed if entry is None else entry.total - entry.entry.size

    async def _make(self, found: Found, change: Change) -> bool:
        meta = change.meta
        before = found.meta
        fields: dict[str, Any] = {
            "version": VERSION,
            "epoch": meta.epoch,
            "lives": orjson.dumps(meta.lives),
            "server": meta.server,
            "head": meta.head,
            "check": meta.check,
            "time": repr(meta.time),
            "total": meta.total,
            "floor": meta.floor,
            "trimmed": meta.trimmed,
            "dropped": meta.dropped,
            # Whatever a node judged before, it judges again.
            "barrier": meta.head,
        }
        records = [
            item
            for record, check in change.records
            for item in (
                record_name(record.kind, record.name),
                b"%d %b %b" % (record.offset, check.encode(), record_tail(record)),
            )
        ]
        keys = self._keys
        made = await self._link.run(
            SETTLE,
            (keys.log, keys.meta, keys.records),
            before.epoch if before else "",
            before.head if before else "",
            meta.floor,
            int(change.drop),
            len(fields),
            *(part for field in fields.items() for part in field),
            *records,
        )
        return bool(made == 1)

    # -- reading it whole

    async def load(self, found: Found) -> LogState:
        """Return the state of the log that was found, with its marks and records."""
        assert found.meta
        meta = found.meta
        marks = Marks()
        scored = await self._link.ask(
            b"ZRANGEBYSCORE", self._keys.marks, b"-inf", meta.floor - 1, b"WITHSCORES", timeout=60.0
        )
        named = [
            (topic.decode(), int(float(offset)))
            for topic, offset in zip(scored[::2], scored[1::2], strict=True)
        ]
        marks.update(named[-MAX_MARKS:], meta.dropped)
        state = LogState(meta, marks, ())
        for record, check in sorted(await self._records(), key=lambda item: item[0].offset):
            state.records.set(record)
            state.checks[record.offset] = check
        state.keys_held = found.keys_held
        return state

    async def _records(self) -> list[tuple[Record, str]]:
        found: dict[bytes, bytes] = {}
        cursor: Any = 0
        while True:
            cursor, items = await self._link.ask(b"HSCAN", self._keys.records, cursor, b"COUNT", STEP)
            found.update(zip(items[::2], items[1::2], strict=True))
            if int(cursor) == 0:
                return [record_from(name, value) for name, value in found.items()]

    async def newest(self, state: LogState, count: int, size: int) -> list[Entry]:
        """Return the newest entries up to the head, at most `count` and about `size` bytes."""
        found: list[Entry] = []
        end: Any = b"%d-0" % state.head
        room = size
        while len(found) < count and room > 0:
            wanted = min(STEP, count - len(found))
            items = await self._link.ask(b"XREVRANGE", self._keys.log, end, b"-", b"COUNT", wanted)
            for item in items:
                entry = stored_of(item, state.lives).entry
                if found and entry.offset != found[-1].offset - 1:
                    return found[::-1]
                room -= entry.size
                if room < 0 and found:
                    return found[::-1]
                found.append(entry)
            if len(items) < wanted:
                break
            end = b"(%d-0" % found[-1].offset
        return found[::-1]


def with_new_life(lives: Lives, first: int) -> tuple[tuple[str, int], ...]:
    """Begin a life at the offset `first`. One that wrote nothing is replaced, except the log's first life."""
    kept = lives[:-1] if len(lives) > 1 and lives[-1][1] >= first else lives
    return (*kept, (new_life(), first))
