"""What one subscriber saw: for the recorder and its checker, and for the figures."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence

from tidewire.testing.recorder import Recorder


class Witness:
    """
    One subscriber of a run, across its streams.

    `new_at` are the times of events that it had not seen before, `connected_at` those of the attempts
    that led to a stream, `silence` the longest time without a byte on an open stream. `faulty` are
    faults of the hub that the recorder has no record for.
    """

    def __init__(self, recorder: Recorder, name: str, topics: Sequence[str]) -> None:
        self.recorder = recorder
        self.name = name
        self.topics = tuple(topics)
        self.new_at: list[float] = []
        self.connected_at: list[float] = []
        self.gaps: list[str] = []
        self.faulty: list[str] = []
        self.silence = 0.0
        self.newest = ""
        self._seen: set[str] = set()
        self._numbers = itertools.count(1)
        self._stream = ""
        self._attempt = time.monotonic()

    @property
    def is_open(self) -> bool:
        return self._stream != ""

    @property
    def streams(self) -> int:
        """How many streams it has had."""
        return len(self.connected_at)

    def connecting(self, later: float = 0.0) -> None:
        """It connects now, or `later` seconds from now."""
        self._attempt = time.monotonic() + later

    def opened(self, last_event_id: str) -> None:
        """The head of a stream arrived; `last_event_id` is what the request sent."""
        self.closed()
        self._stream = f"{self.name}/{next(self._numbers)}"
        self.connected_at.append(self._attempt)
        self.recorder.opened(self._stream, self.name, self.topics, last_event_id or None)

    def closed(self) -> None:
        if self._stream:
            self.recorder.closed(self._stream)
            self._stream = ""

    def heard(self, silence: float) -> None:
        """Bytes arrived after `silence` seconds without any."""
        self.silence = max(self.silence, silence)

    def event(self, id: str, event: str, data: str, topic: str | None = None) -> None:
        if event == "hub.position":
            self.recorder.positioned(self._stream, id)
        elif event == "hub.gap":
            body = json.loads(data)
            self.gaps.append(body["reason"])
            self.recorder.gap(self._stream, id, body)
        elif not event.startswith("hub."):
            self._delivered(id, data, topic)

    def _delivered(self, id: str, data: str, topic: str | None) -> None:
        self.recorder.delivered(self._stream, id, topic, data)
        if id in self._seen:
            return
        self._seen.add(id)
        self.newest = id
        self.new_at.append(time.monotonic())
        self.recorder.processed(self.name, id, data)

    def has(self, id: str) -> bool:
        """Whether this event has arrived."""
        return id in self._seen

    def died(self, why: str) -> None:
        """It will never reconnect, by the rules that it follows."""
        self.faulty.append(f"{self.name} gave up: {why}")

    def malformed(self, what: str) -> None:
        self.faulty.append(f"{self.name}: {what}")

    # -- figures

    def first_new_after(self, moment: float) -> float | None:
        """Return how many seconds after `moment` the first new event arrived."""
        return next((at - moment for at in self.new_at if at >= moment), None)

    def wait_before(self, moment: float, until: float) -> float:
        """Return how long after `moment` it requested the stream that it had at `until`."""
        last = max((at for at in self.connected_at if at <= until), default=moment)
        return max(0.0, last - moment)
