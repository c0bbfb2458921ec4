from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.command import COMMAND, environment, running, tidewire
from support.ports import free_port
from support.running_hub import RunningHub
from support.scripted import HOLD, Scripted, answer, stream
from support.waiting import PATIENCE
from tidewire import __version__
from tidewire.cli import main
from tidewire.client.sync import end, publish

# The shortest wait between two connections.
SOON = b"retry: 500\n\n"

TWO = stream(SOON, b"id: 1\ndata: a\n\nevent: tick\nid: 2\ndata: b\ndata: c\n\n", HOLD)


# -- the command itself


def test_help_imports_no_command() -> None:
    code = "import sys; from tidewire.cli import main; main(['--help'], standalone_mode=False)"
    check = "; assert not {'httpx2', 'uvicorn', 'orjson'} & set(sys.modules), sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    for name in ("serve", "demo", "publish", "listen"):
        assert re.search(rf"^  {name} +\w", done.stdout, re.MULTILINE)


def test_version() -> None:
    done = tidewire("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"tidewire {__version__} (SQLite {sqlite3.sqlite_version}, CPython 3.")


def test_a_mistyped_command_or_option() -> None:
    result = CliRunner().invoke(main, ["lissten"])
    assert result.exit_code == 2
    assert "Did you mean 'listen'?" in result.output
    result = CliRunner().invoke(main, ["listen", "--evnt", "x"])
    assert result.exit_code == 2
    assert "Did you mean" in result.output


@pytest.mark.parametrize(
    ("line", "offered"), [("tidewire lis", "plain,listen\n"), ("tidewire listen --ev", "plain,--event\n")]
)
def test_completion(line: str, offered: str) -> None:
    at = str(len(line.split()) - 1)
    env = {"_TIDEWIRE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": at}
    assert tidewire(env=env).stdout == offered


@pytest.mark.parametrize("words", [["--help"], ["listen", "--help"], ["publish", "-h"]])
def test_help_names_the_exit_codes(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0
    for code in (0, 1, 2, 3, 130, 141):
        assert re.search(rf"^ +{code}  +\w", result.output, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["listen"], "give at least one TOPIC"),
        (["listen", "http://a/", "b"], "an SSE endpoint must be the only argument"),
        (["listen", "http://a/", "--topic", "b"], "an SSE endpoint must be the only argument"),
        (["listen", "http://a/", "https://b/"], "an SSE endpoint must be the only argument"),
        (["listen", "a", "--raw", "--count", "1"], "cannot be used together"),
        (["listen", "a", "--raw", "--event", "x"], "--event and --raw cannot be used together"),
        (["listen", "a", "--count", "0"], "Invalid value"),
        (["listen", "a", "-H", "nonsense"], "NAME: VALUE"),
        (["lissen"], "No such command"),
    ],
)
def test_a_wrong_command_line_is_2(words: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert complaint in result.output


# -- the output


def test_pretty() -> None:
    with Scripted(TWO) as server:
        done = tidewire("listen", server.url + "/some/where?secret=s", "-n", "2")
    assert done.returncode == 0
    assert re.fullmatch(r"\d\d:\d\d:\d\d  1  a\n\d\d:\d\d:\d\d  2  tick  b\n    c\n", done.stdout)
    assert done.stderr == f"connected to {server.url}/some/where\n"


@pytest.mark.parametrize(("types", "wanted"), [(["tick"], ["b"]), (["message", "tock"], ["a", "c"])])
def test_only_events_of_some_types(types: list[str], wanted: list[str]) -> None:
    three = stream(SOON, b"data: a\n\nevent: tick\ndata: b\n\nevent: tock\ndata: c\n\n", HOLD)
    options = [word for name in types for word in ("--event", name)]
    with Scripted(three) as server:
        done = tidewire("listen", server.url, "--json", *options, "--count", str(len(wanted)))
    assert [json.loads(line)["data"] for line in done.stdout.splitlines()] == wanted


def test_json() -> None:
    script = stream('id: 1\ntopic: x/y\ndata: {"n": "…"}\n\ndata: \x01\n\n'.encode(), HOLD)
    with Scripted(script) as server:
        done = tidewire("listen", server.url, "--json", "--count", "2")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"id": "1", "topic": "x/y", "event": "message", "data": '{"n": "…"}'},
        {"id": "1", "topic": None, "event": "message", "data": "\x01"},
    ]


@pytest.mark.parametrize(
    ("terms", "topic"),
    [(["a"], "a"), (["a", "a"], "a"), (["a", "b"], None), (["*"], None), (["-t", "http://a"], "http://a")],
)
def test_json_names_the_only_topic(terms: list[str], topic: str | None) -> None:
    with Scripted(stream(b"data: x\n\n", HOLD)) as server:
        done = CliRunner().invoke(main, ["listen", *terms, "--url", server.url, "--json", "-n", "1"])
    assert json.loads(done.stdout)["topic"] == topic


