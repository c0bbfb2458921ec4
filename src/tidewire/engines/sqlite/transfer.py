"""
Exporting a log as lines of JSON, and importing such lines into another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import orjson

from ... import hub_events
from ...errors import InvalidInput, TidewireError, TooLarge
from ...log.clock import LogClock
from ...log.drafts import draft_of
from ...log.entries import Draft, Entry, Receipt, Since
from ...log.last_events import LastEvents
from ...log.records import RECORDS
from ...log.window import Window
from ...position import Position
from ...settings import Settings
from ...topics import Selector
from .log_file import Clock, LogFile
from .maintenance import writing
from .read_only import ProgressCallback, ReadOnly
from .writer import CHECKPOINT

# Entries read or written in one transaction.
STEP = 1_000
# Bytes of the longest line and the largest event: a hub may allow larger events than the default.
MAX_LINE = 16 * 1024 * 1024

EVERYTHING = Selector(["**"])

REASONS = {
    "foreign": "it belongs to another log, or to a part of this one that was lost",
    "future": "it is beyond the newest entry",
    "trimmed": "entries after it are no longer kept",
}


# -- export


class Export:
    """
    Writes the entries of a log after `since`, up to its head at the start, as lines.

    `count` is how many there were, and `missed` how many retention deleted
    before they could be read. Raises `InvalidInput` if the log cannot continue
    after a position.
    """

    def __init__(self, log: ReadOnly, selector: Selector | None, since: Since | Position) -> None:
        self._log = log
        self._selector = selector
        self.count = self.missed = 0
        # With `start`, entries trimmed before the first page are not missed: they are no longer kept.
        self._owed = isinstance(since, Position) or since.kind != "start"
        with log.snapshot():
            state = log.state()
            self._lives, self._floor, self._head = state.lives, state.floor, state.position.offset
            self._through = self._begin(since, Window(1, 1), log.extent().newest)

    def _begin(self, since: Since | Position, window: Window, newest: float) -> int:
        selector = self._selector or EVERYTHING
        if isinstance(since, Position):
            window.reset(self._log.state())
            verdict = window.judge(since, selector)
            if verdict.reason:
                raise InvalidInput(
                    f"cannot continue after {since}: {REASONS[verdict.reason]};"
                    " use start for everything that is kept",
                    code="invalid_since",
                )
            return verdict.offset
        if since.kind in ("start", "now"):
            return self._floor - 1 if since.kind == "start" else self._head
        if since.kind == "last":
            search = LastEvents(int(since.value), self._head)
            while not search.done:
                search.look(*self._log.look_back(search.last, selector, self._floor))
            return max(search.last, self._floor - 1)
        time = since.value if since.kind == "at" else LogClock(newest)() - since.value
        return self._log.before(time, self._floor, self._head)

    def pages(self, report: ProgressCallback) -> Iterator[bytes]:
        """Yield lines, many at a time. A hub that uses the log can restart its WAL between two of them."""
        first = self._through + 1
        while self._through < self._head:
            with self._log.snapshot():
                self._skip_trimmed(self._log.meta()["floor"])
                entries, through = self._log.entries(
                    self._through, self._head, STEP, self._selector, self._lives
                )
            self._through = max(through, self._through)
            # A record belongs to this log: it is not an event that another log could store.
            # A run that started or stopped is told by an event of the hub: nobody may import one.
            entries = [e for e in entries if e.topic != RECORDS and e.event != hub_events.RUN]
            self.count += len(entries)
            yield b"".join(map(as_line, entries))
            report(self._through - first + 1, self._head - first + 1)

    def _skip_trimmed(self, floor: int) -> None:
        oldest = max(min(floor - 1, self._head), self._through)
        if self._owed:
            self.missed += oldest - self._through
        self._through, self._owed = oldest, True


def as_line(entry: Entry) -> bytes:
    fields: dict[str, Any] = {
        "id": str(entry.position),
        "topic": entry.topic,
        "event": hub_events.END if entry.end else entry.event,
        "data": entry.data,
    }
    if entry.retry is not None:
        fields["retry"] = entry.retry
    if entry.end:
        fields["end"] = True
    return orjson.dumps({**fields, "time": entry.time}, option=orjson.OPT_APPEND_NEWLINE)


# -- import


class Line(NamedTuple):
    number: int
    draft: Draft
    time: float | None


class Times:
    """Keeps the original times of entries, but never lets them go backwards or beyond now."""

    def begin(self, newest: float) -> Clock:
        """Return the log's clock; `newest` is the time of its newest entry."""
        self._last = newest
        self._clock = LogClock(newest)
        return self._clock

    def next(self, time: float | None) -> float:
        now = self._clock()
        self._last = now if time is None else min(max(time, self._last), now)
        return self._last


