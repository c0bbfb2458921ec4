"""A subscriber that was away for a long time, with a real hub on disk and the real client."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from support.processes import Process
from tidewire.client.sync import Event, Gap, connect, publish


@contextmanager
def hub(folder: Path, *options: str) -> Iterator[str]:
    engine = f"sqlite:///{folder}/log.db"
    command = [sys.executable, "-m", "tidewire", "serve", "--port", "0", "--engine", engine, *options]
    with Process(command) as server:
        yield server.wait_line(r"http://[^ ]+").group()


def publish_numbers(url: str, count: int) -> None:
    lines = [json.dumps({"topic": "news", "data": str(number)}) for number in range(1, count + 1)]
    headers = {"Content-Type": "application/x-ndjson"}
    answer = httpx2.post(f"{url}/events", content="\n".join(lines), headers=headers, timeout=60)
    receipts = [json.loads(line) for line in answer.text.splitlines()]
    assert receipts[-1]["lines"][1] == count
    assert all(receipt["durability"] == "disk" for receipt in receipts)


def test_a_subscriber_that_missed_100_000_events_gets_exactly_those_and_then_live_ones(
    tmp_path: Path,
) -> None:
    with hub(tmp_path) as url:
        seen = publish(url, "news", "seen")["id"]
        publish_numbers(url, 100_000)
        publish(url, "other", "not for this subscriber")
        with connect(f"{url}/events", topics=["news"], last_event_id=seen) as stream:
            events = iter(stream)
            missed = [next(events).data for _ in range(100_000)]
            assert missed == [str(number) for number in range(1, 100_001)]
            publish(url, "news", "live")
            assert next(events).data == "live"


def test_a_subscriber_away_for_longer_than_retention_gets_one_gap_and_continues(tmp_path: Path) -> None:
    with hub(tmp_path, "--retention-entries", "1000", "--window-entries", "100") as url:
        seen = publish(url, "news", "seen")["id"]
        publish_numbers(url, 5_000)
        with connect(f"{url}/events", topics=["news"], last_event_id=seen) as stream:
            found: list[Event] = []
            for event in stream:
                found.append(event)
                if event.data == "5000":
                    publish(url, "news", "live")
                if event.data == "live":
                    break
    (gap,) = [event for event in found if isinstance(event, Gap)]
    assert found[0] is gap
    assert (gap.json()["reason"], gap.json()["requested"]) == ("trimmed", seen)
    numbers = [int(event.data) for event in found[1:-1]]
    assert numbers == list(range(numbers[0], 5_001))
    assert len(numbers) >= 1_000