def test_raw() -> None:
    body = SOON + b": hello\r\n\r\nid: 1\ndata: \xff\n\n\xf0\x9f"
    with Scripted(stream(body)) as server:
        done = subprocess.run(
            [COMMAND, "listen", server.url, "--raw"],
            capture_output=True,
            timeout=PATIENCE,
            env=environment({}),
        )
    assert done.stdout == body
    assert done.returncode == 0


def test_control_characters_are_escaped() -> None:
    evil = "\x1b]0;owned\x07\x9b31m\u202eabc\t👩\u200d👩"
    script = stream(f"event: \x1b[2J\nid: \x08\ndata: {evil}\n\n".encode(), HOLD)
    with Scripted(script) as server:
        done = tidewire("listen", server.url, "-n", "1")
    assert done.stdout[8:] == "  \\x08  \\x1b[2J  \\x1b]0;owned\\x07\\x9b31m\\u202eabc\t👩\u200d👩\n"


def on_a_terminal(*words: str, env: dict[str, str]) -> bytes:
    """Run the command with a terminal for stdout, and return what it writes there."""
    terminal, other = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        with os.fdopen(other, "wb", buffering=0) as stdout:
            subprocess.run(
                [COMMAND, *words],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                env=environment(env),
                timeout=PATIENCE,
                check=True,
            )
            return screen.read(4096)


def test_colour_on_a_terminal() -> None:
    with Scripted(TWO, TWO) as server:
        assert b"\x1b[1mtick\x1b[0m" in on_a_terminal("listen", server.url, "-n", "2", env={})
        assert b"\x1b" not in on_a_terminal("listen", server.url, "-n", "2", env={"NO_COLOR": "1"})


# -- the request


def test_topics_are_requested_from_the_hub() -> None:
    with Scripted() as server:
        words = ["listen", "a/*", "b", "--topic", "http://c/", "--since", "last:5", "--last-event-id", "L.1"]
        done = tidewire(*words, "-H", "Authorization: Bearer x", env={"TIDEWIRE_URL": server.url + "/hub"})
    assert done.returncode == 0
    request = server.requests[0]
    assert (
        request.target
        == "/hub/events?topic=a%2F%2A&topic=b&topic=http%3A%2F%2Fc%2F&control=open&since=last%3A5"
    )
    assert request.get("Last-Event-ID") == b"L.1"
    assert request.get("Authorization") == b"Bearer x"


def test_an_endpoint_is_requested_unchanged() -> None:
    with Scripted() as server:
        done = tidewire("listen", server.url + "/x?topic=y", env={"TIDEWIRE_URL": "http://127.0.0.1:1"})
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "the server ended the stream for good (204)\n"
    assert server.requests[0].target == "/x?topic=y"


def test_it_reconnects_and_resumes() -> None:
    with Scripted(stream(SOON, b"id: 7\ndata: a\n\n"), answer("503 Full"), stream(b"data: b\n\n")) as server:
        done = tidewire("listen", server.url, "--json")
    assert [json.loads(line)["data"] for line in done.stdout.splitlines()] == ["a", "b"]
    assert [request.get("Last-Event-ID") for request in server.requests] == [None, b"7", b"7", b"7"]
    message = re.sub(r"\d\.\d s", "N s", done.stderr.replace(server.url, "URL"))
    assert message.splitlines() == [
        "connected to URL/",
        "the server ended the stream; retrying in N s",
        "URL answered 503 Full; retrying in N s",
        "connected to URL/",
        "the server ended the stream; retrying in N s",
        "the server ended the stream for good (204)",
    ]


def test_quiet() -> None:
    with Scripted() as server:
        assert tidewire("listen", server.url, "-q").stderr == ""


def test_hub_events_are_described_on_stderr() -> None:
    script = stream(
        b'event: hub.gap\nid: L.5\ndata: {"reason":"trimmed","requested":"L.1"}\n\n',
        b'event: hub.gap\nid: L.5\ndata: {"reason":"invalid"}\n\n',
        b'event: hub.end\ndata: {"topic":"t\\u001b","reason":"over"}\n\n',
        b'event: hub.error\ndata: {"code":"internal"}\n\n',
        b"event: hub.gap\nid: L.6\ndata: [not json\n\n",
        b"data: last\n\n",
        HOLD,
    )
    with Scripted(script, script) as server:
        done = tidewire("listen", server.url, "-n", "1")
        as_json = tidewire("listen", server.url, "-n", "1", "--json")
    assert done.stderr.splitlines()[1:] == [
        "gap (trimmed): events after L.1 are missing; continuing from L.5",
        "gap (invalid): events are missing; continuing from L.5",
        "the topic t\\x1b has ended (over)",
        "the server failed to produce the next event (internal)",
        "gap (None): events are missing; continuing from L.6",
    ]
    assert done.stdout[8:] == "  L.6  last\n"
    assert [json.loads(line)["event"] for line in as_json.stdout.splitlines()][:3] == [
        "hub.gap",
        "hub.gap",
        "hub.end",
    ]


