"""
Whether a log file is what it should be: each rule of its schema, as a question.

What nobody can see is a letter in the text of an event that became another one:
there are no checksums.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from itertools import pairwise

from ...log.entries import ENTRY_OVERHEAD, Marks
from ...position import LIFE_LENGTH
from .database import BLOCK_BITS
from .read_only import Extent, ReadOnly, Tell

# Entries between two times that somebody is told how far it is.
STEP = 10_000
LIFE = re.compile(f"[A-Za-z0-9]{{{LIFE_LENGTH}}}")

# Texts as bytes: one that is no UTF-8 could not even be read otherwise.
ENTRIES = """
SELECT offset, CAST(topic AS BLOB), CAST(coalesce(event, 'message') AS BLOB), is_end, time, size, bytes,
  CAST(data AS BLOB)
FROM entries ORDER BY offset
"""


def problems(log: ReadOnly, tell: Tell) -> Iterator[str]:
    """
    Yield what is wrong with a log, each problem in a line.

    All of it is of one moment, so a hub may go on beside it; its WAL grows until this is done.
    """
    try:
        with log.snapshot():
            found = False
            for problem in of_structure(log.db):
                found = True
                yield problem
            # Where a page is lost, every other rule is broken too.
            if not found:
                yield from of_content(log, tell)
    except sqlite3.Error as error:
        yield f"it cannot be read through: {error}"


def of_structure(db: sqlite3.Connection) -> Iterator[str]:
    for (said,) in db.execute("PRAGMA integrity_check"):
        # The first of several begins with a title.
        yield from (line for line in said.splitlines() if line != "ok" and not line.startswith("***"))


def of_content(log: ReadOnly, tell: Tell) -> Iterator[str]:
    extent, marks = log.extent(), log.marks()
    yield from of_extent(log, extent)
    yield from of_lives(log, extent)
    yield from of_marks(log, extent)
    yield from of_keys(log, extent)
    yield from Entries(log, extent, marks).problems(tell)


def of_extent(log: ReadOnly, extent: Extent) -> Iterator[str]:
    if extent.floor < 1:
        yield f"the floor is {extent.floor}"
    if extent.floor == 1 and extent.trimmed_bytes:
        yield f"nothing was trimmed, and {extent.trimmed_bytes} bytes are noted as trimmed"
    if extent.floor > 1 and extent.trimmed_bytes <= 0:
        yield f"entries were trimmed, and {extent.trimmed_bytes} bytes are noted as trimmed"
    if (clean := log.meta()["clean"]) not in (0, 1):
        yield f"the note of a clean stop is {clean}"


def of_lives(log: ReadOnly, extent: Extent) -> Iterator[str]:
    lives = log.lives()
    numbers = [number for (number,) in log.db.execute("SELECT number FROM lives ORDER BY number")]
    if numbers != list(range(1, len(lives) + 1)):
        yield "the list of lives has holes"
    if lives[0][1] != 1:
        yield f"the first life begins at {lives[0][1]}, not at 1"
    for life, _ in lives:
        if not LIFE.fullmatch(life):
            yield f"{life!r} is no life"
    if len({life for life, _ in lives}) < len(lives):
        yield "two lives have one name"
    # Only the first life stays without having written: the offset 0 is its own.
    for index, ((_, first), (life, following)) in enumerate(pairwise(lives)):
        if following < first or (following == first and index):
            yield f"the life {life} begins at {following}, and the one before it at {first}"
    if lives[-1][1] > extent.head + 1:
        yield f"the life {lives[-1][0]} begins at {lives[-1][1]}, beyond the head {extent.head}"


def of_marks(log: ReadOnly, extent: Extent) -> Iterator[str]:
    newest = log.meta()["dropped_mark"]
    if newest >= extent.floor:
        yield f"the newest mark forgotten is {newest}, not below the floor {extent.floor}"
    offsets = set()
    for topic, offset in log.db.execute("SELECT topic, offset FROM marks ORDER BY offset"):
        if not 1 <= offset < extent.floor:
            yield f"the mark of {topic!r} is {offset}, not below the floor {extent.floor}"
        if offset in offsets:
            yield f"the mark of {topic!r} is {offset}, which is another topic's"
        offsets.add(offset)
        newest = max(newest, offset)
    # The newest entry that was trimmed is the newest one of its topic.
    if newest < extent.floor - 1:
        yield f"no topic has the mark {extent.floor - 1}, of the newest entry trimmed"


def of_keys(log: ReadOnly, extent: Extent) -> Iterator[str]:
    for (offset,) in log.db.execute(
        "SELECT offset FROM keys WHERE offset NOT BETWEEN 1 AND ? ORDER BY offset", (extent.head,)
    ):
        yield f"a key leads to {offset}, and the head is {extent.head}"


class Entries:
    """What is kept, from the floor to the head: each entry beside the one before it."""

    def __init__(self, log: ReadOnly, extent: Extent, marks: Marks) -> None:
        self._db = log.db
        self._extent = extent
        self._marks = marks
        self._offset, self._bytes, self._time = extent.floor - 1, extent.trimmed_bytes, 0.0
        self._ended: dict[str, int] = {}
        self._block = -1
        self._topics: set[str] = set()

    def problems(self, tell: Tell) -> Iterator[str]:
        rows = self._db.execute(ENTRIES)
        for done, (offset, topic, event, is_end, time, size, total, data) in enumerate(rows, 1):
            yield from self._place(offset, time)
            yield from self._size(offset, topic, event, size, total, data)
            yield from self._topic(offset, topic.decode(errors="replace"), is_end)
            if done % STEP == 0:
                tell(done, self._extent.entries)

    def _place(self, offset: int, time: float) -> Iterator[str]:
        if offset <= self._extent.floor - 1:
            yield f"entry {offset} is below the floor {self._extent.floor}"
        elif offset > self._offset + 1:
            yield f"{numbers(self._offset + 1, offset - 1)} missing"
        if time < self._time:
            yield f"entry {offset} is older than the one before it"
        self._offset, self._time = max(offset, self._extent.floor - 1), time

    def _size(
        self, offset: int, topic: bytes, event: bytes, size: int, total: int, data: bytes
    ) -> Iterator[str]:
        try:
            data.decode()
            found = len(data) + len(topic.decode()) + len(event.decode()) + ENTRY_OVERHEAD
        except UnicodeDecodeError:
            yield f"entry {offset} is no text"
            found = size
        if size != found:
            yield f"entry {offset} has {found} bytes, and {size} are noted"
        if total != self._bytes + size:
            yield f"entry {offset} ends the log at {total} bytes, not at {self._bytes + size}"
        self._bytes = total

    def _topic(self, offset: int, topic: str, is_end: int) -> Iterator[str]:
        end = self._ended.get(topic) or (self._marks.of(topic) if self._marks.ended(topic) else 0)
        if end:
            yield f"entry {offset} comes after the end of its topic {topic!r} at {end}"
        if is_end:
            self._ended[topic] = offset
        if offset >> BLOCK_BITS != self._block:
            self._block = offset >> BLOCK_BITS
            self._topics = self._noted(self._block)
        if topic not in self._topics:
            self._topics.add(topic)
            yield f"entry {offset}: its topic {topic!r} is not noted for its block"

    def _noted(self, block: int) -> set[str]:
        found = self._db.execute("SELECT topic FROM topic_blocks WHERE block = ?", (block,))
        return {topic for (topic,) in found}


def numbers(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"
