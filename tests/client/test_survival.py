"""
A program that listens while its hub is killed, restarted, busy and unreachable misses nothing and repeats
nothing.

The suite has one fault of each kind. For more:

    SURVIVAL_FAULTS=20 pytest tests/test_client_survival.py
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.clients import Client, Stream, in_thread
from support.front import Front
from support.ports import free_port
from support.processes import Process
from support.waiting import wait_until
from tidewire.client.core.reconnect import Change
from tidewire.client.sync import End, Gap, Opened, Policy, Publisher, Wait
from tidewire.errors import TidewireError
from tidewire.testing.checker import check
from tidewire.testing.recorder import Recorder

FAULTS = int(os.environ.get("SURVIVAL_FAULTS", "4"))

# Seconds between two publishes. Short, so that each fault happens while the stream is in use.
PAUSE = 0.01

# Events that are acked before each fault, and after the last.
EACH = 20

TOPIC = "orders/7"


class KilledHub:
    """`tidewire serve` with a log on disk, at one port."""

    def __init__(self, path: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._words = ["--port", self.port, "--engine", f"sqlite:///{path}"]
        # A connection counts as dead after two and a half seconds of silence.
        self._words += ["--heartbeat", 1, "--retry", 0.5]
        self._start()

    def _start(self) -> None:
        argv = [sys.executable, "-m", "tidewire", "serve", *map(str, self._words)]
        self._process = Process(argv)
        self._process.wait_line(r"http://[^/\s]+")

    def kill(self) -> None:
        self._process.stop(signal.SIGKILL)
        self._start()

    def restart(self) -> None:
        assert self._process.stop() == 0
        self._start()

    def stop(self) -> None:
        self._process.kill()


class Listener:
    """The program: it reads events and records what it sees."""

    def __init__(self, client: Client, url: str, recorder: Recorder) -> None:
        self.seen: set[str] = set()
        self._recorder = recorder
        self._streams = 0
        policy = Policy(retry=0.2, shortest=0.1, cap=0.5)
        self.stream: Stream = client.connect(
            url, topics=TOPIC, since="start", reconnect=policy, on_change=self._changed
        )

    def run(self) -> None:
        with self.stream:
            for event in self.stream:
                name, id = f"stream {self._streams}", event.id or ""
                if isinstance(event, Gap):
                    self._recorder.gap(name, id, event.json())
                elif not isinstance(event, End):
                    self._recorder.delivered(name, id, event.topic, event.data)
                    self._recorder.processed("program", id, event.data)
                    self.seen.add(event.data)
        self._recorder.closed(f"stream {self._streams}")

    def _changed(self, change: Change) -> None:
        if isinstance(change, Opened):
            self._streams += 1
            position = self.stream.last_event_id or "start"
            self._recorder.opened(f"stream {self._streams}", "program", [TOPIC], position)
        elif isinstance(change, Wait) and self._streams:
            self._recorder.closed(f"stream {self._streams}")


@contextmanager
def publishing(url: str, recorder: Recorder) -> Iterator[list[str]]:
    """Publish continuously; yield the list of the acknowledged events."""
    stopped = threading.Event()
    acked: list[str] = []

    def work() -> None:
        with Publisher(url, retry_for=60) as hub:
            number = 0
            while not stopped.wait(PAUSE):
                number += 1
                name = f"event {number}"
                recorder.invoked(name, TOPIC, name)
                try:
                    receipt = hub.publish(TOPIC, name)
                except TidewireError:
                    recorder.unknown(name)
                    raise
                recorder.ok(name, receipt["id"], receipt["duplicate"], receipt["durability"])
                acked.append(name)
            hub.end(TOPIC)

    done = in_thread(work)
    try:
        yield acked
    finally:
        stopped.set()
        done()


def history(url: str) -> list[tuple[str, str, str]]:
    events: list[tuple[str, str, str]] = []
    with Publisher(url) as hub:
        page = hub.history(TOPIC)
        while True:
            kept = [event for event in page if not isinstance(event, End)]
            events += [(event.id or "", event.topic or "", event.data) for event in kept]
            if not page.more:
                return events
            page = hub.history(TOPIC, since=page.next)


@pytest.mark.timeout(180 + 60 * FAULTS)
def test_a_program_that_listens_misses_nothing_and_repeats_nothing(client: Client, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, recorder = random.Random(seed), Recorder()
    hub = KilledHub(tmp_path / "log.db")
    try:
        with Front(hub.port) as front:
            faults = {
                "killed": hub.kill,
                "restarted": hub.restart,
                "busy": lambda: front.busy(chance.randint(1, 3)),
                "gone": front.freeze,
            }
            names = [*faults, *chance.choices([*faults], k=FAULTS)][:FAULTS]
            chance.shuffle(names)
            listener = Listener(client, front.url, recorder)
            listening = in_thread(listener.run)
            with publishing(hub.url, recorder) as acked:
                for name in names:
                    # Each fault meets a stream that is open and in use.
                    caught_up(listener, acked)
                    recorder.fault(name)
                    faults[name]()
                caught_up(listener, acked)
            listening()
            report = check(recorder.records, history(hub.url))
    finally:
        hub.stop()
    print(report)
    assert report.counts_as_run(EACH * FAULTS), report
    assert report.ok, report
    assert report.faults == FAULTS
    assert (report.repeated_on_wire, report.needless_gaps) == (0, 0)


def caught_up(listener: Listener, acked: list[str]) -> None:
    """Wait until more events have been acked, and for the delivery of the newest."""
    count = len(acked) + EACH
    wait_until(lambda: len(acked) >= count)
    target = acked[-1]
    wait_until(lambda: target in listener.seen)
