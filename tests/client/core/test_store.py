"""A position kept between two runs of a program."""

from __future__ import annotations

import json
import signal
import sys
import threading
from itertools import islice
from pathlib import Path

import httpx2
import pytest

from support.clients import Client, Stream, data, follow
from support.processes import Process
from support.running_hub import RunningHub
from support.scripted import HOLD, Scripted, stream
from support.waiting import wait_until
from tidewire.client import sync
from tidewire.client.core.store import PositionStore
from tidewire.errors import InvalidInput


def test_a_stream_continues_where_the_last_one_stopped(client: Client, tmp_path: Path) -> None:
    store = tmp_path / "position"
    with RunningHub() as hub:
        with client.connect(hub.url, topics="t", since="start", store=store) as events:
            for n in range(3):
                client.publish(hub.url, "t", str(n))
            assert data(islice(events, 3)) == ["0", "1", "2"]
        with client.connect(hub.url, topics="t", since="start", store=store) as events:
            # Event 2 may not have been processed: the next one was never read.
            assert data(islice(events, 1)) == ["2"]


def test_an_event_is_saved_when_the_next_one_is_read(client: Client, tmp_path: Path) -> None:
    store = tmp_path / "position"
    with Scripted(stream(b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n", HOLD)) as server:
        with follow(client, server, store=store) as events:
            next(events)
            assert not store.exists()
            next(events)
            assert saved(store) == "1"


def saved(store: Path) -> str:
    return str(json.loads(store.read_text())["last_event_id"])


def test_the_position_of_a_quiet_stream_is_saved(client: Client, tmp_path: Path) -> None:
    """Otherwise events between two runs would be missed if the first run had no event."""
    store = tmp_path / "position"
    with RunningHub() as hub:
        with client.connect(hub.url, topics="t", store=store) as events:
            client.publish(hub.url, "other", "x")
            events.restart()
            start_reading(events)
            wait_until(store.exists)
            events.close()
        client.publish(hub.url, "t", "meanwhile")
        with client.connect(hub.url, topics="t", store=store) as events:
            assert next(events).data == "meanwhile"


def start_reading(events: Stream) -> None:
    threading.Thread(target=lambda: data(events), daemon=True).start()


def test_a_reset_of_the_id_is_saved(client: Client, tmp_path: Path) -> None:
    store = tmp_path / "position"
    with Scripted(stream(b"id: 1\ndata: a\n\nid\ndata: b\n\n"), stream(HOLD)) as server:
        with follow(client, server, store=store) as events:
            assert data(islice(events, 2)) == ["a", "b"]
            start_reading(events)
            wait_until(lambda: len(server.requests) == 2)
        assert saved(store) == ""
        with follow(client, server, store=store, reconnect=False) as events:
            assert data(events) == []
    assert [request.get("Last-Event-ID") for request in server.requests] == [None, None, None]


def test_the_stored_position_wins_over_last_event_id(client: Client, tmp_path: Path) -> None:
    store = tmp_path / "position"
    with Scripted(stream(b"id: 2\ndata: a\n\n")) as server:
        for _ in range(2):
            assert data(follow(client, server, last_event_id="1", store=store, reconnect=False)) in (
                ["a"],
                [],
            )
    assert [request.get("Last-Event-ID") for request in server.requests] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://127.0.0.1:1/other", {"topics": ["a", "b"]}),
        ("http://127.0.0.1:1/?x=y", {"topics": ["a", "b"]}),
        ("http://127.0.0.1:1/", {"topics": ["a"]}),
        ("http://127.0.0.1:1/", {}),
    ],
)
def test_the_position_of_another_subscription_is_refused(
    client: Client, tmp_path: Path, url: str, options: dict[str, list[str]]
) -> None:
    store = tmp_path / "position"
    PositionStore(store, httpx2.URL("http://127.0.0.1:1/"), ["a", "b"]).save("1")
    with pytest.raises(InvalidInput, match="another subscription") as caught:
        client.connect(url, store=store, **options)
    assert caught.value.code == "invalid_store"


def test_password_fragment_and_order_of_topics_do_not_matter(tmp_path: Path) -> None:
    store = tmp_path / "position"
    PositionStore(store, httpx2.URL("http://user:secret@127.0.0.1:1/?token=secret#x"), ["a", "b"]).save("1")
    assert PositionStore(store, httpx2.URL("http://127.0.0.1:1/?token=secret"), ["b", "a"]).position == "1"
    assert "secret" not in store.read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "7"])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    store = tmp_path / "position"
    store.write_text(content)
    with pytest.raises(InvalidInput, match="not a position file") as caught:
        sync.connect("http://127.0.0.1:1/", store=store)
    assert caught.value.code == "invalid_store"
    assert store.read_text() == content


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A reader that has the old file open still reads the old content; no other file is left behind."""
    store = tmp_path / "position"
    positions = PositionStore(store, httpx2.URL("http://127.0.0.1:1/"), [])
    positions.save("1")
    with store.open() as old:
        positions.save("2")
        assert '"1"' in old.read()
    assert saved(store) == "2"
    assert list(tmp_path.iterdir()) == [store]


def test_a_store_that_cannot_be_written_raises(client: Client, tmp_path: Path) -> None:
    with Scripted(stream(b"id: 1\ndata: a\n\n", HOLD)) as server:
        with follow(client, server, store=tmp_path / "none" / "position") as events:
            next(events)
            with pytest.raises(FileNotFoundError):
                next(events)


PROGRAM = """
import sys
from tidewire.client.sync import connect
with connect(sys.argv[1], topics="t", since="start", store=sys.argv[2]) as stream:
    for event in stream:
        print(event.data, flush=True)
"""


def test_a_program_that_is_killed_misses_nothing(tmp_path: Path) -> None:
    store = tmp_path / "position"
    with RunningHub() as hub:
        seen: list[str] = []
        for first in (0, 3, 6):
            with Process([sys.executable, "-c", PROGRAM, hub.url, store]) as program:
                for n in range(first, first + 3):
                    sync.publish(hub.url, "t", f"event {n}")
                program.wait_line(f"event {first + 2}")
                program.stop(signal.SIGKILL)
                seen += program.output.splitlines()
    # At least once: the event that was being processed at the kill is delivered again.
    assert list(dict.fromkeys(seen)) == [f"event {n}" for n in range(9)]
    assert len(seen) <= 9 + 2
