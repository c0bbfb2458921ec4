"""
What a node does each second, and what it did in the last minute, hour and day.

Rule 1: one timer reads the counters that there are anyway. Nothing is counted for it.
Rule 2: each span has a fixed number of samples. A longer one is made of the samples of the one before.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import Counter

from ..delivery.deadlines import EVERY_SECOND, deadlines_of_loop
from ..delivery.memory_watch import resident
from ..delivery.node import Node


class Rates(NamedTuple):
    """How many of each there were: as counters since the start, or per second."""

    events: float
    published: float
    deliveries: float
    opened: float
    ended: float
    gaps: float
    refused: float


class Levels(NamedTuple):
    streams: int
    behind: int
    paused: int
    topics: int
    memory: int | None
    memory_share: float | None


class Sample(NamedTuple):
    """
    What happened in `seconds` until `time`, in seconds since 1970: see docs/reference/inspector.md.

    `publish_ms`: the median and the 99th percentile.
    """

    time: float
    seconds: float
    rates: Rates
    levels: Levels
    publish_ms: tuple[float, float] | None

    def fields(self) -> dict[str, Any]:
        """Return it as the inspector shows it."""
        return {
            "time": self.time,
            "seconds": round(self.seconds, 3),
            **{name: round(rate, 3) for name, rate in self.rates._asdict().items()},
            **self.levels._asdict(),
            "publish_ms": self.publish_ms,
        }


class Ring:
    """The samples of one span. `made_of`: how many samples of the span before make one of it."""

    def __init__(self, made_of: int, kept: int) -> None:
        self.samples: deque[Sample] = deque(maxlen=kept)
        self._made_of = made_of
        self._parts: list[Sample] = []

    def add(self, part: Sample) -> Sample | None:
        """Add a sample of the span before. Return the sample of this span that it completes, if it does."""
        self._parts.append(part)
        if len(self._parts) < self._made_of:
            return None
        sample = joined(self._parts)
        self._parts.clear()
        self.samples.append(sample)
        return sample


def rings() -> dict[str, Ring]:
    """Return the ring of each span: an hour is made of minutes, a day of quarters of an hour."""
    return {"minute": Ring(1, 60), "hour": Ring(60, 60), "day": Ring(15, 96)}


def add(rings: Mapping[str, Ring], sample: Sample) -> None:
    """Add the sample of a second to the rings."""
    made: Sample | None = sample
    for ring in rings.values():
        if made is not None:
            made = ring.add(made)


def joined(parts: Sequence[Sample]) -> Sample:
    """Make one sample of several: the means of the rates, the largest of the others."""
    if len(parts) == 1:
        return parts[0]
    seconds = sum(part.seconds for part in parts)
    counted = zip(*([rate * part.seconds for rate in part.rates] for part in parts), strict=True)
    levels = zip(*(part.levels for part in parts), strict=True)
    publishes = [part.publish_ms for part in parts if part.publish_ms is not None]
    middle, slow = zip(*publishes, strict=True) if publishes else ((), ())
    return Sample(
        parts[-1].time,
        seconds,
        Rates(*(sum(each) / seconds if seconds else 0.0 for each in counted)),
        Levels(*map(largest, levels)),
        (max(middle), max(slow)) if publishes else None,
    )


def largest(values: Sequence[Any]) -> Any:
    """Return the largest of values that are known, None if none is."""
    return max((value for value in values if value is not None), default=None)


class Sampler:
    """Samples a node that is open, once a second. `due` belongs to the timer."""

    def __init__(self, node: Node) -> None:
        self.due = 0
        self.since = time.time()
        self._node = node
        self._deadlines = deadlines_of_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._rings = rings()
        self._counted, self._at = self._count(), node.loop.time()
        self.now = self._sample(self._counted, 0.0)
        self._deadlines.watch(self, self._at + EVERY_SECOND)

    def stop(self) -> None:
        self._deadlines.unwatch(self)

    def history(self, span: str) -> Sequence[Sample]:
        """Return the samples of a span, the oldest first."""
        return self._rings[span].samples

    async def next(self) -> None:
        """Wait for the next sample."""
        future: asyncio.Future[None] = self._node.loop.create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def tick(self, now: float) -> float:
        counted, seconds = self._count(), now - self._at
        self.now = self._sample(counted, seconds)
        self._counted, self._at = counted, now
        add(self._rings, self.now)
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        return now + EVERY_SECOND

    def _sample(self, counted: Rates, seconds: float) -> Sample:
        # The head goes back when the log is replaced.
        rates = Rates(
            *(
                max(new - old, 0) / seconds if seconds else 0.0
                for old, new in zip(self._counted, counted, strict=True)
            )
        )
        times = middle_and_slow(self._node.log.take_times())
        return Sample(time.time(), seconds, rates, self._levels(), times)

    def _levels(self) -> Levels:
        node, behind, paused = self._node, 0, 0
        for cohort in node.rounds.cohorts:
            if cohort.behind:
                behind += len(cohort.behind)
                paused += sum(stream.paused for stream in cohort.behind)
        topics = len(node.window.by_topic)
        return Levels(node.streams_open, behind, paused, topics, resident(), node.memory_share())

    def _count(self) -> Rates:
        metrics = self._node.metrics
        return Rates(
            self._node.window.head,
            metrics.published.value,
            metrics.delivered.value,
            *(
                sum(number for _, number in labelled(counter))
                for counter in (metrics.opened, metrics.ended, metrics.gaps, metrics.refused)
            ),
        )


def labelled(counter: Counter) -> Iterator[tuple[str, float]]:
    """Yield the label and the value of each series of a counter, which has one label at most."""
    for family in counter.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                yield next(iter(sample.labels.values()), ""), sample.value


def middle_and_slow(times: Sequence[float]) -> tuple[float, float] | None:
    """Return the median and the 99th percentile of times in seconds, in milliseconds."""
    if not times:
        return None
    ordered = sorted(times)
    return at(ordered, 50), at(ordered, 99)


def at(ordered: Sequence[float], percent: int) -> float:
    return round(ordered[len(ordered) * percent // 100] * 1_000, 3)
