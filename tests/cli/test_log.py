"""`tidewire log` with files that a real hub wrote, with a hub that is running, and with damaged files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from support.command import COMMAND, environment, running, tidewire
from support.log_files import Row, change, rows, write_log
from support.processes import Process
from support.running_hub import RunningHub
from support.waiting import PATIENCE
from tidewire.cli import main
from tidewire.client.sync import connect, end, publish
from tidewire.engines.sqlite import maintenance
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.engines.sqlite.read_only import ReadOnly
from tidewire.engines.sqlite.transfer import Export, Import
from tidewire.errors import TopicEnded
from tidewire.log.entries import Since

EVENTS = 5_000


def log(*words: str | Path, input: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["log", *map(str, words)], input=input)


def done(*words: str | Path, input: bytes | None = None) -> str:
    """Return the output of a command that must succeed."""
    result = log(*words, input=input)
    assert (result.exit_code, result.exception) == (0, None), result.output
    return result.stdout


def info(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done("info", path, "--json"))
    return found


def exported(*words: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done("export", *words).splitlines()]


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of four topics, one of them ended. Tests must not change it."""
    path = tmp_path_factory.mktemp("log") / "written.db"
    events: list[dict[str, Any]] = [
        {"topic": f"orders/{number % 3}", "data": "x" * (number % 300)} for number in range(EVENTS)
    ]
    events.append({"topic": "ü", "data": "a\0b\r\nü", "event": "tick", "retry": 700})
    write_log(path, events, ends=["orders/2"])
    return path


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(written, tmp_path / "log.db"))


# -- which file


def test_the_path_may_be_a_url(path: Path) -> None:
    assert done("check", f"sqlite:///{path}") == done("check", path)


def test_the_default_path_is_the_log_of_serve(path: Path, tmp_path: Path) -> None:
    assert "5,002 entries" in tidewire("log", "info", env={"TIDEWIRE_ENGINE": f"sqlite:///{path}"}).stdout
    (tmp_path / "home").mkdir()
    assert tidewire("log", "import", "-", input=lines({"topic": "t"}), cwd=tmp_path / "home").returncode == 0
    assert "1 entry" in tidewire("log", "info", cwd=tmp_path / "home").stdout
    assert (tmp_path / "home" / "tidewire.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["info", "no/such/file"],
        ["check", "no/such/file"],
        ["export", "no/such/file"],
        ["trim", "no/such/file", "--entries", "1"],
        ["info", "memory"],
        ["import", "log.db", "no/such/file"],
        ["import"],
        ["import", "a", "b", "-"],
        ["trim", sys.executable],
        ["trim", sys.executable, "--age", "soon"],
        ["trim", sys.executable, "--entries", "0"],
    ],
)
def test_a_wrong_command_line_is_2(words: list[str]) -> None:
    assert log(*words).exit_code == 2


