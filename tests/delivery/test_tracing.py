"""tracing: what events carry from their publish to their subscribers, and which spans there are."""

from __future__ import annotations

import json
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from support.processes import Process
from support.running_hub import RunningHub
from support.waiting import PATIENCE
from support.ways import served
from tidewire import Hub
from tidewire.client.sync import Publisher, connect, publish
from tidewire.delivery import tracing
from tidewire.event_stream import Decoder, Event, Traced, encode, is_traceparent
from tidewire.log.entries import Draft
from tidewire.testing import client

APP = Path(__file__).parents[1] / "apps" / "traced_hub.py"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = PARENT.split("-")[1:3]


def run(*words: str) -> dict[str, Any]:
    """Run the program with OpenTelemetry's SDK, in a process of its own: it can be set up only once."""
    pytest.importorskip("opentelemetry.sdk")
    with Process([sys.executable, APP, *words]) as process:
        assert process.wait() == 0, process.output
        found: dict[str, Any] = json.loads(process.output.splitlines()[-1])
        return found


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return run()


@pytest.mark.parametrize("way", ["library", "batch", "within a span", "http", "json", "lines", "bad"])
def test_each_publish_is_one_short_span_which_its_events_carry(found: dict[str, Any], way: str) -> None:
    (span,) = found[way]["spans"]
    version, *ids, _ = found[way]["carried"].split("-")
    assert (version, ids) == ("00", [span["trace"], span["span"]])
    assert (span["name"], span["kind"]) == ("tidewire publish", "PRODUCER")
    assert span["seconds"] < 60
    attributes = span["attributes"]
    assert attributes["messaging.system"] == "tidewire"
    if way == "batch":
        assert attributes["messaging.batch.message_count"] == 2
        assert "messaging.destination.name" not in attributes
    else:
        assert attributes["messaging.destination.name"] == "a"


def test_a_publish_continues_the_trace_of_its_publisher(found: dict[str, Any]) -> None:
    for way in ("http", "json", "lines"):
        (span,) = found[way]["spans"]
        assert (span["trace"], span["parent"]) == (TRACE, SPAN)
    (span,) = found["within a span"]["spans"]
    assert span["trace"] == found["outer"]
    for way in ("library", "batch", "bad"):
        (span,) = found[way]["spans"]
        assert span["parent"] is None


def test_an_open_stream_is_no_span(found: dict[str, Any]) -> None:
    assert found["open streams"] == []


def test_without_the_sdk_the_trace_of_the_publisher_is_carried_as_it_is() -> None:
    off = run("off")
    assert [off[way]["carried"] for way in ("http", "json", "lines")] == [PARENT] * 3
    assert [off[way]["carried"] for way in ("library", "batch", "bad")] == [None] * 3
    assert not any(off[way]["spans"] for way in ("library", "http", "json", "lines"))


@pytest.mark.parametrize("url", ["memory", "sqlite"])
async def test_the_trace_is_in_the_log(url: str, tmp_path: Path) -> None:
    """So it reaches clients that come later, and those of other processes."""
    hub = Hub("memory" if url == "memory" else f"sqlite:///{tmp_path}/log.db", per_process=True)
    async with client(hub.app) as http:
        await http.post("/events/a", content="x", headers={"traceparent": PARENT})
        await http.post("/events/a", content="y")
        for path in ("/events/a?since=start", "/events?topic=a&topic=b&since=start"):
            async with http.sse(path) as events:
                found = [await events.next(), await events.next()]
                assert [event.traceparent for event in found] == [PARENT, None]
    if url == "sqlite":
        again = Hub(hub.url, window_entries=1)
        async with client(again.app) as http, http.sse("/events/a?since=start") as events:
            assert (await events.next()).traceparent == PARENT


def test_python_clients_send_and_receive_it() -> None:
    with RunningHub() as running:
        with Publisher(running.url, headers=lambda: {"traceparent": PARENT}) as hub:
            hub.publish("a", "x")
        publish(running.url, "a", "y")
        with connect(running.url, topics="a", since="start") as stream:
            first, second = next(stream), next(stream)
        assert (first.traceparent, second.traceparent) == (PARENT, None)


def test_the_fast_path_of_our_own_server_leaves_traced_publishes_alone() -> None:
    """It knows heads that repeat, and would store their events without the trace."""
    with served("takeover") as hub:
        connection = HTTPConnection("127.0.0.1", hub.port, timeout=PATIENCE)
        for headers in [{"traceparent": PARENT}] * 4 + [{}] * 4:
            connection.request("POST", "/events/a", b"x", headers)
            assert connection.getresponse().read()
        connection.close()
        with hub.listen("/events/a?since=start&control=none") as listener:
            assert [event.traceparent for event in listener.take(8)] == [PARENT] * 4 + [None] * 4


async def test_without_opentelemetry_a_publish_is_handed_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "installed", False)
    drafts, seen = [Draft("a")], []

    async def append(given: Any) -> list[Any]:
        seen.append(given)
        return []

    await tracing.traced(append, drafts)
    assert seen[0] is drafts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        PARENT + "\n",
        PARENT.upper(),
        PARENT + "-x",
        "ff" + PARENT[2:],
        PARENT.replace(SPAN, "0" * 16),
    ],
)
def test_what_is_not_a_traceparent(text: str) -> None:
    assert not is_traceparent(text)
    block = encode(Traced("x", traceparent=PARENT)).replace(PARENT.encode(), text.encode())
    if "\n" not in text:
        assert Decoder().feed(block) == [Event("x", id="")]


def test_a_traced_event_is_decoded_again_at_every_cut() -> None:
    event = Traced("x\ny", "status", "q7Zp2K.1", None, "a", PARENT)
    block = encode(event)
    for cut in range(len(block)):
        decoder = Decoder()
        assert [*decoder.feed(block[:cut]), *decoder.feed(block[cut:])] == [event]