# -- how it exits


def test_a_refusal_is_1_with_one_line() -> None:
    body = b'{"code":"invalid_topic","detail":"no such\\nthing"}'
    with Scripted(answer("400 Bad Request", body=body)) as server:
        done = tidewire("listen", "a", "--url", server.url)
    assert done.returncode == 1
    assert done.stderr == f"Error: {server.url} answered 400 Bad Request: no such\\nthing (invalid_topic)\n"


def test_an_expired_token_is_1() -> None:
    with Scripted(stream(b'event: hub.auth\ndata: {"reason":"expired"}\n\n', HOLD)) as server:
        done = tidewire("listen", server.url)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: the token is no longer valid (expired) (token_ended)"


def test_an_html_page_is_1() -> None:
    with Scripted(stream(b"<html>", content_type="text/html")) as server:
        done = tidewire("listen", server.url)
    assert done.returncode == 1
    assert "text/html" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_url_is_1() -> None:
    done = tidewire("listen", "a", "--url", "localhost:8000")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: not an http:// or https:// URL: 'localhost:8000' (invalid_url)\n"


def test_fewer_events_than_count_is_1() -> None:
    with Scripted(stream(SOON, b"data: a\n\n")) as server:
        done = tidewire("listen", server.url, "-n", "2")
    assert done.returncode == 1
    assert done.stderr.endswith("Error: the stream ended after 1 of 2 events\n")


def test_it_waits_for_a_hub_until_it_is_interrupted(tmp_path: Path) -> None:
    with running(tmp_path, "listen", "a", "--url", f"http://127.0.0.1:{free_port()}") as command:
        command.wait_errors("connection refused; retrying in ")
        command.wait_errors("`tidewire serve`")
        assert command.interrupt() == 130
        assert command.errors.count("\n") == 1
        assert command.output == ""


def test_an_interrupted_stream_is_130(tmp_path: Path) -> None:
    with Scripted(TWO) as server, running(tmp_path, "listen", server.url) as command:
        command.wait_output("tick")
        assert command.interrupt() == 130
        assert command.errors == f"connected to {server.url}/\n"


def test_a_closed_output_is_141(tmp_path: Path) -> None:
    gone = threading.Event()
    script = stream(b"data: a\n\n", gone, *[b"data: b\n\n"] * 100, HOLD)
    with (
        Scripted(script) as server,
        running(tmp_path, "listen", server.url, stdout=subprocess.PIPE) as command,
    ):
        assert command.process.stdout is not None
        assert command.process.stdout.readline().endswith(b"a\n")
        command.process.stdout.close()
        gone.set()
        assert command.process.wait(PATIENCE) == 141
        assert command.errors == f"connected to {server.url}/\n"


# -- with a real hub


@pytest.fixture
def hub() -> Iterator[RunningHub]:
    with RunningHub() as running_hub:
        yield running_hub


def test_listening_to_a_hub(hub: RunningHub, tmp_path: Path) -> None:
    with running(tmp_path, "listen", "orders/*", "news", "--url", hub.url, "--json") as command:
        command.wait_errors("connected to ")
        ids = [
            publish(hub.url, "orders/7", {"status": "paid"}, event="status")["id"],
            publish(hub.url, "news", "x")["id"],
        ]
        command.wait_output('"x"')
        lines = [json.loads(line) for line in command.output.splitlines()]
        assert lines == [
            {"id": ids[0], "topic": "orders/7", "event": "status", "data": '{"status":"paid"}'},
            {"id": ids[1], "topic": "news", "event": "message", "data": "x"},
        ]
        hub.restart()
        command.wait_errors("gap (foreign): events after " + ids[1])
        publish(hub.url, "news", "after the gap")
        command.wait_output("after the gap")


def test_an_ended_topic_ends_the_command(hub: RunningHub) -> None:
    publish(hub.url, "t", "a")
    end(hub.url, "t")
    done = tidewire("listen", "t", "--url", hub.url, "--since", "start")
    assert done.returncode == 0
    assert done.stdout.endswith("  a\n")
    assert "the topic t has ended (ended)" in done.stderr