@pytest.mark.parametrize("command", [["info"], ["check"], ["export"], ["trim", "--entries", "1"]])
def test_a_missing_log_is_not_made(command: list[str], tmp_path: Path) -> None:
    log(*command, tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


# -- info


def test_info(path: Path) -> None:
    found = info(path)
    life = found["last_lives"][0]["life"]
    assert found["head"] == f"{life}.5002"
    assert (found["floor"], found["entries"], found["lives"]) == (1, 5002, 1)
    assert (found["keys"], found["marks"], found["ended"]) == (0, 0, 1)
    assert (found["clean"], found["in_use"]) == (True, None)
    assert found["file_bytes"] == path.stat().st_size
    assert found["path"] == str(path)
    assert 0 <= found["newest"] - found["oldest"] < 60
    assert abs(time.time() - found["newest"]) < 600
    topics = {row["topic"]: row for row in found["topics"]}
    assert [row["events"] for row in found["topics"]] == [1666, 1667, 1667, 1]
    assert topics["orders/2"]["events"] == 1666  # its end is not an event
    assert sum(row["bytes"] for row in found["topics"]) == found["bytes"]


def test_info_as_text(path: Path) -> None:
    message = done("info", path)
    assert f"kept     5,002 entries from 1 on, {info(path)['bytes'] / 1024**2:.1f} MiB\n" in message
    assert re.search(r"^state +closed$", message, re.MULTILINE)
    assert re.search(r"^oldest +[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} UTC$", message, re.MULTILINE)
    assert re.search(r"^ +1 +[0-9]+ bytes  ü$", message, re.MULTILINE)


def test_info_names_the_20_largest_topics(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    write_log(path, [{"topic": f"t{n}", "data": "x" * n} for n in range(30)])
    assert [row["topic"] for row in info(path)["topics"]] == [f"t{n}" for n in range(29, 9, -1)]


def test_info_of_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    write_log(path, [])
    found = info(path)
    assert (found["entries"], found["oldest"], found["newest"], found["topics"]) == (0, None, None, [])
    assert "0 entries" in done("info", path)


def test_info_and_check_beside_a_running_hub(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with RunningHub(url=f"sqlite:///{path}") as hub:
        publish(hub.url, "news", "hello", key="k")
        found = info(path)
        assert (found["in_use"], found["keys"], found["entries"]) == (f"process {os.getpid()}", 1, 1)
        assert found["wal_bytes"] > 0
        assert "is sound: 1 entry" in done("check", path)
        assert [event["data"] for event in exported(path)] == ["hello"]
        publish(hub.url, "news", "again")
    assert info(path)["in_use"] is None


def test_a_log_that_was_not_closed(tmp_path: Path) -> None:
    """Part of the log is in its WAL. Reading it does not move that part."""
    path = tmp_path / "log.db"
    argv = [COMMAND, "serve", "--port", "0", "--engine", f"sqlite:///{path}"]
    with Process(argv) as server:
        url = server.wait_line(r"http://[^ /]+").group()
        publish(url, "news", "hello")
        server.stop(signal.SIGKILL)
    wal = Path(f"{path}-wal").read_bytes()
    assert "not closed cleanly" in done("info", path)
    assert "is sound: 1 entry" in done("check", path)
    assert [event["data"] for event in exported(path)] == ["hello"]
    assert Path(f"{path}-wal").read_bytes() == wal
    before = path.stat().st_size + len(wal)
    message = done("trim", path, "--entries", "1")
    assert (
        f"0 entries trimmed; the file is {(before - path.stat().st_size) / 1024:.1f} KiB smaller" in message
    )
    assert "closed\n" in done("info", path)


def test_a_hub_can_restart_its_wal_in_the_meantime(path: Path) -> None:
    """While a transaction reads, the WAL cannot be restarted."""
    free: list[bool] = []

    def restart_wal(done: int, of: int) -> None:
        db.execute("UPDATE meta SET value = 1 - value WHERE name = 'clean'")
        busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        free.append(not busy)

    db = sqlite3.connect(path, isolation_level=None, timeout=0)
    with contextlib.closing(db), contextlib.closing(ReadOnly(str(path))) as opened:
        maintenance.info(str(path), restart_wal)
        for _ in Export(opened, None, Since("start")).pages(restart_wal):
            restart_wal(0, 0)
    assert len(free) > 10
    assert all(free)


# -- check


def test_a_sound_log(path: Path) -> None:
    assert done("check", path) == f"{path} is sound: 5,002 entries, from 1 to 5002\n"


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"garbage " * 1024)


def no_database(path: Path) -> None:
    path.write_text("these are notes\n" * 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_program(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE notes (text)")


def newer(path: Path) -> None:
    change(path, "PRAGMA user_version = 99")


def a_table_is_gone(path: Path) -> None:
    change(path, "DROP TABLE marks")


def no_lives(path: Path) -> None:
    change(path, "DELETE FROM lives")


def no_floor(path: Path) -> None:
    change(path, "DELETE FROM meta WHERE name = 'floor'")


@pytest.mark.parametrize(
    "damage",
    [truncate, overwrite, no_database, empty, other_program, newer, a_table_is_gone, no_lives, no_floor],
)
def test_damage(path: Path, damage: Any) -> None:
    damage(path)
    result = log("check", path)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "is sound" not in result.output
    assert result.stderr.startswith("Error: ")
    # No traceback.
    for command in (["info"], ["export"]):
        assert type(log(*command, path).exception) in (SystemExit, type(None))


def test_text_that_is_not_utf8(path: Path) -> None:
    with path.open("r+b") as file:
        content = file.read()
        file.seek(content.index("a\0b\r\nü".encode()))
        file.write(b"\xff")
    assert log("check", path).stdout == "entry 5001 is not valid UTF-8\n"


BROKEN = {
    "a hole": ("DELETE FROM entries WHERE offset BETWEEN 17 AND 19", "entries 17 to 19 are missing"),
    "the oldest is gone": ("DELETE FROM entries WHERE offset = 1", "entry 1 is missing"),
    "below the floor": ("UPDATE meta SET value = 2 WHERE name = 'floor'", "entry 1 is below the floor 2"),
    "size": ("UPDATE entries SET size = size + 1 WHERE offset = 9", "entry 9 has 279 bytes, but 280 are"),
    "data": ("UPDATE entries SET data = data || 'x' WHERE offset = 9", "entry 9 has 280 bytes, but 279 are"),
    "sum": ("UPDATE entries SET bytes = bytes + 1 WHERE offset = 9", "the log through entry 9 has "),
    "time": ("UPDATE entries SET time = 1 WHERE offset = 9", "entry 9 is older than the one before it"),
    "trimmed bytes": ("UPDATE meta SET value = 5 WHERE name = 'trimmed_bytes'", "nothing was trimmed, but 5"),
    "clean": ("UPDATE meta SET value = 7 WHERE name = 'clean'", "the flag for a clean stop is 7"),
    "lives, a hole": ("UPDATE lives SET number = 3", "the list of lives has holes"),
    "lives, late": ("UPDATE lives SET first = 2", "the first life starts at 2, not at 1"),
    "lives, back": ("INSERT INTO lives VALUES (2, 'abcdef', 0)", "the life abcdef starts at 0"),
    "lives, ahead": (
        "INSERT INTO lives VALUES (2, 'abcdef', 9000)",
        "the life abcdef starts at 9000, beyond the head 5002",
    ),
    "lives, name": ("INSERT INTO lives VALUES (2, 'a.c', 5003)", "'a.c' is not a life"),
    "lives, double": ("INSERT INTO lives SELECT 2, life, 5003 FROM lives", "two lives have the same name"),
    "mark": ("INSERT INTO marks VALUES ('orders/1', 5)", "the mark of 'orders/1' is 5, not below"),
    "dropped mark": ("UPDATE meta SET value = 5 WHERE name = 'dropped_mark'", "the newest dropped mark is"),
    "block": (
        "DELETE FROM topic_blocks WHERE block = 1 AND topic = 'orders/1'",
        "entry 1025: its topic 'orders/1' is not recorded for its block",
    ),
    "end": (
        "UPDATE entries SET is_end = 1 WHERE offset = 4996",
        "entry 4999 comes after the end of its topic 'orders/0' at 4996",
    ),
    "key": ("INSERT INTO keys VALUES (9000, 'k', 'd', 1)", "a key points to 9000, but the head is 5002"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_check_reports_a_broken_rule(path: Path, case: str) -> None:
    statement, message = BROKEN[case]
    change(path, statement)
    result = log("check", path)
    assert result.exit_code == 1
    assert result.stdout.startswith(message) or f"\n{message}" in result.stdout
    assert re.search(r"^Error: the log .* is damaged, .*problems? found: .*\(log_damaged\)$", result.stderr)


TRIMMED = {
    "no mark": ("DELETE FROM marks WHERE offset = (SELECT max(offset) FROM marks)", "no topic has the mark "),
    "two marks": (
        "UPDATE marks SET offset = (SELECT max(offset) FROM marks)",
        "which is also another topic's",
    ),
    "bytes": (
        "UPDATE meta SET value = 0 WHERE name = 'trimmed_bytes'",
        "but 0 bytes are recorded as trimmed",
    ),
    "record of an end": (
        "INSERT INTO records VALUES ('end', 'orders/1', '', 0, 1)",
        "comes after the end of its topic 'orders/1'",
    ),
}


@pytest.mark.parametrize("case", TRIMMED)
def test_check_reports_a_broken_rule_of_a_trimmed_log(path: Path, case: str) -> None:
    done("trim", path, "--entries", "1000")
    statement, message = TRIMMED[case]
    change(path, statement)
    assert message in log("check", path).stdout


def test_many_problems_are_cut_short(path: Path) -> None:
    change(path, "UPDATE entries SET size = 1")
    result = log("check", path)
    assert len(result.stdout.splitlines()) == 100
    assert "100 or more problems" in result.stderr


# -- export


def test_export(path: Path) -> None:
    found = exported(path)
    life = found[0]["id"].partition(".")[0]
    assert [event["id"] for event in found] == [f"{life}.{number}" for number in range(1, 5003)]
    *_, last, ended = found
    assert (last["topic"], last["event"], last["data"], last["retry"]) == ("ü", "tick", "a\0b\r\nü", 700)
    assert (ended["topic"], ended["event"], ended["data"], ended["end"]) == (
        "orders/2", "hub.end", "done", True,
    )  # fmt: skip
    assert list(found[0]) == ["id", "topic", "event", "data", "time"]


@pytest.mark.parametrize(
    ("words", "offsets"),
    [
        (["--topic", "ü"], [5001]),
        (["--since", "last:2"], [5000, 5001, 5002]),  # the end is not an event
        (["--since", "last:2", "--topic", "orders/*"], [4999, 5000, 5002]),
        (["--topic", "ü", "--topic", "orders/2", "--since", "last:1"], [5001, 5002]),
        (["--since", "{life}.5001"], [5002]),
        (["--since", "{life}.5002"], []),
        (["--since", "now"], []),
        (["--since", "2000-01-01", "--topic", "ü"], [5001]),
        (["--since", "2100-01-01"], []),
    ],
)
def test_export_a_part(path: Path, words: list[str], offsets: list[int]) -> None:
    life = info(path)["last_lives"][0]["life"]
    found = exported(path, *(word.format(life=life) for word in words))
    assert [int(event["id"].partition(".")[2]) for event in found] == offsets


@pytest.mark.parametrize(
    ("since", "message"),
    [
        ("AAAAAA.7", "it belongs to another log, or to a part of this one that was lost"),
        ("{life}.7", "entries after it are no longer kept"),
        ("yesterday", "since must be: "),
    ],
)
def test_export_since_a_position_that_cannot_be_continued(path: Path, since: str, message: str) -> None:
    done("trim", path, "--entries", "1000")
    life = info(path)["last_lives"][0]["life"]
    result = log("export", path, "--since", since.format(life=life))
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_a_position_in_the_current_life_beyond_the_head(path: Path) -> None:
    life = info(path)["last_lives"][0]["life"]
    result = log("export", path, "--since", f"{life}.9000")
    assert "it is beyond the newest entry" in result.stderr


def test_a_busy_neighbour_does_not_end_an_incremental_export(path: Path) -> None:
    life = info(path)["last_lives"][0]["life"]
    done("trim", path, "--entries", "1")
    assert [event["data"] for event in exported(path, "--since", f"{life}.5001", "--topic", "ü")] == []


def test_export_to_a_file(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.ndjson"
    result = log("export", path, "--output", file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "5,002 entries exported\n")
    assert len(file.read_bytes().splitlines()) == 5002
    assert not Path(f"{file}.part").exists()


def test_a_failed_export_keeps_the_old_file(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.ndjson"
    file.write_text("yesterday's")
    overwrite(path)
    assert log("export", path, "-o", file).exit_code == 1
    assert file.read_text() == "yesterday's"
    assert not Path(f"{file}.part").exists()


@pytest.mark.parametrize("end", ["", "-wal", "-shm", ".lock"])
def test_an_export_does_not_overwrite_its_log(path: Path, end: str) -> None:
    open_log = LogFile(str(path))
    file = Path(f"{path}{end}")
    before = file.stat().st_ino
    assert log("export", path, "-o", file).exit_code == 2
    assert file.stat().st_ino == before
    open_log.close()


def test_a_device_stays_a_device(path: Path, tmp_path: Path) -> None:
    device = tmp_path / "null"
    device.symlink_to(os.devnull)
    done("export", path, "-o", device)
    assert device.is_char_device()


def test_an_output_that_cannot_be_written(path: Path, tmp_path: Path) -> None:
    result = log("export", path, "-o", tmp_path / "no" / "such" / "folder")
    assert (result.exit_code, "cannot write" in result.stderr) == (1, True)


def test_a_closed_output_is_141(path: Path) -> None:
    with subprocess.Popen(
        [COMMAND, "log", "export", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({})
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_entries_removed_during_an_export_are_reported(tmp_path: Path) -> None:
    """The export waits for its reader at the first page; in the meantime the log is trimmed."""
    path = tmp_path / "log.db"
    write_log(path, [{"topic": "t", "data": "x" * 1000} for _ in range(3000)])
    with subprocess.Popen(
        [COMMAND, "log", "export", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({})
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        done("trim", path, "--entries", "10")
        text = first + process.stdout.read()
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    offsets = [int(json.loads(line)["id"].partition(".")[2]) for line in text.splitlines()]
    missed = 3000 - len(offsets)
    assert offsets[-10:] == list(range(2991, 3001))
    assert missed > 0
    assert f"Error: {missed:,} entries were removed before they could be exported" in errors
    assert process.returncode == 1


# -- import


def without_times(found: list[Row]) -> list[Row]:
    return [row._replace(time=0) for row in found]


def test_a_log_is_restored_from_its_export(path: Path, tmp_path: Path) -> None:
    backup, new = tmp_path / "backup.ndjson", tmp_path / "new.db"
    done("export", path, "-o", backup)
    message = done("import", new, backup)
    found = info(new)
    life = found["last_lives"][0]["life"]
    assert message == (f"5,002 entries imported into {new}, first id {life}.1, last id {life}.5002\n")
    assert life not in done("info", path)
    assert without_times(rows(new)) == without_times(rows(path))
    times = zip(rows(new), rows(path), strict=True)
    assert all(abs(one.time - other.time) < 0.001 for one, other in times)
    assert (found["ended"], found["clean"]) == (1, True)
    assert done("check", new).endswith("5,002 entries, from 1 to 5002\n")
    with RunningHub(url=f"sqlite:///{new}") as hub, pytest.raises(TopicEnded):
        publish(hub.url, "orders/2", "x")


def test_an_import_continues_after_the_head(path: Path) -> None:
    before = info(path)
    message = done("import", path, "-", input=lines({"topic": "t", "data": {"a": 1}}))
    after = info(path)
    assert after["head"] in message
    assert after["head"].endswith(".5003")
    assert after["last_lives"] == [
        *before["last_lives"],
        {"life": after["head"].partition(".")[0], "first": 5003},
    ]
    assert rows(path)[-1][:3] == ("t", "message", '{"a":1}')
    assert "is sound" in done("check", path)


def test_times_never_go_backwards_or_into_the_future(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    given = [5, 3, None, 7, 1e12]
    began = time.time()
    done("import", path, "-", input=lines(*({"topic": "t", "time": moment} for moment in given)))
    times = [row.time for row in rows(path)]
    assert times[:2] == [5, 5]
    assert all(began - 1 <= moment <= time.time() + 1 for moment in times[2:])
    assert times == sorted(times)
    done("import", path, "-", input=lines({"topic": "t", "time": 9}))
    assert rows(path)[-1].time == times[-1]
    assert "is sound" in done("check", path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{nonsense", "this is not JSON: "),
        (b"7", "an event is a JSON object"),
        (b'{"topic": "a/*"}', "a topic must not have a `*`"),
        (b'{"topic": "$x"}', "belong to the hub"),
        (b'{"data": "x"}', "the topic is missing"),
        (b'{"topic": "t", "event": "hub.end"}', ""),
        (b'{"topic": "t", "end": 7}', "end must be true or false"),
        (b'{"topic": "t", "time": "now"}', "time must be a number"),
        (b'{"topic": "t", "time": true}', "time must be a number"),
        (b'{"topic": "t", "colour": 1}', "unknown field 'colour'"),
        (b'{"topic": "orders/2"}', "has ended"),
    ],
)
def test_a_bad_line_ends_the_import_and_the_error_names_it(path: Path, bad: bytes, message: str) -> None:
    good = lines({"topic": "t", "data": "x"}) * 1100
    result = log("import", path, "-", input=good + b"\n\n" + bad + b"\n" + good)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"1,100 entries imported into {path}, first id ")
    assert result.stderr.startswith("Error: line 1103: ")
    assert message in result.stderr
    assert info(path)["entries"] == 5002 + 1100
    assert "is sound" in done("check", path)


def test_a_line_that_is_too_long(tmp_path: Path) -> None:
    result = log("import", tmp_path / "log.db", "-", input=b"x" * (16 * 1024 * 1024 + 1))
    assert (result.exit_code, "is this NDJSON?" in result.stderr) == (1, True)


def test_an_event_above_the_default_limit(tmp_path: Path) -> None:
    """Its hub may have had a larger `--max-event`; its export must be importable."""
    path, data = tmp_path / "log.db", "x" * 1_000_000
    done("import", path, "-", input=lines({"topic": "t", "data": data}))
    assert exported(path)[0]["data"] == data


def test_keys_are_remembered_from_the_import_on(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    event = {"topic": "t", "data": "x", "key": "k", "time": 5}
    assert "2 entries imported" in (message := done("import", path, "-", input=lines(event) * 2))
    assert ", including 1 duplicate, " in message
    with RunningHub(url=f"sqlite:///{path}") as hub:
        assert publish(hub.url, "t", "x", key="k")["duplicate"]


def test_the_wal_of_an_import_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    sizes: list[int] = []
    file = io.BytesIO(lines({"topic": "t", "data": "x" * 3000}) * 8000)
    Import(str(path)).run(file, lambda done, of: sizes.append(Path(f"{path}-wal").stat().st_size))
    assert len(sizes) == 8
    assert max(sizes) < 12 * 1024 * 1024


def test_nothing_to_import(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    assert done("import", path, "-", input=b"") == f"0 entries imported into {path}\n"


# -- trim


def test_trim(path: Path) -> None:
    before = path.stat().st_size
    message = done("trim", path, "--entries", "100")
    after = path.stat().st_size
    assert after < before // 4
    assert message == (
        f"4,902 entries trimmed; the file is {(before - after) / 1024:.1f} KiB smaller,"
        f" {after / 1024:.1f} KiB now\n"
    )
    found = info(path)
    assert (found["entries"], found["floor"], found["marks"], found["clean"]) == (100, 4903, 3, True)
    assert done("check", path) == f"{path} is sound: 100 entries, from 4903 to 5002\n"


def test_a_client_that_resumes_from_trimmed_entries_gets_a_gap(path: Path) -> None:
    life = info(path)["last_lives"][0]["life"]
    done("trim", path, "--entries", "1")
    assert info(path)["ended"] == 1
    with RunningHub(url=f"sqlite:///{path}") as hub:
        with connect(hub.url, topics=["ü"], last_event_id=f"{life}.7") as events:
            gap = next(events)
        with connect(hub.url, topics=["other"], last_event_id=f"{life}.7") as events:
            publish(hub.url, "other", "no gap")
            event = next(events)
    assert (gap.event, gap.json()["reason"]) == ("hub.gap", "trimmed")
    assert event.data == "no gap"


def test_trim_by_bytes(path: Path) -> None:
    done("trim", path, "--bytes", "100000")
    assert 99_000 < info(path)["bytes"] <= 100_000


def test_trim_by_age(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    old, new = {"topic": "t", "data": "old", "time": 5}, {"topic": "t", "data": "new"}
    done("import", path, "-", input=lines(old) * 20 + lines(new) * 10)
    assert "20 entries trimmed" in done("trim", path, "--age", "12h")
    assert [row.data for row in rows(path)] == ["new"] * 10


def test_trim_also_frees_the_space_of_entries_removed_earlier(path: Path) -> None:
    """Retention frees pages inside the file but does not shrink it."""
    write_log(path, [{"topic": "t"}] * 2000, retention_entries=10)
    before = path.stat().st_size
    assert "0 entries trimmed" in done("trim", path, "--entries", "1000000")
    assert path.stat().st_size < before // 2


@pytest.mark.parametrize("command", [["trim", "--entries", "1"], ["import", "-"]])
def test_a_log_in_use_is_refused(path: Path, command: list[str]) -> None:
    with RunningHub(url=f"sqlite:///{path}"):
        name, *words = command
        result = log(name, path, *words, input=b'{"topic": "t"}\n')
        assert result.exit_code == 1
        assert f"is in use by process {os.getpid()}; stop it" in result.stderr
        assert info(path)["entries"] == 5002


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tidewire-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    # Lazily: this process keeps a descriptor of the log.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_no_room_to_shrink_the_file(small_disk: Path) -> None:
    path = small_disk / "log.db"
    write_log(path, [{"topic": "t", "data": "x" * 1000}] * 4000)
    (small_disk / "others").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 2 * 1024 * 1024))
    result = log("trim", path, "--entries", "3000")
    assert result.exit_code == 3, result.output
    assert result.stdout.startswith("1,000 entries trimmed; the file is 0 bytes smaller")
    assert "of free disk for a moment" in result.stderr
    assert "is sound: 3,000 entries" in done("check", path)


# -- a copy


def test_a_restored_copy_reuses_no_id_and_sends_a_gap(tmp_path: Path) -> None:
    """The copy is made while a hub is running and publishes more; later it replaces the log."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    with RunningHub(url=f"sqlite:///{path}") as hub:
        kept = publish(hub.url, "news", "before")["id"]
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("VACUUM INTO ?", (str(copy),))
        lost = publish(hub.url, "news", "after")["id"]
        end(hub.url, "other")
    assert "is sound: 1 entry" in done("check", copy)
    with RunningHub(url=f"sqlite:///{copy}") as hub:
        new = publish(hub.url, "news", "instead")["id"]
        with connect(hub.url, topics=["news"], last_event_id=lost) as events:
            gap, event = next(events), next(events)
        with connect(hub.url, topics=["news"], last_event_id=kept) as events:
            assert next(events).data == "instead"
    assert new not in (kept, lost)
    assert (gap.event, gap.json()["reason"], event.id) == ("hub.gap", "foreign", new)


# -- progress


def test_progress_on_a_terminal(path: Path, tmp_path: Path) -> None:
    terminal, other = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        with os.fdopen(other, "wb", buffering=0) as stderr:
            subprocess.run(
                [COMMAND, "log", "export", path, "-o", tmp_path / "out"],
                stderr=stderr,
                env=environment({}),
                timeout=PATIENCE,
                check=True,
            )
            shown = screen.read(4096)
    assert re.match(rb"\r\x1b\[K[\d,]+ of 5,002 entries exported", shown)
    assert shown.endswith(b"\r\x1b[K5,002 entries exported\r\n")


def test_no_progress_between_the_lines_of_an_export(path: Path) -> None:
    terminal, other = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        with os.fdopen(other, "wb", buffering=0) as both:
            subprocess.run(
                [COMMAND, "log", "export", path, "--topic", "ü"],
                stdout=both,
                stderr=both,
                env=environment({}),
                timeout=PATIENCE,
                check=True,
            )
            shown = screen.read(4096)
    assert b"\x1b" not in shown
    assert shown.endswith(b"1 entry exported\r\n")


def test_interrupted(tmp_path: Path) -> None:
    """The lines read so far are stored and counted, and the log is closed cleanly."""
    path = tmp_path / "log.db"
    with running(tmp_path, "log", "import", path, "-", stdin=subprocess.PIPE) as command:
        stdin = command.process.stdin
        assert stdin is not None
        stdin.write(lines({"topic": "t"}) * 1500)
        stdin.flush()
        while not path.exists() or not rows_or_none(path):
            assert command.process.poll() is None
            time.sleep(0.01)
        assert command.interrupt() == 130
        message = command.output
    found = info(path)
    assert message.startswith(f"{found['entries']:,} entries imported into ")
    assert 1000 <= found["entries"] <= 1500
    assert found["clean"]


def rows_or_none(path: Path) -> list[Row]:
    try:
        return rows(path)
    except sqlite3.OperationalError:  # the file is being created
        return []
