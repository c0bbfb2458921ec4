"""Several processes on one log file: each is a node, and what holds for one holds for all (promise G22)."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.log_workers import LogWorker, Refused, at_once, log_workers
from support.sqlite_log import refusal_of
from support.waiting import wait_until
from tidewire.engines.sqlite import log_file
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.errors import StartRefused

pytestmark = pytest.mark.skipif(os.name == "nt", reason="on Windows, one process has the log")


HOLD_DOOR = """
import fcntl, os, sys, time
door = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(door, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def numbers(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def seen_by(workers: Sequence[LogWorker], name: str, count: int) -> list[dict[str, Any]]:
    """Wait until the stream `name` of each worker has had `count` events."""
    for worker in workers:
        wait_until(lambda worker=worker: len(worker.ask("seen", name)["data"]) >= count)
    return [worker.ask("seen", name) for worker in workers]


def offset_of(id: str) -> int:
    return int(id.split(".")[1])


def stored(path: Path) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT offset, topic, data FROM entries ORDER BY offset").fetchall()
    finally:
        db.close()


def test_all_see_everything_in_one_order(path: Path) -> None:
    with log_workers(path, 3) as workers:
        for worker in workers:
            worker.ask("subscribe", "all", ["**"], "now")
        answers = at_once(
            workers, *[("publish", f"t/{index}", numbers(40, f"{index}.")) for index in range(3)]
        )
        ids = [id for answer in answers for id in answer]
        assert len(set(ids)) == 120
        streams = seen_by(workers, "all", 120)
        assert streams[0] == streams[1] == streams[2]
        assert sorted(streams[0]["ids"]) == sorted(ids)
        assert streams[0]["gaps"] == []
    assert [row[0] for row in stored(path)] == list(range(1, 121))


def test_batches_of_several_processes_do_not_mix(path: Path) -> None:
    with log_workers(path, 3) as workers:
        at_once(workers, *[("batch", f"new/{index}", numbers(500, f"{index}.")) for index in range(3)])
        at_once(workers, *[("batch", f"more/{index}", numbers(500, f"{index}.")) for index in range(3)])
    found = stored(path)
    assert len(found) == 3000
    for first in range(0, 3000, 500):
        assert len({topic for _, topic, _ in found[first : first + 500]}) == 1
        assert [int(data[2:]) for _, _, data in found[first : first + 500]] == list(range(500))


def test_a_key_has_one_id_in_all_of_them(path: Path) -> None:
    with log_workers(path, 3) as workers:
        for key in numbers(10):
            answers = at_once(workers, *[("publish", "t", ["same"], key)] * 3)
            assert len({id for id, _ in answers}) == 1
            assert sorted(duplicate for _, duplicate in answers) == [False, True, True]
    assert len(stored(path)) == 10


def test_an_ended_topic_has_ended_in_all_of_them(path: Path) -> None:
    with log_workers(path, 2) as (one, two):
        two.ask("subscribe", "t", ["t"], "now")
        first = one.ask("end", "t")
        with pytest.raises(Refused, match="topic_ended"):
            two.ask("publish", "t", ["late"])
        assert two.ask("end", "t") == first
        wait_until(lambda: two.ask("seen", "t")["last"] == first)


def test_nothing_is_stored_after_the_end_of_its_topic(path: Path) -> None:
    with log_workers(path, 3) as workers:
        for topic in numbers(5, "t/"):
            at_once(workers, ("publish", topic, numbers(30)), ("publish", topic, numbers(30)), ("end", topic))
    db = sqlite3.connect(path)
    late = db.execute(
        "SELECT * FROM entries AS late JOIN entries AS an_end USING (topic)"
        " WHERE an_end.is_end AND late.offset > an_end.offset"
    ).fetchall()
    db.close()
    assert late == []


def test_an_acknowledged_position_can_be_resumed_from_in_another_process(path: Path) -> None:
    with log_workers(path, 2) as (one, two):
        for number in range(20):
            (last,) = one.ask("publish", "t", [str(number)])
            two.ask("subscribe", f"s{number}", ["t"], last)
            page = two.ask("history", ["t"], "start")
            assert len(page["events"]) == number + 1
        one.ask("publish", "t", ["end"])
        for number in range(20):
            expected = [*map(str, range(number + 1, 20)), "end"]
            assert two.wait_seen(f"s{number}", *expected)["gaps"] == []


def test_a_page_has_what_another_process_has_acknowledged(path: Path) -> None:
    with log_workers(path, 2) as (one, two):
        for number in range(1, 31):
            one.ask("publish", "t", [str(number)])
            assert len(two.ask("history", ["t"], "start")["events"]) == number


def test_a_process_that_is_killed_takes_nothing_with_it(path: Path) -> None:
    with log_workers(path, 3) as workers:
        one, two, three = workers
        one.ask("subscribe", "all", ["**"], "now")
        two.tell("publish", "t/2", numbers(100_000, "2."))
        three.tell("publish", "t/3", numbers(30, "3."))
        wait_until(lambda: len(one.ask("seen", "all")["data"]) > 20)
        two.kill()
        assert len(three.answer()) == 30
        one.ask("publish", "t/1", numbers(10, "1."))
        found = stored(path)
        one.wait_seen("all", *[data for _, _, data in found])
        assert [offset for offset, _, _ in found] == list(range(1, len(found) + 1))
        # It left no lock and no life behind.
        with log_workers(path, 1) as (four,):
            assert len(four.ask("history", ["**"], "start")["events"]) == len(found)
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM lives").fetchall() == [(1,)]
    db.close()


def test_a_process_that_slept_past_retention_tells_a_gap(path: Path) -> None:
    with log_workers(path, 2, retention_entries=50, window_entries=10) as (one, two):
        two.ask("subscribe", "busy", ["busy"], "now")
        two.ask("subscribe", "quiet", ["quiet"], "now")
        one.ask("publish", "busy", ["first"])
        two.wait_seen("busy", "first")
        two.signal(signal.SIGSTOP)
        one.ask("batch", "busy", numbers(1000))
        one.ask("publish", "other", ["x"])
        wait_until(lambda: len(stored(path)) <= 50)
        two.signal(signal.SIGCONT)
        one.ask("publish", "quiet", ["heard"])
        wait_until(lambda: two.ask("seen", "quiet")["data"] == ["heard"])
        assert two.ask("seen", "quiet")["gaps"] == [], "nothing of its topic was lost"
        wait_until(lambda: two.ask("seen", "busy")["gaps"])
        (gap,) = two.ask("seen", "busy")["gaps"]
        assert gap["reason"] == "trimmed"


def test_what_another_process_trims_while_this_one_pages_is_told(path: Path) -> None:
    with log_workers(path, 2, retention_entries=3000, window_entries=10) as (one, two):
        one.ask("batch", "t", numbers(1000))
        one.ask("batch", "t", numbers(1000, "b"))
        page = two.ask("history", ["t"], "start")
        assert len(page["events"]) == 2000
        start = page["events"][0]["id"]
        for _ in range(3):
            one.ask("batch", "t", numbers(1000, "c"))
        wait_until(lambda: len(stored(path)) <= 3000)
        page = two.ask("history", ["t"], start)
        assert page["gap"]["reason"] == "trimmed"
        first = int(page["events"][0]["id"].split(".")[1])
        assert first == stored(path)[0][0] == int(page["gap"]["oldest"].split(".")[1])


def test_streams_that_page_while_another_process_trims_are_told_each_gap(path: Path) -> None:
    with log_workers(path, 2, retention_entries=3000, window_entries=10) as (one, two):
        (start, *_) = one.ask("batch", "t", numbers(1000))
        for _ in range(2):
            one.ask("batch", "t", numbers(1000))
        streams = numbers(8, "s")
        for name in streams:
            one.tell("batch", "t", numbers(500))
            two.ask("subscribe", name, ["t"], start)
            one.answer()
        (last,) = one.ask("publish", "t", ["end"])
        for name in streams:
            wait_until(lambda name=name: two.ask("seen", name)["last"] == last)
            seen = two.ask("seen", name)
            offsets = [offset_of(start), *map(offset_of, seen["ids"])]
            after_jumps = {later for one, later in pairwise(offsets) if later != one + 1}
            assert after_jumps <= {offset_of(gap["oldest"]) for gap in seen["gaps"]}
            assert all(gap["reason"] == "trimmed" for gap in seen["gaps"])
        assert any(two.ask("seen", name)["gaps"] for name in streams)


def test_a_backup_put_in_place_of_the_file_stops_all_of_them(path: Path) -> None:
    with log_workers(path, 2) as workers:
        one, two = workers
        two.ask("subscribe", "t", ["t"], "now")
        one.ask("publish", "t", ["1", "2"])
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("VACUUM INTO ?", (f"{path}.backup",))
        one.ask("publish", "t", ["3", "4"])
        two.wait_seen("t", "1", "2", "3", "4")
        os.replace(f"{path}.backup", path)
        # Its ids would be used again: the life is the same, and its newest events are missing.
        with pytest.raises(StartRefused, match="was deleted or replaced while other processes have it open"):
            LogFile(os.fspath(path))
        for worker in workers:
            with pytest.raises(Refused, match=r"unknown|engine_failed|engine_unavailable"):
                worker.ask("publish", "t", ["5"])
        assert two.wait_seen("t", "1", "2", "3", "4")["gaps"] == []


def test_a_busy_process_does_not_hold_up_the_others(path: Path) -> None:
    with log_workers(path, 2) as (busy, other):
        busy.tell("block", 3)
        other.ask("publish", "t", numbers(20))
        # Its writer and its event loop are two threads: it still has everything.
        busy.answer()
        assert len(busy.ask("history", ["t"], "start")["events"]) == 20


def test_what_needs_the_log_alone_is_refused(path: Path) -> None:
    with log_workers(path, 2) as (one, two):
        error = refusal_of(path)
        assert error.code == "log_in_use"
        one.ask("close")
        assert refusal_of(path).code == "log_in_use"
        two.ask("publish", "t", ["still"])
        two.ask("close")
        db = sqlite3.connect(path)
        assert db.execute("SELECT value FROM meta WHERE name = 'clean'").fetchall() == [(1,)]
        db.close()


def test_processes_that_come_and_go_share_one_life(path: Path) -> None:
    with log_workers(path, 1) as (first,):
        (one,) = first.ask("publish", "t", ["1"])
        for number in range(3):
            with log_workers(path, 1) as (other,):
                other.ask("publish", "t", [str(number)])
                other.ask("close")
        (last,) = first.ask("publish", "t", ["2"])
        assert one.split(".")[0] == last.split(".")[0]
        assert last.split(".")[1] == "5"


def test_a_lost_folder_of_nodes_makes_it_slower_and_nothing_else(path: Path) -> None:
    with log_workers(path, 2) as (one, two):
        two.ask("subscribe", "t", ["t"], "now")
        for file in Path(f"{path}.nodes").iterdir():
            if file.suffix == ".bell":
                file.unlink()
        one.ask("publish", "t", numbers(5))
        two.wait_seen("t", *numbers(5))


def test_a_process_that_is_stopped_at_the_door_does_not_keep_others_from_closing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "CLOSE_TIMEOUT", 0.1)
    log = log_file.LogFile(os.fspath(path))
    holder = subprocess.Popen([sys.executable, "-c", HOLD_DOOR, f"{path}.nodes/door"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        log.close()
    finally:
        holder.kill()
        holder.communicate()
    checks: list[int] = []
    log_file.LogFile(os.fspath(path), on_check=checks.append).close()
    assert len(checks) == 1, "it could not know that it was the last one"
