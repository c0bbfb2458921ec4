"""
What the server holds, as bytes: entries, keys and records.

    entry   <offset>-0  t <topic>  v [data, event, retry, until, trace]
                        h <check> <previous> <total> <time> <life>
    key     <offset> <check> <time> <digest>
    record  <offset> <check> [value, until]

Rule 1: each entry names the check of the one before it, and its life. So a node that has been away knows at
        the next entry whether the log is still the one it knew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from ...log.entries import Entry, Record
from ...log.judging import HeldKey
from ...log.records import END, record_of
from ...position import Position

Lives = Sequence[tuple[str, int]]


class Stored(NamedTuple):
    """An entry with what only the engine needs."""

    entry: Entry
    life: str
    """The life in which it was stored."""
    previous: str
    """The check of the entry before it."""
    total: int
    """The bytes of the log through it."""
    until: float
    """Until when its topic has ended, if it is the end of one."""

    @property
    def record(self) -> Record | None:
        """The record that it sets."""
        found = record_of(self.entry)
        return found._replace(until=self.until) if found is not None and found.kind == END else found


def life_of(lives: Lives, offset: int) -> str:
    index = bisect_right(lives, offset, key=lambda life: life[1]) - 1
    return lives[max(index, 0)][0]


def value_of(entry: Entry, until: float) -> bytes:
    event = None if entry.event == "message" else entry.event
    return orjson.dumps([entry.data, event, entry.retry, until, entry.traceparent])


def head_of(check: str, previous: str, total: int, time: float, life: str) -> bytes:
    return f"{check} {previous} {total} {time!r} {life}".encode("ascii")


def stored_of(item: Any, lives: Lives) -> Stored:
    """Return the entry that the server returned. Raises `ValueError` if it is not one of ours."""
    _, fields = item
    _, topic, _, value, _, head = fields
    check, previous, total, time, life = head.decode("ascii").split(" ")
    offset = offset_of(item)
    data, event, retry, until, trace = orjson.loads(value)
    position = Position(life_of(lives, offset), offset, check)
    entry = Entry(position, topic.decode(), data, event or "message", retry, until > 0, float(time), trace)
    return Stored(entry, life, previous, int(total), until)


def offset_of(item: Any) -> int:
    """Return the offset of an entry that the server returned."""
    id = item[0]
    return int(id[: id.index(b"-")])


def key_tail(key: HeldKey) -> bytes:
    return b"%r %b" % (key.time, key.digest)


class KnownKey(NamedTuple):
    held: HeldKey
    check: str


def key_of(value: bytes) -> KnownKey:
    offset, check, time, digest = value.split(b" ", 3)
    return KnownKey(HeldKey(int(offset), digest, float(time)), check.decode("ascii"))


def record_name(kind: str, name: str) -> bytes:
    return f"{kind}\n{name}".encode()


def record_tail(record: Record) -> bytes:
    return orjson.dumps([record.value, record.until])


def record_from(name: bytes, value: bytes) -> tuple[Record, str]:
    """Return a record, and the check of the entry that set it."""
    kind, _, of = name.decode().partition("\n")
    offset, check, rest = value.split(b" ", 2)
    text, until = orjson.loads(rest)
    return Record(kind, of, text, until, int(offset)), check.decode("ascii")
