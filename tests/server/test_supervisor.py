"""`tidewire serve --workers`: several processes, one port."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.command import COMMAND
from support.ports import port_open
from support.processes import Process, group_members, paused
from support.waiting import wait_until
from support.ways import Listener, Served
from tidewire.cli import main
from tidewire.server.supervisor import MAX_DEATHS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="on Windows a hub is one process")


@contextmanager
def serving(*words: str, workers: int = 2) -> Iterator[Served]:
    """Run `tidewire serve` with several workers, and continue once all of them serve."""
    argv = [COMMAND, "serve", "--port", "0", "--workers", str(workers), *words]
    with Process(argv) as process:
        port = int(process.wait_line(r"^Tidewire \S+ on http://127\.0\.0\.1:(\d+)").group(1))
        yield Served(port, process, "workers")


def workers_of(process: Process) -> list[int]:
    return [pid for pid in group_members(process.pid) if b"spawn_main" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def streams_of_each(served: Served, stack: ExitStack) -> dict[int, Listener]:
    """Open a stream at each worker, which ends there."""
    workers = workers_of(served.process)
    streams = {}
    for worker in workers:
        with paused(*(other for other in workers if other != worker)):
            streams[worker] = stack.enter_context(served.listen("/events/news"))
            streams[worker].take(1)  # hub.position
    return streams


def test_all_workers_serve_one_log_and_a_signal_stops_all_of_them() -> None:
    with serving(workers=3) as served, ExitStack() as stack:
        assert "  workers  3 processes" in served.process.output
        assert served.process.output.count("Tidewire ") == 1
        streams = streams_of_each(served, stack)
        assert len(streams) == 3
        ids = [served.publish("news", str(number)) for number in range(20)]
        for stream in streams.values():
            events = stream.take(20)
            assert [event.id for event in events] == ids
            assert [event.data for event in events] == [*map(str, range(20))]
        assert served.process.stop() == 0
        for stream in streams.values():
            assert stream.rest() == []
        assert "Traceback" not in served.process.output


def test_the_inspector_names_the_worker_it_shows_and_no_other_one_answers_for_it() -> None:
    with serving() as served, ExitStack() as stack:
        streams_of_each(served, stack)
        first, second = workers_of(served.process)
        with paused(second):
            node = json.loads(served.ask("GET", "/inspect/overview").body)["node"]
            assert (node["pid"], node["shared"]) == (first, True)
            (mine,) = json.loads(served.ask("GET", f"/inspect/streams?node={node['name']}").body)["streams"]
        with paused(first):
            path = f"/inspect/streams/{mine['stream']}?node={node['name']}"
            for method in ("GET", "DELETE"):
                refusal = served.ask(method, path)
                assert (refusal.status, json.loads(refusal.body)["code"]) == (421, "another_process")
                # The next request gets another connection, and perhaps the other process.
                assert refusal.headers["connection"] == "close"
            assert json.loads(served.ask("GET", "/inspect/overview").body)["node"]["name"] != node["name"]


def test_an_interrupt_stops_all_of_them() -> None:
    with serving() as served:
        # As from a terminal: to the parent and to its workers.
        os.killpg(served.process.pid, signal.SIGINT)
        assert served.process.wait() == 0
        assert "Traceback" not in served.process.output
        assert "KeyboardInterrupt" not in served.process.output


def test_an_interrupt_before_they_serve_is_clean() -> None:
    with Process([COMMAND, "serve", "--port", "0", "--workers", "2"]) as process:
        wait_until(lambda: len(workers_of(process)) == 2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 0
        assert process.output == ""


def test_a_worker_that_dies_is_started_again() -> None:
    with serving() as served, ExitStack() as stack:
        streams = streams_of_each(served, stack)
        (killed, its), (other, others) = streams.items()
        first = served.publish("news", "first")
        assert [event.id for event in its.take(1) + others.take(1)] == [first, first]
        os.kill(killed, signal.SIGKILL)
        its.rest_until_cut()
        missed = served.publish("news", "missed")
        served.process.wait_line(f"worker process {killed} was ended by SIGKILL; it is started again")
        wait_until(lambda: len(workers_of(served.process)) == 2)
        (new,) = {*workers_of(served.process)} - {other}
        # The stream resumes in the new worker, which was not there when the event was stored.
        with paused(other):
            resumed = stack.enter_context(served.listen("/events/news", {"Last-Event-ID": first}))
            assert [(event.id, event.data) for event in resumed.take(1)] == [(missed, "missed")]
        assert new != killed
        last = served.publish("news", "last")
        assert [event.id for event in others.take(2)] == [missed, last]
        assert [event.id for event in resumed.take(1)] == [last]
        assert served.process.stop() == 0
        assert served.process.output.count("Tidewire ") == 1


def test_workers_that_die_again_and_again_end_it() -> None:
    with serving() as served:
        for deaths in range(1, MAX_DEATHS + 1):
            worker = wait_until(lambda: workers_of(served.process))[0]
            os.kill(worker, signal.SIGKILL)
            served.process.wait_line(f"worker process {worker} was ended by SIGKILL")
            assert served.process.output.count("it is started again") == min(deaths, MAX_DEATHS - 1)
        assert served.process.wait() == 1
        line = served.process.output.splitlines()[-1]
        assert re.fullmatch(
            rf"Error: stopped, since {MAX_DEATHS} workers ended within 60 s: the last worker process \d+"
            r" was ended by SIGKILL \(workers_failed\)",
            line,
        )
        assert not port_open(served.port)


def test_a_start_that_is_refused_ends_all_with_one_sentence(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    log.write_text("not a log, " * 100)
    with Process([COMMAND, "serve", "--port", "0", "--workers", "3", "--engine", str(log)]) as process:
        assert process.wait() == 1
        (line,) = process.output.splitlines()
        assert line.startswith("Error: ")
        assert str(log) in line


def test_workers_end_with_the_process_that_started_them() -> None:
    with serving() as served:
        os.kill(served.process.pid, signal.SIGKILL)
        assert served.process.wait() == -signal.SIGKILL
        wait_until(lambda: not group_members(served.process.pid))


def test_a_unix_socket_has_several_workers_too(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    argv = [COMMAND, "serve", "--uds", str(path), "--workers", "2"]
    with Process(argv, env={"TIDEWIRE_WORKERS": "3"}) as process:
        process.wait_line(r"^Tidewire \S+ on unix:")
        assert len(workers_of(process)) == 2
        assert process.stop() == 0
    assert not path.exists()


def test_their_number_may_be_in_the_environment() -> None:
    argv = [sys.executable, "-m", "tidewire", "serve", "--port", "0"]
    with Process(argv, env={"TIDEWIRE_WORKERS": "2"}) as process:
        process.wait_line(r"^  workers  2 processes")
        assert len(workers_of(process)) == 2


@pytest.mark.parametrize(
    ("words", "windows", "sentence"),
    [
        (["--engine", "memory"], False, "--engine ./tidewire.db"),
        ([], True, "on Windows a hub is one process"),
    ],
)
def test_where_several_workers_cannot_work_they_are_refused(
    words: list[str], windows: bool, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tidewire.cli.serve.ONE_PROCESS", windows)
    result = CliRunner().invoke(main, ["serve", "--port", "0", "--workers", "2", *words])
    assert result.exit_code == 2
    assert sentence in result.output
