"""metrics: counters and gauges, and that hubs do not mix."""

from __future__ import annotations

from tidewire.metrics import Metrics


def test_each_hub_has_its_own_registry() -> None:
    one, other = Metrics(), Metrics()
    one.published.value += 3
    assert b"tidewire_published_events_total 3.0" in one.text()
    assert b"tidewire_published_events_total 0.0" in other.text()


def test_gauges_are_read_at_each_scrape() -> None:
    metrics, streams = Metrics(), [1, 2]
    metrics.gauge("open_streams", "Streams.", lambda: len(streams))
    assert b"tidewire_open_streams 2.0" in metrics.text()
    streams.append(3)
    assert b"tidewire_open_streams 3.0" in metrics.text()
