"""
Follows one subscriber through its streams, one after another.

A subscriber is at a position. Everything it is owed is between that and the next id it gets.
"""

from __future__ import annotations

from ..errors import InvalidPosition
from ..position import parse_position
from .recorder import Closed, Delivered, Gap, Opened, Positioned, Record
from .recording import Event, Place, Recording, only
from .report import Report


class Walk:
    """Follows one subscriber through its streams, one after another (G3 - G6)."""

    def __init__(self, recording: Recording, report: Report, subscriber: str) -> None:
        self._recording = recording
        self._report = report
        self._subscriber = subscriber
        self._seen: set[str] = set()
        # The id of its position; None while that is unknown.
        self._at: str | None = None
        self._since = 0
        self._topics: tuple[str, ...] = ()

    def follow(self, streams: list[list[Record]]) -> None:
        for stream in streams:
            for record in stream:
                self._take(record)

    def finish(self, last: Record) -> None:
        """Judge whether it has everything; `last` is its last record."""
        self._owed(None, None, last.order if isinstance(last, Closed) else None)
        processed = {record.id for record in self._recording.processed.get(self._subscriber, ())}
        for id in self._seen - processed if processed else ():
            self._missing(f"{id} was delivered but never processed")

    def _missing(self, what: str) -> None:
        self._report.found("unsound_gaps", f"{self._subscriber}: {what}")

    def _take(self, record: Record) -> None:
        match record:
            case Opened():
                self._open(record)
            case Positioned():
                self._skip(record.id)
                self._at = record.id
            case Delivered():
                self._deliver(record)
            case Gap():
                self._gap(record)

    def _open(self, opened: Opened) -> None:
        position = opened.position
        if position is not None and is_position(position):
            self._skip(position)
            self._at = position
        else:
            self._at, self._since = None, 0 if position == "start" else opened.order
        self._topics = opened.topics

    def _place(self, id: str) -> Place:
        return self._recording.place(id)

    def _deliver(self, event: Delivered) -> None:
        again = event.id in self._seen
        topic = event.topic or only(self._topics)
        if topic is not None and not self._recording.selector(self._topics).matches(topic):
            self._report.found("invented", f"{self._subscriber} did not ask for {event}")
        self._seen.add(event.id)
        if again:
            self._report.repeated_on_wire += 1
        if self._at is not None and self._place(event.id) <= self._place(self._at):
            kind = "repeated_wrongly" if again else "reordered"
            self._report.found(kind, f"{self._subscriber}: {event.id} came after {self._at}")
            return
        self._owed(event.id, self._place(event.id))
        self._at = event.id

    def _skip(self, id: str) -> None:
        """The subscriber should have everything through this position."""
        rank, offset = self._place(id)
        if self._at is not None and (rank, offset) > self._place(self._at):
            self._owed(id, (rank, offset + 1))

    def _owed(self, to: str | None, end: Place | None, until: int | None = None) -> None:
        """Count the missing events before `end` (None: at the end of all, if acked before `until`)."""
        if end is not None and self._at is not None and self._recording.dead(self._at, end[0]):
            self._missing(f"it went from {self._at} to {to}, in another life of the log, without a gap")
        after = (-2, 0) if self._at is None else self._place(self._at)
        for event in self._recording.between(self._topics, after, end):
            if self._is_owed(event, to is None, until):
                self._missing(
                    f"{event.id} on {event.topic!r} did not come between {self._at} and {to or 'the end'}"
                )

    def _is_owed(self, event: Event, at_end: bool, until: int | None) -> bool:
        times = self._recording.times(event.id)
        if self._at is None and self._since and (times is None or times[0] < self._since):
            return False
        if (
            self._at is None
            and not self._since
            and self._place(event.id)[1] <= self._recording.trimmed_through
        ):
            return False
        return not at_end or (times is not None and (until is None or times[1] < until))

    def _gap(self, gap: Gap) -> None:
        requested = gap.body.get("requested")
        if not isinstance(requested, str) or not is_position(requested):
            requested = None
        else:
            self._skip(requested)
        if self._needless(gap, requested):
            self._report.found("needless_gaps", f"{self._subscriber}: {gap.id} {gap.body}")
        self._at = gap.id

    def _needless(self, gap: Gap, requested: str | None) -> bool:
        reason = gap.body.get("reason")
        if requested is None:
            return reason != "invalid"
        place = self._place(requested)
        if reason == "trimmed":
            rank, offset = self._place(gap.id)
            between = self._recording.between(self._topics, place, (rank, offset + 1))
            still_there = [event.id in self._recording.kept for event in between]
            return not still_there or any(still_there)
        return self._recording.had(requested)


def is_position(text: str) -> bool:
    try:
        parse_position(text)
    except InvalidPosition:
        return False
    return True
