from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.command import COMMAND, environment, running, tidewire
from support.ports import free_port
from support.running_hub import RunningHub
from support.scripted import Action, Request, Scripted, answer
from support.waiting import PATIENCE
from tidewire.cli import main
from tidewire.client.sync import connect

RECEIPT = b'{"id":"L.1","duplicate":false,"durability":"memory"}'
ACCEPT = answer("200 OK", body=RECEIPT)


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningHub]:
    with RunningHub() as running_hub:
        yield running_hub


@pytest.mark.parametrize(
    "words",
    [
        ["publish"],
        ["publish", "t"],
        ["publish", "t", "d", "--ndjson"],
        ["publish", "t", "--ndjson", "-", "--event", "e"],
        ["publish", "--ndjson", "no/such/file"],
        ["publish", "t", "d", "--retry", "x"],
    ],
)
def test_a_wrong_command_line_is_2(words: list[str]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 2


# -- one event


def test_publish_prints_the_id(hub: RunningHub) -> None:
    done = tidewire("publish", "one", "hello", "--url", hub.url)
    assert (done.returncode, done.stderr) == (0, "")
    with connect(hub.url, topics=["one"], since="start") as events:
        event = next(events)
    assert (event.data, event.id) == ("hello", done.stdout.strip())


def test_all_options() -> None:
    with Scripted(ACCEPT) as server:
        words = ["a b", "d", "-e", "tick", "--key", "k", "--retry", "700", "--json"]
        done = tidewire("publish", *words, env={"TIDEWIRE_URL": server.url})
    assert json.loads(done.stdout) == json.loads(RECEIPT)
    sent = {"topic": "a b", "data": "d", "event": "tick", "key": "k", "retry": 700}
    assert json.loads(server.requests[0].body) == sent


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b"x\n", "x"),
        (b"x\r\n", "x"),
        (b"x\n\n", "x\n"),
        (b"x\ny", "x\ny"),
        (b"x\r", "x\r"),
        (b"", ""),
        ("ü\n".encode(), "ü"),
    ],
)
def test_data_from_stdin_loses_its_last_line_end(given: bytes, sent: str) -> None:
    with Scripted(ACCEPT) as server:
        done = CliRunner().invoke(main, ["publish", "t", "-", "--url", server.url], input=given)
    assert done.exit_code == 0
    assert json.loads(server.requests[0].body)["data"] == sent


def test_data_that_is_not_utf8() -> None:
    done = tidewire("publish", "t", "-", "--url", "http://127.0.0.1:1", input=b"ab\xff")
    assert (done.returncode, done.stderr) == (1, "Error: stdin is not valid UTF-8 (byte 3) (invalid_utf8)\n")


def test_no_hub_is_3_with_advice() -> None:
    port = free_port()
    done = tidewire("publish", "t", "d", "--url", f"http://127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"Error: no answer from http://127.0.0.1:{port}: connection refused. "
        "Start a hub with `tidewire serve`, or pass its URL with --url.\n"
    )


