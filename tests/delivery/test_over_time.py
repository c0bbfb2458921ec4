"""Streams over time, on both ways to the socket: heartbeats, age, slow and stuck readers, mounts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.clients import in_thread
from support.waiting import PATIENCE, wait_until
from support.ways import Listener, Served, served
from tidewire.event_stream import Decoder, Event
from tidewire.position import parse_position

BOTH = ["takeover", "uvicorn"]
BIG = "x" * 100_000

# Seconds: less than the 15 that silence lasts where nothing else is set.
SOON = 12.0


@contextmanager
def slow_socket(hub: Served, path: str) -> Iterator[socket.socket]:
    """Open a stream whose client has a small buffer and does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", hub.port))
    client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    with client:
        wait_until(lambda: metric(hub, "open_streams") >= 1)
        yield client


def metric(hub: Served, name: str) -> float:
    text = hub.ask("GET", "/metrics").body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"tidewire_{name}"))


def read_events(client: socket.socket, count: int) -> list[Event]:
    decoder, events = Decoder(), []
    head, _, body = b"", b"", b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    head, _, body = head.partition(b"\r\n\r\n")
    events += decoder.feed(body)
    while len(events) < count:
        part = client.recv(1 << 20)
        assert part, f"the stream ended after {len(events)} events"
        events += decoder.feed(part)
    return events


@pytest.mark.parametrize("way", BOTH)
def test_silence_is_filled_with_comments(way: str) -> None:
    """Promise G16."""
    with served(way, heartbeat=1) as hub, hub.listen("/events/a") as live:
        live.take(1)
        live.wait_comment()
        for _ in range(3):
            assert live.wait_comment(timeout=SOON) == ""


@pytest.mark.parametrize("way", BOTH)
def test_streams_end_at_their_age_and_resume_without_a_gap(way: str) -> None:
    with served(way, max_age=1, max_age_portable=1) as hub:
        with hub.listen("/events/a") as listener:
            position = listener.rest()[0].id
        between = hub.publish("a", "meanwhile")
        with hub.listen("/events/a", {"Last-Event-ID": position or ""}) as listener:
            assert listener.take(1)[0].id == between


@pytest.mark.parametrize("way", BOTH)
def test_a_slow_reader_does_not_hold_up_others_and_gets_everything(way: str) -> None:
    count = 100
    with served(way) as hub, slow_socket(hub, "/events/a") as slow, hub.listen("/events/a") as quick:
        quick.take(1)
        ids = [hub.publish("a", f"{number} {BIG}") for number in range(count)]
        assert [event.id for event in quick.take(count)] == ids
        events = read_events(slow, count + 1)
        assert [event.id for event in events[1:]] == ids
        assert [event.data.split()[0] for event in events[1:]] == [str(number) for number in range(count)]


def test_memory_stays_flat_with_readers_that_never_read() -> None:
    # 20 MB for each of 20 readers would be 400 MB if the bytes were buffered anywhere.
    with served("takeover") as hub:
        hub.publish("warm", BIG)
        before = memory(hub)
        sockets = [slow_socket(hub, "/events/a") for _ in range(20)]
        for stuck in sockets:
            stuck.__enter__()
        try:
            for number in range(200):
                hub.publish("a", f"{number} {BIG}")
            grown = memory(hub) - before
        finally:
            for stuck in sockets:
                stuck.__exit__(None, None, None)
    window = 200 * len(BIG) * 2  # the log's text, and its frames
    assert grown < window + 20 * 512 * 1024


