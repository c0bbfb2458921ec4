"""
What happened in a test run: publishes, runs, streams, deliveries, gaps, faults. `checker` judges it.

    recorder = Recorder()
    recorder.invoked("7", "orders/1", "paid")      # before it is sent
    recorder.ok("7", receipt.id)                   # when it is answered
    ...
    recorder.save("run.ndjson")

Records are ordered by the machine's monotonic clock, which all of its processes share. So a merged recording
keeps the order of events across processes.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

# Longer data is kept as its start and its hash: there may be millions of deliveries.
KEPT = 40


@dataclass(frozen=True, slots=True)
class Record:
    order: int
    """Nanoseconds of the monotonic clock; different for each record of one recorder."""


@dataclass(frozen=True, slots=True)
class Invoked(Record):
    publish: str
    topic: str
    data: str


@dataclass(frozen=True, slots=True)
class Ok(Record):
    publish: str
    id: str
    duplicate: bool
    durability: str


@dataclass(frozen=True, slots=True)
class Refused(Record):
    publish: str


@dataclass(frozen=True, slots=True)
class Unknown(Record):
    publish: str


@dataclass(frozen=True, slots=True)
class Planned(Record):
    run: str
    topic: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened(Record):
    stream: str
    subscriber: str
    topics: tuple[str, ...]
    position: str | None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Positioned(Record):
    stream: str
    id: str


@dataclass(frozen=True, slots=True)
class Delivered(Record):
    stream: str
    id: str
    topic: str | None
    data: str


@dataclass(frozen=True, slots=True)
class Gap(Record):
    stream: str
    id: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Closed(Record):
    stream: str
    properly: bool = False


@dataclass(frozen=True, slots=True)
class Processed(Record):
    subscriber: str
    id: str
    data: str


@dataclass(frozen=True, slots=True)
class Fault(Record):
    name: str


KINDS: dict[str, type[Record]] = {
    kind.__name__.lower(): kind
    for kind in (
        *(Invoked, Ok, Refused, Unknown, Planned),
        *(Opened, Positioned, Delivered, Gap, Closed),
        *(Processed, Fault),
    )
}


def fingerprint(data: str) -> str:
    """Return what represents `data`: line ends as a subscriber gets them, long data as its hash."""
    data = data.replace("\r\n", "\n").replace("\r", "\n")
    if len(data) > KEPT:
        digest = hashlib.blake2b(data.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        data = f"{data[:KEPT]}… {digest}"
    # One event goes to many subscribers: they share one string.
    return sys.intern(data)


def end_of(run: str, state: str) -> str:
    """Return what represents the data of the terminal entry of a run, in streams and in the history."""
    return fingerprint(f"{run} ended: {state}")


class Recorder:
    """
    An append-only list of what happened. Any thread may record.

    `publish`, `stream` and `subscriber` are names that the caller chooses. A publish that is sent
    again with the same key keeps its name; a client that reconnects is the same subscriber on
    another stream.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: list[Record] = list(records)
        self._lock = threading.Lock()
        self._last = self.records[-1].order if self.records else 0

    def _add(self, kind: type[Record], *fields: Any) -> None:
        with self._lock:
            self._last = max(time.monotonic_ns(), self._last + 1)
            self.records.append(kind(self._last, *fields))

    # -- publishing

    def invoked(self, publish: str, topic: str, data: str) -> None:
        """The publish is about to be sent."""
        self._add(Invoked, publish, topic, fingerprint(data))

    def ok(self, publish: str, id: str, duplicate: bool = False, durability: str = "") -> None:
        """The publish was acknowledged."""
        self._add(Ok, publish, id, duplicate, durability)

    def refused(self, publish: str) -> None:
        """The answer said `stored: false`."""
        self._add(Refused, publish)

    def unknown(self, publish: str) -> None:
        """There was a timeout or a lost connection, or the answer said `stored: "unknown"`."""
        self._add(Unknown, publish)

    # -- runs

    def planned(self, run: str, topic: str, items: Iterable[str]) -> None:
        """
        A run is about to be started; `items` are what its producer yields unless it is interrupted.

        `run` is a name that the caller chooses. No other run or publish on the topic has one of these items.
        """
        self._add(Planned, run, topic, tuple(map(fingerprint, items)))

    # -- streams

    def opened(
        self,
        stream: str,
        subscriber: str,
        topics: Iterable[str],
        position: str | None,
        run: str | None = None,
    ) -> None:
        """
        The head of the stream's response arrived.

        `position`: the id that the client sent, None if the stream starts now, `start` if it asked for
        everything. `run`: the run that the stream shows, if it is the stream of one. Such a stream starts at
        the run's first item, unless the client sent an id of the run.
        """
        self._add(Opened, stream, subscriber, tuple(topics), position, run)

    def positioned(self, stream: str, id: str) -> None:
        """A `hub.position` arrived. Without it, it is unknown where a new stream starts."""
        self._add(Positioned, stream, id)

    def delivered(self, stream: str, id: str, topic: str | None, data: str) -> None:
        """An event arrived. `topic` may be None if the stream has only one topic."""
        self._add(Delivered, stream, sys.intern(id), topic, fingerprint(data))

    def gap(self, stream: str, id: str, body: dict[str, Any]) -> None:
        """A `hub.gap` with this id and this data arrived."""
        self._add(Gap, stream, id, body)

    def closed(self, stream: str, properly: bool = False) -> None:
        """The stream ended, or its client left. `properly`: its body ended as a complete one does."""
        self._add(Closed, stream, properly)

    def processed(self, subscriber: str, id: str, data: str) -> None:
        """The program behind the client saw it, after repeats were dropped."""
        self._add(Processed, subscriber, sys.intern(id), fingerprint(data))

    # -- faults

    def fault(self, name: str) -> None:
        """Something really broke: a process was killed, a disk was full."""
        self._add(Fault, name)

    # -- recordings of several processes

    def save(self, path: str | Path) -> None:
        """Write the records as NDJSON: the kind and the fields of one record on each line."""
        with open(path, "wb") as file:
            for record in list(self.records):
                file.write(orjson.dumps([type(record).__name__.lower(), record]) + b"\n")

    @classmethod
    def load(cls, *paths: str | Path) -> Self:
        """Read saved records, also those of several processes, in the order in which they happened."""
        records: list[Record] = []
        for path in paths:
            with open(path, "rb") as file:
                records += map(as_record, file)
        return cls(sorted(records, key=lambda record: record.order))


def as_record(line: bytes) -> Record:
    name, fields = orjson.loads(line)
    kind = KINDS[name]
    for several in fields.keys() & {"topics", "items"}:
        fields[several] = tuple(fields[several])
    return kind(**fields)