def test_a_refusal_of_the_hub_is_1(hub: RunningHub) -> None:
    done = tidewire("publish", "a/*", "d", "--url", hub.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: .*\(invalid_topic\)\n", done.stderr)


@pytest.mark.parametrize(
    ("status", "code"), [("404 Not Found", 1), ("429 Many", 3), ("502 Bad", 3), ("503 Full", 3)]
)
def test_a_temporary_failure_is_3(status: str, code: int) -> None:
    with Scripted(answer(status, body=b"<html>")) as server:
        done = CliRunner().invoke(main, ["publish", "t", "d", "--url", server.url])
    assert (done.exit_code, done.stderr) == (code, f"Error: {server.url} answered {status}\n")


# -- many events


def line(topic: str | None, data: object) -> bytes:
    return json.dumps({"topic": topic, "data": data} if topic else {"data": data}).encode() + b"\n"


def test_ndjson_from_a_file(hub: RunningHub, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"".join(line("file", str(n)) for n in range(2500)))
    with connect(hub.url, topics=["file"]) as events:
        done = tidewire("publish", "--url", hub.url, "--ndjson", file)
        received = [next(events) for _ in range(2500)]
    assert done.returncode == 0
    assert [event.data for event in received] == [str(n) for n in range(2500)]
    receipts = [json.loads(text) for text in done.stdout.splitlines()]
    assert (receipts[0]["lines"][0], receipts[-1]["lines"][1]) == (1, 2500)
    assert all(one["lines"][1] + 1 == two["lines"][0] for one, two in pairwise(receipts))
    last = received[-1].id
    assert re.fullmatch(rf"2,500 events published in \d+\.\d s \([\d,]+/s\), last id {last}\n", done.stderr)


def test_a_topic_for_lines_without_one(hub: RunningHub) -> None:
    lines = line(None, "a") + line("other", "b") + line(None, {"c": "ü"}).rstrip()
    with connect(hub.url, topics=["mine", "other"]) as events:
        done = tidewire("publish", "mine", "--ndjson", "--url", hub.url, input=lines)
        received = [next(events) for _ in range(3)]
    assert done.returncode == 0
    assert [(event.topic, event.data) for event in received] == [
        ("mine", "a"),
        ("other", "b"),
        ("mine", '{"c":"ü"}'),
    ]


def test_slow_lines_are_sent_as_they_arrive(hub: RunningHub, tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with running(tmp_path, "publish", "--ndjson", "--url", hub.url, **pipes) as command:
        stdin, stdout = command.process.stdin, command.process.stdout
        assert stdin is not None
        assert stdout is not None
        for number in range(1, 4):
            stdin.write(line("slow", number))
            stdin.flush()
            assert json.loads(stdout.readline())["lines"] == [number, number]
        stdin.close()
        assert command.process.wait(PATIENCE) == 0
        assert command.errors.startswith("3 events published ")


@pytest.mark.parametrize(
    ("bad", "code"),
    [(b"{nonsense\n", "invalid_json"), (line("a/*", "x"), "invalid_topic"), (b"\xff\n", "invalid")],
)
def test_the_error_names_a_bad_line_and_those_before_it_are_stored(
    hub: RunningHub, bad: bytes, code: str
) -> None:
    lines = line("bad", "1") + b"\n\r\n" + line("bad", "2") + bad + line("bad", "3")
    done = tidewire("publish", "--ndjson", "--url", hub.url, input=lines)
    assert done.returncode == 1
    assert json.loads(done.stdout)["lines"] == [1, 4]
    summary, error = done.stderr.splitlines()
    assert summary.startswith("2 events published ")
    assert re.fullmatch(rf"Error: line 5: .*\({code}.*\)", error)


def test_duplicates_are_counted(hub: RunningHub) -> None:
    keyed = b'{"topic":"dup","data":"x","key":"k"}\n'
    done = tidewire("publish", "--ndjson", "--url", hub.url, input=keyed * 3)
    assert "3 events published " in done.stderr
    assert ", including 2 duplicates, last id " in done.stderr


def test_no_lines_at_all() -> None:
    done = tidewire("publish", "--ndjson", "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("0 events published ")


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """If stderr is a terminal and stdout is not, one line on stderr is rewritten."""

    def slowly(request: Request) -> list[Action]:
        count = request.body.count(b"\n") + 1
        return answer("200 OK", body=b'{"lines":[1,%d],"first":"L.1","last":"L.9","duplicates":0}\n' % count)

    file = tmp_path / "events.ndjson"
    file.write_bytes(b'{"data":1}\n' * 3000)
    terminal, other = os.openpty()
    with Scripted(*[slowly] * 3) as server, os.fdopen(terminal, "rb", buffering=0) as screen:
        with os.fdopen(other, "wb", buffering=0) as stderr:
            subprocess.run(
                [COMMAND, "publish", "t", "--url", server.url, "--ndjson", file],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment({}),
                timeout=PATIENCE,
                check=True,
            )
            shown = screen.read(4096)
    steps = re.findall(rb"\r\x1b\[K([\d,]+) events published", shown)
    assert steps == [b"1,000", b"2,000", b"3,000", b"3,000"]
