"""
Entries as rows of the database, and rows as entries.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...log.entries import Entry, Record
from ...log.judging import Judgement
from ...position import Position

Lives = Sequence[tuple[str, int]]

COLUMNS = '"offset", "check", topic, event, retry, is_end, time, total, data, traceparent'

# Parameters of `tidewire.append`. What can be null goes as text, bytes go as they are.
APPEND = """
SELECT tidewire.append(
  %s, %s, %s, %s, %s,
  %s::text[], %s::text[], %s::text[], %s::integer[], %s::boolean[],
  %s::double precision[], %s::integer[], %b::bytea[], %s::text[],
  %s, %b::bytea[], %s::integer[], %b::bytea[], %b::bytea[], %s::double precision[],
  %s::integer[], %s::text[], %b::bytea[], %b::bytea[], %s::double precision[],
  %s::bigint[]
)
"""


class Stored(NamedTuple):
    entry: Entry
    total: int
    """The bytes of the log through the entry."""


def stored_of(row: Sequence[Any], lives: Lives) -> Stored:
    offset, check, topic, event, retry, is_end, time, total, data, traceparent = row
    position = Position(life_of(lives, offset), offset, check)
    text = data.decode(errors="replace")  # another program may have written it
    return Stored(Entry(position, topic, text, event or "message", retry, is_end, time, traceparent), total)


def record_of_row(row: Sequence[Any]) -> tuple[Record, str]:
    """Return a record, and the check of the entry that set it."""
    kind, name, value, until, offset, check = row
    return Record(kind, name.decode(), value.decode(), until, offset), check


RECORD_COLUMNS = 'kind, name, value, until, "offset", "check"'


def life_of(lives: Lives, offset: int) -> str:
    index = bisect_right(lives, offset, key=lambda life: life[1]) - 1
    return lives[max(index, 0)][0]


def values_of(judgement: Judgement, head: int, keys_head: int) -> list[Any]:
    """
    Return the values of APPEND from the checks to the records.

    The entries were judged after the offset `head`, by the keys that were held up to `keys_head`.
    """
    entries = judgement.entries
    keys, records = judgement.keys, judgement.records.values()
    return [
        *columns(entries),
        keys_head,
        # Without values, the driver would not know the type of their array.
        list(judgement.stale_keys) or None,
        array_of(key.offset - head for key in keys.values()),
        list(keys) or None,
        [key.digest for key in keys.values()] or None,
        array_of(key.time for key in keys.values()),
        array_of(record.offset - head for record in records),
        array_of(record.kind for record in records),
        [record.name.encode() for record in records] or None,
        [record.value.encode() for record in records] or None,
        array_of(record.until for record in records),
    ]


def columns(entries: Sequence[Entry]) -> Iterable[str | list[bytes] | None]:
    yield array_of(entry.position.check for entry in entries)
    yield array_of(entry.topic for entry in entries)
    yield array_of(None if entry.event == "message" else entry.event for entry in entries)
    yield array_of(entry.retry for entry in entries)
    yield array_of(entry.end for entry in entries)
    yield array_of(entry.time for entry in entries)
    yield array_of(entry.size for entry in entries)
    yield [entry.data.encode() for entry in entries] or None
    yield array_of(entry.traceparent for entry in entries)


def array_of(values: Iterable[str | float | None]) -> str:
    """Return an array as PostgreSQL writes it: the driver takes three times as long for lists."""
    return "{" + ",".join(map(element_of, values)) + "}"


def element_of(value: str | float | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
