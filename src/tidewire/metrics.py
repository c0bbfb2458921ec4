"""
What a node counts, for Prometheus.

Each hub has its own registry, so two hubs in one program do not mix. No topic,
address or other text from users is ever a label, so the number of series is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST


class LoopCounter(Collector):
    """
    A counter for each publish and each write: add to its `value`, on the event loop only.

    The library's own takes a lock and four calls for each addition.
    """

    def __init__(self, name: str, help: str, registry: CollectorRegistry) -> None:
        self.value = 0
        self._name = name
        self._help = help
        self._created = time.time()
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._help, self.value, created=self._created)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.published = self._loop_counter("published_events", "Events stored.")
        self.duplicates = self._counter("duplicate_publishes", "Publishes that repeated a key or an end.")
        self.refused = self._counter("refused_requests", "Requests refused, by code.", "code")
        self.unknown = self._counter("unknown_publishes", "Publishes that the engine did not answer in time.")
        self.opened = self._counter("opened_streams", "Streams opened.")
        self.ended = self._counter("ended_streams", "Streams ended, by reason.", "reason")
        self.delivered = self._loop_counter("deliveries", "Writes of a round to a member.")
        self.gaps = self._counter("gaps", "hub.gap events sent, by reason.", "reason")
        self.bad_events = self._counter(
            "bad_events", "Entries from foreign writers that had an invalid field, which was dropped."
        )

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"tidewire_{name}", help, labels, registry=self.registry)

    def _loop_counter(self, name: str, help: str) -> LoopCounter:
        return LoopCounter(f"tidewire_{name}", help, self.registry)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value `read` returns at each scrape."""
        Gauge(f"tidewire_{name}", help, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        return generate_latest(self.registry)
