"""What spans the processes of one log: the counts of streams, `on_first` and `on_last`, limits, drains."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest

from support.log_workers import LogWorker, at_once, log_workers
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="on Windows, one process has the log")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def wait_counted(workers: Sequence[LogWorker], topic: str, count: int) -> None:
    for worker in workers:
        wait_until(lambda worker=worker: worker.ask("subscribers", topic) == count)


def calls(workers: Sequence[LogWorker]) -> list[list[str]]:
    return [worker.ask("called") for worker in workers]


def called_since(before: list[list[str]], now: list[list[str]], call: str) -> int:
    return sum(new.count(call) - old.count(call) for old, new in zip(before, now, strict=True))


def left_behind(path: Path) -> list[str]:
    return sorted(file.suffix for file in Path(f"{path}.nodes").iterdir() if file.suffix)


def test_subscribers_of_all_processes_are_counted(path: Path) -> None:
    with log_workers(path, 3) as workers:
        one, two, three = workers
        one.ask("subscribe", "a", ["rooms/1"], "now")
        one.ask("subscribe", "b", ["rooms/1"], "now")
        two.ask("subscribe", "a", ["rooms/*"], "now")
        three.ask("subscribe", "a", ["rooms/1", "rooms/2"], "now")
        wait_counted(workers, "rooms/1", 4)
        wait_counted(workers, "rooms/2", 2)
        wait_counted(workers, "other", 0)
        one.ask("leave", "a")
        wait_counted(workers, "rooms/1", 3)
        two.ask("close")
        wait_counted([one, three], "rooms/1", 2)


def test_a_process_that_is_killed_leaves_no_counts(path: Path) -> None:
    with log_workers(path, 3) as workers:
        one, two, three = workers
        for worker in workers:
            worker.ask("subscribe", "a", ["t"], "now")
        wait_counted(workers, "t", 3)
        three.kill()
        wait_counted([one, two], "t", 2)
        # What it left is removed, though nobody wants to inherit from it.
        wait_until(lambda: left_behind(path).count(".counts") == 2)
        assert left_behind(path).count(".node") == left_behind(path).count(".bell") == 2
        # A process that is stopped still has its streams.
        two.signal(signal.SIGSTOP)
        with log_workers(path, 1) as (four,):
            wait_counted([one, four], "t", 2)
        two.signal(signal.SIGCONT)


def test_the_next_process_counts_nothing_of_those_that_were_killed(path: Path) -> None:
    with log_workers(path, 2) as workers:
        for worker in workers:
            worker.ask("subscribe", "a", ["t"], "now")
        wait_counted(workers, "t", 2)
    with log_workers(path, 1) as (one,):
        assert left_behind(path) == [".bell", ".node"]
        assert one.ask("subscribers", "t") == 0
        one.ask("subscribe", "a", ["t"], "now")
        wait_until(lambda: ".counts" in left_behind(path))
        one.ask("close")
        assert left_behind(path) == []


def test_on_first_and_on_last_run_where_the_first_and_the_last_stream_is(path: Path) -> None:
    with log_workers(path, 3) as workers:
        one, two, three = workers
        for worker in workers:
            worker.ask("hook", "t")
            worker.ask("hook", "rooms/*")
        one.ask("subscribe", "a", ["t"], "now")
        wait_until(lambda: one.ask("called") == ["+t"])
        two.ask("subscribe", "a", ["t", "rooms/1"], "now")
        wait_until(lambda: two.ask("called") == ["+rooms/1"])
        three.ask("subscribe", "a", ["**"], "now")
        wait_counted(workers, "t", 3)
        one.ask("leave", "a")
        wait_counted(workers, "t", 2)
        two.ask("leave", "a")
        wait_until(lambda: two.ask("called") == ["+rooms/1", "-rooms/1"])
        wait_counted(workers, "t", 1)
        assert calls(workers) == [["+t"], ["+rooms/1", "-rooms/1"], []]
        three.ask("leave", "a")
        wait_until(lambda: three.ask("called") == ["-t"])
        one.ask("subscribe", "b", ["t"], "now")
        wait_until(lambda: one.ask("called") == ["+t", "+t"])
        one.ask("close")
        assert one.ask("called") == ["+t", "+t", "-t"]
        assert calls([two, three]) == [["+rooms/1", "-rooms/1"], ["-t"]]


def test_streams_that_come_and_go_at_once_have_a_first_and_a_last(path: Path) -> None:
    with log_workers(path, 3) as workers:
        for worker in workers:
            worker.ask("hook", "t")
        for number in range(5):
            before = calls(workers)
            at_once(workers, *[("subscribe", f"s{number}", ["t"], "now")] * 3)
            wait_counted(workers, "t", 3)
            assert called_since(before, calls(workers), "+t")
            at_once(workers, *[("leave", f"s{number}")] * 3)
            wait_counted(workers, "t", 0)
            wait_until(lambda before=before: called_since(before, calls(workers), "-t"))


def test_one_survivor_has_on_last_called_for_a_process_that_died(path: Path) -> None:
    with log_workers(path, 4) as workers:
        one, two, three, script = workers
        for worker in (one, two, three):
            worker.ask("hook", "t")
            worker.ask("hook", "rooms/*")
            worker.ask("hook", "shared")
        one.ask("subscribe", "a", ["t", "rooms/1", "shared"], "now")
        wait_until(lambda: sorted(one.ask("called")) == ["+rooms/1", "+shared", "+t"])
        two.ask("subscribe", "a", ["shared"], "now")
        wait_counted(workers, "shared", 2)
        one.kill()
        wait_until(lambda: sorted(chain(*calls([two, three]))) == ["-rooms/1", "-t"])
        assert [] in calls([two, three]), "one of them has all"
        assert script.ask("called") == []
        two.ask("leave", "a")
        wait_until(lambda: "-shared" in two.ask("called"))
        assert sorted(chain(*calls([two, three]))) == ["-rooms/1", "-shared", "-t"]
        wait_until(lambda: left_behind(path).count(".node") == 3)


def test_the_limit_per_address_counts_all_processes(path: Path) -> None:
    with log_workers(path, 2, max_streams_per_address=3) as workers:
        one, two = workers
        assert [one.ask("request", "192.0.2.1") for _ in range(2)] == [200, 200]
        wait_counted(workers, "t", 2)
        assert two.ask("request", "192.0.2.1") == 200
        wait_counted(workers, "t", 3)
        for worker in workers:
            assert worker.ask("request", "192.0.2.1") == 429
            assert worker.ask("request", "192.0.2.2") == 200
        one.kill()
        wait_until(lambda: two.ask("request", "192.0.2.1") == 200)


def test_the_limit_per_subject_counts_all_processes(path: Path) -> None:
    with log_workers(path, 2, max_streams_per_subject=3) as workers:
        one, two = workers
        assert [one.ask("request", f"192.0.2.{number}", "ada") for number in (1, 2)] == [200, 200]
        wait_counted(workers, "t", 2)
        assert two.ask("request", "192.0.2.3", "ada") == 200
        wait_counted(workers, "t", 3)
        for worker in workers:
            assert worker.ask("request", "192.0.2.4", "ada") == 429
            assert worker.ask("request", "192.0.2.4", "bob") == 200
        one.kill()
        wait_until(lambda: two.ask("request", "192.0.2.4", "ada") == 200)


def test_a_process_without_its_folder_counts_its_own(path: Path) -> None:
    with log_workers(path, 2) as workers:
        for worker in workers:
            worker.ask("hook", "t")
            worker.ask("subscribe", "a", ["t"], "now")
        wait_counted(workers, "t", 2)
        shutil.rmtree(f"{path}.nodes")
        wait_counted(workers, "t", 1)
        for worker in workers:
            worker.ask("leave", "a")
        for worker in workers:
            wait_until(lambda worker=worker: worker.ask("called")[-1:] == ["-t"])


def test_a_peer_is_a_process_that_accepts_streams_and_does_not_drain(path: Path) -> None:
    with log_workers(path, 3) as (one, two, three):
        one.ask("accept")
        assert not one.ask("peers")
        wait_until(lambda: two.ask("peers"))
        wait_until(lambda: three.ask("peers"))
        assert not one.ask("peers"), "the others publish only"
        assert three.ask("request", "192.0.2.1") == 200
        wait_until(lambda: one.ask("peers"))
        three.kill()
        wait_until(lambda: not one.ask("peers"))
        two.ask("accept")
        wait_until(lambda: one.ask("peers"))
        two.ask("drain")
        wait_until(lambda: not one.ask("peers"))


def test_a_drain_is_spread_while_another_process_accepts_streams(path: Path) -> None:
    with log_workers(path, 2, drain=600, retry=2) as (one, two):
        for number in range(20):
            one.ask("subscribe", f"s{number}", ["t"], "now")
        two.ask("accept")
        wait_until(lambda: one.ask("peers"))
        one.ask("drain")
        wait_until(lambda: one.ask("ended"))
        assert one.ask("ended") < 20
        assert all(retry <= 2200 for retry in one.ask("retries"))
        # Both stop, as at a signal to the group: nobody is left to connect to.
        two.ask("drain")
        wait_until(lambda: one.ask("ended") == 20)
        one.ask("drained")
        assert max(one.ask("retries")) > 2200


def test_a_drain_is_spread_over_no_time_without_another_process(path: Path) -> None:
    with log_workers(path, 2, drain=600, retry=2) as (one, _):
        for number in range(20):
            one.ask("subscribe", f"s{number}", ["t"], "now")
        one.ask("drain")
        one.ask("drained")
        assert one.ask("ended") == 20
        assert max(one.ask("retries")) > 2200
