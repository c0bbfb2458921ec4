"""`tidewire doctor` on endpoints that have one fault each, on good ones, and on servers of others."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Annotated, Any

import pytest
from click.testing import CliRunner
from fastapi import FastAPI, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sse_starlette import EventSourceResponse as SseStarletteResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from support.bad_endpoints import bad_endpoints
from support.command import tidewire
from support.documents import serving
from support.ports import free_port
from support.running_hub import RunningHub
from tidewire.cli import main
from tidewire.client.sync import publish
from tidewire.doctor import checks
from tidewire.doctor.blocks import blocks_of
from tidewire.doctor.clients import readings
from tidewire.doctor.seen import Piece, Transfer
from tidewire.doctor.timestamps import time_of

WAIT = ["--wait", "2"]


@pytest.fixture(scope="module")
def endpoints() -> Iterator[str]:
    with bad_endpoints() as url:
        yield url


def report_of(url: str, *words: str) -> dict[str, Any]:
    done = tidewire("doctor", url, "--json", *(words or WAIT))
    assert done.stderr == "", done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if report["findings"] else 0)
    return report


def codes(report: Mapping[str, Any]) -> list[str]:
    return [finding["code"] for finding in report["findings"]]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("good", []),
        ("ended", []),
        ("gzip-flushed", []),
        ("no-ids", ["no_ids"]),
        ("retry-block", ["retry_block"]),
        ("forgetful", ["resume_ignored"]),
        ("repeating", ["repeats"]),
        ("buffered", ["held_back"]),
        ("gzip", ["gzip"]),
        ("gzip-in-parts", ["gzip"]),
        ("silent", ["nothing"]),
        ("page", ["content_type"]),
        ("cached", ["cache_control"]),
    ],
)
def test_each_fault_is_found_and_nothing_else(endpoints: str, path: str, found: list[str]) -> None:
    report = report_of(f"{endpoints}/{path}")
    assert codes(report) == found, report
    assert all(finding["what"] and finding["advice"] for finding in report["findings"])


def test_events_that_a_proxy_passes_on_once_a_second(endpoints: str) -> None:
    report = report_of(f"{endpoints}/batched", "--wait", "4")
    assert codes(report) == ["held_back"]
    assert report["findings"][0]["what"].startswith("10 events came together that were made ")


def test_a_stream_that_is_compressed_in_parts(endpoints: str) -> None:
    (finding,) = report_of(f"{endpoints}/gzip-in-parts")["findings"]
    assert finding["what"].endswith("browsers read only the first: 1 event")


def test_a_greeting_is_not_a_heartbeat(endpoints: str) -> None:
    assert any("heartbeat was not tested" in note for note in report_of(f"{endpoints}/good")["not_tested"])


def test_the_proxy_is_named(endpoints: str) -> None:
    (finding,) = report_of(f"{endpoints}/buffered")["findings"]
    assert "via: 1.1 slow-proxy" in finding["advice"]


def test_a_stream_that_starts_again_after_its_end(endpoints: str) -> None:
    report = report_of(f"{endpoints}/no-204")
    assert "no_204" in codes(report)
    assert report["end"] == "ended"


def test_a_stream_that_breaks_off(endpoints: str) -> None:
    report = report_of(f"{endpoints}/cut")
    assert codes(report)[0] == "cut"
    assert report["end"] == "cut"


@pytest.mark.parametrize(
    ("path", "origin", "found"),
    [
        ("cors", "https://a.example", []),
        ("cors", "https://b.example", ["cors"]),
        ("good", "https://a.example", ["cors"]),
    ],
)
def test_pages_of_another_origin(endpoints: str, path: str, origin: str, found: list[str]) -> None:
    assert codes(report_of(f"{endpoints}/{path}", *WAIT, "--origin", origin)) == found


def test_a_hub_is_good() -> None:
    with RunningHub() as hub, publishing(hub.url):
        report = report_of(f"{hub.url}/events/news")
        assert codes(report) == [], report
        assert codes(report_of(f"{hub.url}/events/news?control=none")) == []
    assert report["events"] > 2


@contextmanager
def publishing(url: str) -> Iterator[None]:
    """Publish all the time."""
    over = threading.Event()

    def run() -> None:
        number = 0
        while not over.wait(0.1):
            number += 1
            publish(url, "news", {"number": number})

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# -- servers of others: what is found there is so, and nothing is missing


async def from_sse_starlette(request: Request) -> Response:
    async def numbers() -> AsyncIterator[dict[str, str]]:
        for number in count(int(request.headers.get("last-event-id", "0")) + 1):
            yield {"id": str(number), "data": str(number)}
            await asyncio.sleep(0.05)

    return SseStarletteResponse(numbers())


def fastapi_program() -> FastAPI:
    app = FastAPI()

    @app.get("/resuming", response_class=EventSourceResponse)
    async def resuming(last_event_id: Annotated[int, Header()] = 0) -> AsyncIterator[ServerSentEvent]:
        for number in count(last_event_id + 1):
            yield ServerSentEvent(data=number, id=str(number))
            await asyncio.sleep(0.05)

    @app.get("/finite", response_class=EventSourceResponse)
    async def finite() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    return app


def test_sse_starlette() -> None:
    with serving(Starlette(routes=[Route("/", from_sse_starlette)])) as url:
        assert codes(report_of(url)) == []


def test_fastapi() -> None:
    with serving(fastapi_program()) as url:
        assert codes(report_of(f"{url}/resuming")) == []
        report = report_of(f"{url}/finite")
        assert codes(report) == ["no_ids", "no_204"]
        assert report["findings"][1]["what"].endswith("when the client came back")


# -- what it prints


def test_the_report_for_people(endpoints: str) -> None:
    done = tidewire("doctor", f"{endpoints}/no-ids", *WAIT)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(
        "200 text/event-stream, HTTP/1.1: a browser opens at most six such streams\n"
    )
    assert "warning: no event has an id\n  Send `id:` with each event" in done.stdout
    assert "pages of other origins were not tested: pass --origin" in done.stdout
    assert "openai and anthropic for Python: 10 messages" in done.stdout


def test_a_server_that_is_not_there() -> None:
    done = tidewire("doctor", f"http://127.0.0.1:{free_port()}/events")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot reach http://127.0.0.1:")


def test_a_head_may_come_later_than_one_waits_for_events(endpoints: str) -> None:
    assert codes(report_of(f"{endpoints}/late", "--wait", "1")) == ["late_head"]


def test_a_server_that_sends_no_head(endpoints: str) -> None:
    done = tidewire("doctor", f"{endpoints}/headless", *WAIT)
    assert done.returncode == 1
    assert done.stderr.endswith("/headless did not respond within 10 s, not even with a head\n"), done.stderr


def test_what_a_server_sends_cannot_write_to_the_terminal(endpoints: str) -> None:
    done = tidewire("doctor", f"{endpoints}/escapes", *WAIT)
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    "words", [["doctor"], ["doctor", "example.org"], ["doctor", "http://x", "--wait", "0"]]
)
def test_a_wrong_command_line_is_2(words: list[str]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 2


# -- judging, without waiting for it


def stream(*pieces: tuple[float, bytes], through: float = 20.0, **headers: str) -> Transfer:
    head = {"content-type": "text/event-stream", "cache-control": "no-store"}
    found = [Piece(at, data) for at, data in pieces]
    return Transfer("http://x", 200, "HTTP/1.1", {**head, **headers}, 0.0, found, "open", through)


@pytest.mark.parametrize(
    ("times", "found"), [([0.0, 15.0], []), ([0.0, 1.0], ["no_heartbeat"]), ([0.0, 17.0], ["no_heartbeat"])]
)
def test_a_missing_heartbeat(times: list[float], found: list[str]) -> None:
    seen = stream(*((at, b":\n\n") for at in times))
    assert [finding.code for finding in checks.check_heartbeat(seen)] == found


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, []),
        ({"content-type": "text/event-stream; charset=UTF-8"}, []),
        ({"content-type": "text/event-stream; charset=latin-1"}, ["charset"]),
        ({"content-length": "100"}, ["content_length"]),
    ],
)
def test_heads(headers: dict[str, str], found: list[str]) -> None:
    assert [finding.code for finding in checks.check_head(stream(**headers))] == found


def test_old_events_at_the_beginning_are_a_replay() -> None:
    old = b"".join(b'id: %d\ndata: {"at": %d}\n\n' % (n, 1_700_000_000 + n) for n in range(5))
    for at, found in ((0.1, []), (5.0, ["held_back"])):
        seen = stream((0.0, b":\n\n"), (at, old))
        assert [f.code for f in checks.check_buffering(seen, blocks_of(seen.pieces))] == found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ('{"at": "2026-01-02T03:04:05.5+00:00"}', 1767323045.5),
        ('{"ts": 1767323045}', 1767323045.0),
        ('{"ts": 1767323045250}', 1767323045.25),
        ('{"ts": 1767323045.5}', 1767323045.5),
        ("no time, 12345", None),
        ("2026-13-99T03:04:05Z", None),
    ],
)
def test_times_in_events(data: str, expected: float | None) -> None:
    (block,) = blocks_of([Piece(0.0, b"data: %b\n\n" % data.encode())]).found
    assert time_of(block) == expected


def test_blocks_have_everything_that_was_sent() -> None:
    pieces = [
        Piece(0.0, b"retry: 1\r\n\r"),
        Piece(0.1, b"\n: note\r\rid: 7\nda"),
        Piece(0.2, b"ta: a\ndata\n\n\n"),
    ]
    blocks, cuts = blocks_of(pieces)
    assert [block.fields for block in blocks] == [
        (("retry", "1"),),
        (("", "note"),),
        (("id", "7"), ("data", "a"), ("data", "")),
    ]
    assert [block.at for block in blocks] == [0.1, 0.1, 0.2]
    assert cuts == [0.0, 0.1]
    assert [(event.id, event.data) for event in blocks_of(pieces).events] == [("7", "a\n")]


def test_what_clients_make_of_the_blocks() -> None:
    text = b': hi\n\nevent: token\nid: 1\ndata: {"a": 1}\n\n: hi\n\ndata: no json\n\n'
    found = readings(blocks_of([Piece(0.0, text)]).found)
    assert [(reading.messages, reading.problem) for reading in found] == [
        (2, "onmessage does not get token: use addEventListener"),
        (4, "onmessage gets 2 messages without data"),
        # The id of the block before makes the comment an event.
        (1, "fails: block 3 has no data"),
        (1, "fails: block 4 is not JSON"),
    ]