class Import:
    """
    Appends lines to the log at `path`, which may be new and which no hub uses.

    `count`, `duplicates`, `first` and `last` describe what is stored so far.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = self.duplicates = 0
        self.first: Position | None = None
        self.last: Position | None = None
        self._times = Times()
        self._settings = Settings()

    def run(self, file: BinaryIO, report: ProgressCallback) -> None:
        """
        Store all lines of `file`.

        Raises an error that names the line if one is bad; the lines before it
        are stored. Raises `StartRefused` if the log cannot be opened, and
        `StoreFull` if the disk is full.
        """
        lines = read_lines(file)
        with writing(self.path, self._times.begin) as log:
            self.path, self._moved = log.path, log.total
            waiting: list[Line] = []
            try:
                for line in lines:
                    waiting.append(line)
                    if len(waiting) == STEP:
                        batch, waiting = waiting, []
                        self._store(log, batch)
                        report(self.count, 0)
            finally:
                self._store(log, waiting)

    def _store(self, log: LogFile, lines: Sequence[Line]) -> None:
        if not lines:
            return
        drafts, times = [line.draft for line in lines], [self._times.next(line.time) for line in lines]
        _, (result,) = log.commit([drafts], None, self._settings, [times])
        if isinstance(result, TidewireError):
            bad = result.members.get("index", 0)
            self._store(log, lines[:bad])
            raise in_line(lines[bad].number, result)
        self._note(result)
        self._move_wal(log)

    def _move_wal(self, log: LogFile) -> None:
        """Move the WAL into the file. No other process reads the log, so all of it moves and it restarts."""
        if log.total - self._moved > CHECKPOINT:
            self._moved = log.total
            log.checkpoint()

    def _note(self, receipts: Sequence[Receipt]) -> None:
        self.count += len(receipts)
        new = [receipt.position for receipt in receipts if not receipt.duplicate]
        self.duplicates += len(receipts) - len(new)
        if new:
            self.first, self.last = self.first or new[0], new[-1]


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """Yield the lines of `file` that are not blank. Raises an error that names the line if one is bad."""
    number = 0
    while text := file.readline(MAX_LINE + 1):
        number += 1
        try:
            if len(text) > MAX_LINE:
                raise TooLarge(f"longer than {MAX_LINE} bytes; is this NDJSON?", code="line_too_large")
            if text.strip():
                yield Line(number, *read_line(text))
        except TidewireError as error:
            raise in_line(number, error) from None


def read_line(text: bytes) -> tuple[Draft, float | None]:
    """Read a line as `as_line` writes it, or as a publisher writes it."""
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"this is not JSON: {error.msg}", code="invalid_json") from None
    if not isinstance(fields, dict):
        return draft_of(fields, max_event=MAX_LINE), None
    end, time = fields.pop("end", False), fields.pop("time", None)
    fields.pop("id", None)
    if end not in (True, False):
        raise InvalidInput("end must be true or false", code="invalid_json")
    if time is not None and (isinstance(time, bool) or not isinstance(time, (int, float))):
        raise InvalidInput("time must be a number of seconds since 1970", code="invalid_json")
    if end:
        fields.pop("event", None)
    return draft_of(fields, max_event=MAX_LINE)._replace(end=end), time


def in_line(number: int, error: TidewireError) -> TidewireError:
    """Return `error` with the number of its line."""
    error.detail = f"line {number}: {error.detail}"
    return error
