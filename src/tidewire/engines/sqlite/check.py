"""
Checking a log file against each rule of its schema.

There are no checksums, so a changed letter in the text of an event goes unnoticed.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from itertools import pairwise

from ...log.entries import ENTRY_OVERHEAD
from ...position import LIFE_LENGTH
from .database import BLOCK_BITS
from .read_only import Extent, ProgressCallback, ReadOnly

# Entries between two reports of progress.
STEP = 10_000
LIFE = re.compile(f"[A-Za-z0-9]{{{LIFE_LENGTH}}}")

# Text is read as bytes: otherwise text that is not valid UTF-8 could not be read at all.
ENTRIES = """
SELECT offset, CAST(topic AS BLOB), CAST(coalesce(event, 'message') AS BLOB), is_end, time, size, bytes,
  CAST(data AS BLOB)
FROM entries ORDER BY offset
"""


def problems(log: ReadOnly, report: ProgressCallback) -> Iterator[str]:
    """
    Yield what is wrong with a log, one line for each problem.

    It reads one snapshot, so a hub may keep using the log; the hub's WAL grows until this is done.
    """
    try:
        with log.snapshot():
            found = False
            for problem in structure_problems(log.db):
                found = True
                yield problem
            # If a page is lost, every other rule is broken too.
            if not found:
                yield from content_problems(log, report)
    except sqlite3.Error as error:
        yield f"it cannot be read to the end: {error}"


def structure_problems(db: sqlite3.Connection) -> Iterator[str]:
    for (result,) in db.execute("PRAGMA integrity_check"):
        # If there are several, the first one starts with a title line.
        yield from (line for line in result.splitlines() if line != "ok" and not line.startswith("***"))


def content_problems(log: ReadOnly, report: ProgressCallback) -> Iterator[str]:
    extent = log.extent()
    yield from extent_problems(log, extent)
    yield from life_problems(log, extent)
    yield from mark_problems(log, extent)
    yield from key_problems(log, extent)
    yield from record_problems(log, extent)
    yield from EntryCheck(log, extent).problems(report)


def extent_problems(log: ReadOnly, extent: Extent) -> Iterator[str]:
    if extent.floor < 1:
        yield f"the floor is {extent.floor}"
    if extent.floor == 1 and extent.trimmed_bytes:
        yield f"nothing was trimmed, but {extent.trimmed_bytes} bytes are recorded as trimmed"
    if extent.floor > 1 and extent.trimmed_bytes <= 0:
        yield f"entries were trimmed, but {extent.trimmed_bytes} bytes are recorded as trimmed"
    if (clean := log.meta()["clean"]) not in (0, 1):
        yield f"the flag for a clean stop is {clean}"


def life_problems(log: ReadOnly, extent: Extent) -> Iterator[str]:
    lives = log.lives()
    numbers = [number for (number,) in log.db.execute("SELECT number FROM lives ORDER BY number")]
    if numbers != list(range(1, len(lives) + 1)):
        yield "the list of lives has holes"
    if lives[0][1] != 1:
        yield f"the first life starts at {lives[0][1]}, not at 1"
    for life, _ in lives:
        if not LIFE.fullmatch(life):
            yield f"{life!r} is not a life"
    if len({life for life, _ in lives}) < len(lives):
        yield "two lives have the same name"
    # Only the first life stays if it wrote nothing: offset 0 belongs to it.
    for index, ((_, first), (life, following)) in enumerate(pairwise(lives)):
        if following < first or (following == first and index):
            yield f"the life {life} starts at {following}, but the one before it starts at {first}"
    if lives[-1][1] > extent.head + 1:
        yield f"the life {lives[-1][0]} starts at {lives[-1][1]}, beyond the head {extent.head}"


def mark_problems(log: ReadOnly, extent: Extent) -> Iterator[str]:
    newest = log.meta()["dropped_mark"]
    if newest >= extent.floor:
        yield f"the newest dropped mark is {newest}, not below the floor {extent.floor}"
    offsets = set()
    for topic, offset in log.db.execute("SELECT topic, offset FROM marks ORDER BY offset"):
        if not 1 <= offset < extent.floor:
            yield f"the mark of {topic!r} is {offset}, not below the floor {extent.floor}"
        if offset in offsets:
            yield f"the mark of {topic!r} is {offset}, which is also another topic's"
        offsets.add(offset)
        newest = max(newest, offset)
    # The newest trimmed entry is also the newest trimmed one of its topic.
    if newest < extent.floor - 1:
        yield f"no topic has the mark {extent.floor - 1}, the offset of the newest trimmed entry"


def key_problems(log: ReadOnly, extent: Extent) -> Iterator[str]:
    for (offset,) in log.db.execute(
        "SELECT offset FROM keys WHERE offset NOT BETWEEN 1 AND ? ORDER BY offset", (extent.head,)
    ):
        yield f"a key points to {offset}, but the head is {extent.head}"


def record_problems(log: ReadOnly, extent: Extent) -> Iterator[str]:
    for kind, name, offset in log.db.execute(
        "SELECT kind, name, offset FROM records WHERE offset NOT BETWEEN 1 AND ? ORDER BY offset",
        (extent.head,),
    ):
        yield f"the record {kind} {name!r} points to {offset}, but the head is {extent.head}"
    for topic, offset in log.db.execute(
        "SELECT topic, offset FROM entries WHERE is_end AND NOT EXISTS (SELECT 1 FROM records"
        " WHERE kind = 'end' AND name = entries.topic AND offset = entries.offset) ORDER BY offset"
    ):
        yield f"entry {offset} ends the topic {topic!r}, but there is no record of it"


def trimmed_ends(log: ReadOnly, extent: Extent) -> dict[str, int]:
    """Return the topics whose end is recorded and no longer kept."""
    query = "SELECT name, offset FROM records WHERE kind = 'end' AND offset < ?"
    return dict(log.db.execute(query, (extent.floor,)))


class EntryCheck:
    """Checks the kept entries from the floor to the head, each against the one before it."""

    def __init__(self, log: ReadOnly, extent: Extent) -> None:
        self._db = log.db
        self._extent = extent
        self._offset, self._bytes, self._time = extent.floor - 1, extent.trimmed_bytes, 0.0
        self._ended = trimmed_ends(log, extent)
        self._block = -1
        self._topics: set[str] = set()

    def problems(self, report: ProgressCallback) -> Iterator[str]:
        rows = self._db.execute(ENTRIES)
        for done, (offset, topic, event, is_end, time, size, total, data) in enumerate(rows, 1):
            yield from self._check_order(offset, time)
            yield from self._check_size(offset, topic, event, size, total, data)
            yield from self._check_topic(offset, topic.decode(errors="replace"), is_end)
            if done % STEP == 0:
                report(done, self._extent.entries)

    def _check_order(self, offset: int, time: float) -> Iterator[str]:
        if offset <= self._extent.floor - 1:
            yield f"entry {offset} is below the floor {self._extent.floor}"
        elif offset > self._offset + 1:
            yield f"{numbers(self._offset + 1, offset - 1)} missing"
        if time < self._time:
            yield f"entry {offset} is older than the one before it"
        self._offset, self._time = max(offset, self._extent.floor - 1), time

    def _check_size(
        self, offset: int, topic: bytes, event: bytes, size: int, total: int, data: bytes
    ) -> Iterator[str]:
        try:
            data.decode()
            found = len(data) + len(topic.decode()) + len(event.decode()) + ENTRY_OVERHEAD
        except UnicodeDecodeError:
            yield f"entry {offset} is not valid UTF-8"
            found = size
        if size != found:
            yield f"entry {offset} has {found} bytes, but {size} are recorded"
        if total != self._bytes + size:
            yield f"the log through entry {offset} has {self._bytes + size} bytes, but {total} are recorded"
        self._bytes = total

    def _check_topic(self, offset: int, topic: str, is_end: int) -> Iterator[str]:
        if end := self._ended.get(topic):
            yield f"entry {offset} comes after the end of its topic {topic!r} at {end}"
        if is_end:
            self._ended[topic] = offset
        if offset >> BLOCK_BITS != self._block:
            self._block = offset >> BLOCK_BITS
            self._topics = self._recorded_topics(self._block)
        if topic not in self._topics:
            self._topics.add(topic)
            yield f"entry {offset}: its topic {topic!r} is not recorded for its block"

    def _recorded_topics(self, block: int) -> set[str]:
        found = self._db.execute("SELECT topic FROM topic_blocks WHERE block = ?", (block,))
        return {topic for (topic,) in found}


def numbers(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"
