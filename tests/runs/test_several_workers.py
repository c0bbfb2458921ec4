"""Runs in several workers with one log: started once, cancelled from anywhere, lost with their worker."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from support.ports import free_port
from support.processes import Process
from support.waiting import PATIENCE, wait_until
from support.ways import APPS, Listener, Served
from tidewire.event_stream import Event

from .test_served import LONG, events_in, start_and_leave, texts, tokens

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="on Windows a hub is one process")

UVICORN = "uvicorn runs_app:app --port {port} --workers {workers} --ws none --no-access-log"


def program(log: Path, workers: int) -> Served:
    port = free_port()
    command = UVICORN.format(port=port, workers=workers).split()
    argv = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    env = {"HUB_OPTIONS": json.dumps({"log": f"sqlite:///{log}"}), "PYTHONPATH": str(APPS)}
    env["PYTHONPATH"] += os.pathsep + os.environ.get("PYTHONPATH", "")
    return Served(port, Process(argv, env=env), "uvicorn")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    found = program(tmp_path / "log.db", 4)
    with found.process:
        wait_until(lambda: found.process.output.count("Application startup complete") == 4)
        yield found


def producers(hub: Served) -> list[int]:
    """Return the workers that started a producer."""
    lines = [line for line in hub.process.output.splitlines() if line.startswith("producer started in ")]
    return [int(line.rpartition(" ")[2]) for line in lines]


def viewer(hub: Served, *, besides: int) -> Listener:
    """Return a stream of the chat that comes from another worker."""
    while True:
        stream = Listener(hub.port, "/chat/1")
        if int(stream.headers["x-worker"]) != besides:
            return stream
        stream.close()


def cancel(hub: Served, *, besides: int) -> None:
    """Cancel the run of the chat by another worker."""
    while True:
        with closing(HTTPConnection("127.0.0.1", hub.port, timeout=PATIENCE)) as connection:
            connection.request("GET", "/worker")
            response = connection.getresponse()
            response.read()
            if int(response.headers["x-worker"]) == besides:
                continue
            connection.request("DELETE", "/chat/1")
            response = connection.getresponse()
            assert int(response.headers["x-worker"]) != besides
            assert json.loads(response.read()) == {"state": "cancelled"}
            return


def test_a_hundred_requests_start_one_producer(hub: Served) -> None:
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(hub.ask, "POST", "/chat/1?key=1&count=20&pause=0.01") for _ in range(100)]
        answers = [events_in(answer.result()) for answer in asked]
    assert texts(answers[0]) == tokens(20)
    assert all(answer == answers[0] for answer in answers)
    wait_until(lambda: len(producers(hub)) == 1)

    # The next message of the chat is the next run. A repeated POST, of the first message too, starts nothing.
    following = events_in(hub.ask("POST", "/chat/1?key=2"))
    assert texts(following) == tokens(10)
    for _ in range(8):
        assert events_in(hub.ask("POST", "/chat/1?key=1&count=20")) == answers[0]
        assert events_in(hub.ask("POST", "/chat/1?key=2")) == following
    events_in(hub.ask("POST", "/chat/1?key=3&fail=true"))
    # The third producer's last line stands after the lines of all that were started before it.
    wait_until(lambda: "producer got RuntimeError" in hub.process.output)
    assert len(producers(hub)) == 3


def test_a_run_is_cancelled_from_another_worker(hub: Served) -> None:
    start_and_leave(hub, f"/chat/1?key=1&{LONG}")
    (maker,) = wait_until(lambda: producers(hub))
    with viewer(hub, besides=maker) as stream:
        stream.take(1)
        cancel(hub, besides=maker)
        assert stream.rest()[-1].event == "run.cancelled"
    wait_until(lambda: "producer got CancelledError" in hub.process.output)


def test_the_run_of_a_worker_that_was_killed_is_lost(hub: Served) -> None:
    start_and_leave(hub, f"/chat/1?key=1&{LONG}")
    (maker,) = wait_until(lambda: producers(hub))
    with viewer(hub, besides=maker) as one, viewer(hub, besides=maker) as other:
        one.take(1)
        os.kill(maker, signal.SIGKILL)
        killed = time.monotonic()
        found = [one.rest(), other.rest()]
    # That is what is promised, with the patience that all tests have for a slow machine.
    assert time.monotonic() - killed < 5 + PATIENCE
    assert found[0][-1] == found[1][-1]
    assert_lost(found[0])


def assert_lost(events: list[Event]) -> None:
    last = events[-1]
    assert (last.event, json.loads(last.data)["reason"]) == ("run.lost", "process_ended")
    assert sum(event.event.startswith("run.") for event in events) == 1


def test_a_process_that_is_back_tells_that_its_run_is_lost(tmp_path: Path) -> None:
    before = program(tmp_path / "log.db", 1)
    with before.process:
        before.process.wait_port(before.port)
        start_and_leave(before, f"/chat/1?key=1&{LONG}")
        before.process.kill()
    after = program(tmp_path / "log.db", 1)
    with after.process:
        after.process.wait_port(after.port)
        answer = events_in(after.ask("POST", "/chat/1?key=1"))
        assert texts(answer)[0] == "token 0"
        assert_lost(answer)