def memory(hub: Served) -> int:
    with open(f"/proc/{hub.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_a_reader_that_acknowledges_nothing_is_ended() -> None:
    with served("takeover", stuck_timeout=1) as hub, slow_socket(hub, "/events/a"):
        for number in range(100):
            hub.publish("a", f"{number} {BIG}")
        wait_until(lambda: metric(hub, "open_streams") == 0)
        assert 'reason="stuck"' in hub.ask("GET", "/metrics").body.decode()


def test_a_reader_that_reads_a_little_all_the_time_is_not_ended() -> None:
    with served("takeover", stuck_timeout=2) as hub, slow_socket(hub, "/events/a") as slow:
        published = threading.Event()

        def publish() -> None:
            for number in range(100):
                hub.publish("a", f"{number} {BIG}")
            published.set()

        publishing = in_thread(publish)
        end = time.monotonic() + 5
        while time.monotonic() < end or not published.is_set():
            assert slow.recv(8192)
            time.sleep(0.05)
        publishing()
        assert metric(hub, "open_streams") == 1


@pytest.mark.parametrize("way", BOTH)
def test_history_beyond_the_window_is_exact(way: str) -> None:
    with served(way, window_entries=50) as hub:
        first = hub.publish("a", "0")
        lines = "".join(f'{{"topic":"{"ab"[n % 2]}","data":"{n}"}}\n' for n in range(1, 5001))
        hub.ask("POST", "/events", lines, {"Content-Type": "application/x-ndjson"})
        with hub.listen("/events/a", {"Last-Event-ID": first}) as listener:
            events = listener.take(2500)
            assert [event.data for event in events] == [str(n) for n in range(2, 5001, 2)]
            last = hub.publish("a", "live")
            assert listener.take(1)[0].id == last


@pytest.mark.parametrize("way", BOTH)
def test_retention_is_a_gap_only_for_streams_that_missed_something(way: str) -> None:
    with served(way, retention_entries=100, window_entries=100) as hub:
        mine = hub.publish("mine", "1")
        other = hub.publish("other", "1")
        lines = '{"topic":"other","data":"x"}\n' * 500
        hub.ask("POST", "/events", lines, {"Content-Type": "application/x-ndjson"})
        with hub.listen("/events/other", {"Last-Event-ID": other}) as listener:
            gap = listener.take(1)[0]
            body = gap.json()
            assert (gap.event, body["reason"], body["requested"]) == ("hub.gap", "trimmed", other)
            oldest = parse_position(body["oldest"]).offset
            assert parse_position(gap.id or "").offset == oldest - 1
            assert parse_position(listener.take(1)[0].id or "").offset == oldest
        # Nothing of `mine` was trimmed after its position: a busy neighbour causes no gap.
        with hub.listen("/events/mine", {"Last-Event-ID": mine}) as listener:
            expected = hub.publish("mine", "2")
            assert listener.take(1)[0].id == expected


@pytest.mark.parametrize("way", [*BOTH, "granian", "hypercorn"])
def test_mounted_below_middleware(way: str) -> None:
    headers = {"Accept-Encoding": "gzip", "Origin": "https://friend.example"}
    with served(way, app="mounted_hub:app") as hub:
        with hub.listen("/orders/7", headers) as listener:
            listener.take(1)
            assert listener.headers["x-marked"] == "yes"
            assert listener.headers["x-own"] == "too"
            assert listener.headers["access-control-allow-origin"] == "https://friend.example"
            answer = hub.ask("POST", "/hub/events/orders/7", b"paid")
            assert listener.take(1)[0].id == answer.json()["id"]
        with hub.listen("/hub/events?topic=orders/*&since=start") as listener:
            assert [event.data for event in listener.take(2)] == ["{}", "paid"]
        assert hub.ask("GET", "/orders/a%0Ab").json()["code"] == "no_such_topic"


def reconnect(hub: Served, listener: Listener, **headers: Any) -> Listener:
    listener.close()
    return hub.listen("/events/a", {"Last-Event-ID": listener.decoder.last_event_id, **headers})


@pytest.mark.parametrize("way", [*BOTH, "granian", "hypercorn"])
def test_reconnecting_all_the_time_loses_and_repeats_nothing(way: str) -> None:
    with served(way) as hub:
        listener = hub.listen("/events/a")
        listener.take(1)
        got: list[str | None] = []
        expected = []
        for number in range(60):
            expected.append(hub.publish("a", str(number)))
            if number % 3 == 0:
                got += [event.id for event in listener.take(len(expected) - len(got))]
                listener = reconnect(hub, listener)
        got += [event.id for event in listener.take(len(expected) - len(got))]
        listener.close()
        assert got == expected


def test_a_bad_query_is_not_a_failure_of_the_program() -> None:
    with served("uvicorn", app="mounted_hub:app") as hub:
        for query in ("control=a&control=b", "control=x", "lasteventid=a"):
            answer = hub.ask("GET", f"/orders/7?{query}")
            assert (answer.status, answer.json()["code"]) == (400, "invalid_query")
