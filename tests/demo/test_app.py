"""The demo without a browser: its events, its content, its rules, and how long it keeps its views."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest

import tidewire
from support.processes import Process
from support.waiting import PATIENCE, wait_until_async
from tidewire import Hub
from tidewire.demo import Demo, answers, views
from tidewire.demo.app import demo_files
from tidewire.demo.content import CAT_FACTS
from tidewire.demo.memes import MEMES, svg
from tidewire.demo.random_events import TYPES, deck, random_events
from tidewire.demo.views import View
from tidewire.event_stream import Decoder

WEB = Path(tidewire.__file__).with_name("web")
TIDEWIRE = Path(sys.executable).with_name("tidewire")


# -- the events


def test_the_same_seed_gives_the_same_events() -> None:
    assert list(random_events(Random(7), 30)) == list(random_events(Random(7), 30))
    assert list(random_events(Random(7), 30)) != list(random_events(Random(8), 30))


def test_events_are_numbered_and_of_four_types_with_their_fields() -> None:
    made = [(event.event, json.loads(event.data)) for event in random_events(Random(1), 2_000)]
    assert [happening["number"] for _, happening in made] == list(range(1, 2_001))
    counts = Counter(kind for kind, _ in made)
    assert set(counts) == set(TYPES)
    assert min(counts.values()) > 400
    results = {kind: {h.get("result") for k, h in made if k == kind} for kind in ("coinToss", "dieRoll")}
    assert results == {"coinToss": {"heads", "tails"}, "dieRoll": {1, 2, 3, 4, 5, 6}}
    assert {happening["text"] for kind, happening in made if kind == "catFact"} == set(CAT_FACTS)
    images = {(happening["image"], happening["alt"]) for kind, happening in made if kind == "meme"}
    assert images == {(f"/demo/memes/{meme.name}.svg", meme.alt) for meme in MEMES}


def test_no_card_is_dealt_again_before_all_have_been_dealt() -> None:
    dealt = list(islice(deck(Random(1), CAT_FACTS), 2 * len(CAT_FACTS)))
    assert Counter(dealt[: len(CAT_FACTS)]) == Counter(dealt[len(CAT_FACTS) :]) == Counter(CAT_FACTS)


def test_there_are_about_sixty_cat_facts() -> None:
    assert len(set(CAT_FACTS)) == len(CAT_FACTS) >= 60
    assert all(fact[0].isupper() and fact[-1] in ".!" and len(fact) < 120 for fact in CAT_FACTS)


@pytest.mark.parametrize("meme", MEMES, ids=lambda meme: meme.name)
def test_a_meme_is_a_picture_with_a_description(meme: Any) -> None:
    picture = ElementTree.fromstring(svg(meme))
    title = picture.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == meme.alt
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [meme.top, meme.bottom]
    for element in picture.iter():
        assert element.tag.rpartition("}")[2] in {
            *(
                "svg",
                "title",
                "defs",
                "linearGradient",
                "stop",
                "mask",
                "g",
                "path",
                "circle",
                "ellipse",
                "text",
            )
        }
        assert not [name for name in element.attrib if name == "style" or name.startswith("on")]


# -- pages


class Inline(HTMLParser):
    """Finds what a strict content security policy forbids, and links to other servers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given):
            self.found.append(tag)
        for name, value in attrs:
            if name == "style" or name.startswith("on"):
                self.found.append(f"{tag} {name}")
            if name in ("src", "href") and not (value or "").startswith(("/", "#")):
                self.found.append(f"{tag} {name}={value}")
        if tag == "img" and "alt" not in given:
            self.found.append("img without alt")


@pytest.mark.parametrize("path", ["/demo", "/demo/broadcast", "/demo/tabs", "/demo/tab", "/demo/answer"])
def test_pages_have_nothing_inline_and_use_no_other_server(path: str) -> None:
    kind, body = demo_files()[path]
    assert kind == b"text/html; charset=utf-8"
    reader = Inline()
    reader.feed(body.decode())
    assert reader.found == []


@pytest.mark.parametrize("script", sorted(WEB.rglob("*.js")), ids=lambda path: path.name)
def test_scripts_write_text_and_never_markup(script: Path) -> None:
    source = script.read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", source
    )
    assert not re.search(r"https?://(?!html\.spec|www\.w3\.org/2000/svg)", source)


def test_styles_and_pictures_use_no_other_server() -> None:
    for path, (kind, body) in demo_files().items():
        if kind.startswith((b"text/css", b"image/svg")):
            text = body.decode().replace("http://www.w3.org/2000/svg", "")
            assert "http" not in text.replace("HTTP", ""), path
            assert "@import" not in text


# -- the server


class Site:
    """A demo in this event loop, called as an ASGI app."""

    def __init__(self, **options: Any) -> None:
        self.hub = Hub(per_process=True)
        self.demo = Demo(self.hub, **options)
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.demo), base_url="http://127.0.0.1:8000"
        )

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def post(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.post(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def view(self, topic: str) -> Any:
        return (await self.get(f"/demo/status?topic={topic}")).json()["view"]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site(seed=7, interval=0.01)
    async with site.hub.lifespan(), site.client:
        yield site


class Listener:
    """A client of one stream, in this event loop."""

    def __init__(self, app: Any, path: str, **headers: str) -> None:
        self.status = 0
        self.decoder = Decoder()
        self.events: list[Any] = []
        self.ended = False
        self._gone = asyncio.Event()
        self._asked = False
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "http_version": "1.1",
            "scheme": "http",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
            "client": ("127.0.0.1", 1),
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.events += self.decoder.feed(message.get("body", b""))
        self.ended |= message["type"] == "http.response.body" and not message.get("more_body", False)

    async def leave(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self.task, PATIENCE)


async def test_pages_have_a_strict_policy(site: Site) -> None:
    """Attack G04."""
    for path in demo_files():
        answer = await site.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        # Only the page that page three shows in frames may be framed, and only by our own pages.
        ancestors = "'self'" if path == "/demo/tab" else "'none'"
        assert f"frame-ancestors {ancestors};" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        head = await site.client.head(path)
        assert head.headers["content-length"] == answer.headers["content-length"]
        assert head.content == b""


async def test_redirects_and_errors(site: Site) -> None:
    assert (await site.get("/")).headers["location"] == "/demo"
    assert (await site.get("/demo/nothing")).status_code == 404
    assert (await site.post("/demo")).status_code == 405
    answer = await site.get("/demo/faults/drop")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert (await site.get("/demo/events")).status_code == 400
    assert (await site.post("/demo/faults/drop?topic=demo/nobody")).status_code == 404
    assert (await site.get("/health/live")).status_code == 200


async def test_a_hub_alone_has_no_demo() -> None:
    hub = Hub(per_process=True)
    async with (
        hub.lifespan(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(hub.app), base_url="http://127.0.0.1") as client,
    ):
        for path in ("/demo", "/demo/broadcast", "/subscribeToEvents", "/generateEvent"):
            assert (await client.get(path)).status_code == 404


async def test_pages_of_other_sites_are_refused(site: Site) -> None:
    listener = Listener(site.demo, "/events/demo/mine")
    await wait_until_async(lambda: listener.events)
    faults = [f"faults/{fault}?topic=demo/mine" for fault in ("drop", "silent", "refuse")]
    for path in (*faults, "answer/ask?name=a&key=1", "answer/stop?name=a", "answer/kill?name=a"):
        path = f"/demo/{path}"
        assert (await site.post(path, origin="https://evil.example")).status_code == 403
        assert (await site.post(path, sec_fetch_site="cross-site")).status_code == 403
    assert (await site.get("/generateEvent", sec_fetch_site="cross-site")).status_code == 403
    assert not listener.ended
    await listener.leave()


async def test_other_host_names_are_refused_if_hosts_are_checked() -> None:
    demo = Demo(Hub(per_process=True, allowed_hosts=()), allowed_hosts=())
    for path in ("/demo", "/demo/status", "/generateEvent", "/events/demo/mine", "/events/x", "/"):
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(demo), base_url="http://evil.example"
        ) as client:
            assert (await client.get(path)).status_code == 421


async def test_a_view_ends_with_hub_end_after_its_last_event(site: Site) -> None:
    listener = Listener(site.demo, "/events/demo/mine")
    await wait_until_async(lambda: listener.ended)
    kinds = [event.event for event in listener.events]
    assert kinds[0] == "hub.position"
    assert kinds[-1] == "hub.end"
    assert [(event.event, event.data) for event in listener.events[1:-1]] == [
        (event.event, event.data) for event in random_events(Random(7), 30)
    ]
    view = await site.view("demo/mine")
    assert (view["made"], view["generator"], view["retry"]) == (30, "done", 2000)
    again = Listener(site.demo, "/events/demo/mine", last_event_id=listener.decoder.last_event_id)
    await wait_until_async(lambda: again.status)
    assert again.status == 204


async def test_the_last_message_of_a_classic_stream_has_the_id_minus_one(site: Site) -> None:
    listener = Listener(site.demo, "/demo/events?view=mine")
    await wait_until_async(lambda: listener.ended)
    assert len(listener.events) == 31
    assert [event.id for event in listener.events] == [""] * 30 + ["-1"]
    assert (await site.view("classic/mine"))["generator"] == "done"


async def test_leaving_a_classic_stream_stops_its_generator(site: Site) -> None:
    site.demo.views.interval = 60
    listener = Listener(site.demo, "/demo/events?view=mine")
    await wait_until_async(lambda: listener.events)
    status = (await site.get("/demo/status?topic=classic/mine")).json()
    assert (status["streams"], status["view"]["generator"]) == (1, "running")
    await listener.leave()
    status = (await site.get("/demo/status?topic=classic/mine")).json()
    assert (status["streams"], status["view"]["generator"]) == (0, "stopped")


async def test_events_are_made_for_a_while_after_the_last_stream_has_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert views.GRACE == 10
    monkeypatch.setattr(views, "GRACE", 0.3)
    site.demo.views.interval = 0.02
    listener = Listener(site.demo, "/events/demo/mine")
    await wait_until_async(lambda: len(listener.events) > 3)
    await listener.leave()
    made = (await site.view("demo/mine"))["made"]
    await wait_until_async(lambda: site.demo.views.get("demo/mine").made > made)  # type: ignore[union-attr]
    # A client that reconnects in time gets the events made in the meantime, and more.
    last = listener.decoder.last_event_id
    back = Listener(site.demo, "/events/demo/mine", last_event_id=last)
    await wait_until_async(lambda: len(back.events) > 3)
    numbers = [json.loads(event.data)["number"] for event in (*listener.events[1:], *back.events)]
    assert numbers == list(range(1, len(numbers) + 1))
    view = await site.view("demo/mine")
    assert (view["connections"], view["last_event_id"], view["generator"]) == (2, last, "running")
    await back.leave()
    await wait_until_async(lambda: site.demo.views.get("demo/mine").generator == "stopped")  # type: ignore[union-attr]
    # A client that reconnects later gets the rest and then the end.
    late = Listener(site.demo, "/events/demo/mine", last_event_id=back.decoder.last_event_id)
    await wait_until_async(lambda: late.ended)
    assert late.events[-1].event == "hub.end"
    assert json.loads(late.events[-1].data)["reason"] == "left"


async def test_finished_views_are_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "GRACE", 0.05)
    monkeypatch.setattr(views, "KEPT", 0.05)
    for number in range(20):
        hub = Listener(site.demo, f"/events/demo/{number}")
        classic = Listener(site.demo, f"/demo/events?view={number}")
        await wait_until_async(lambda hub=hub, classic=classic: hub.events and classic.events)  # type: ignore[misc]
        await hub.leave()
        await classic.leave()
    # A request that opens no stream.
    await site.get("/events/demo/history", accept="application/json")
    await wait_until_async(lambda: len(site.demo.views) == 0)
    assert site.demo.views.classic_streams == 0


def count_views(prefix: str) -> int:
    gc.collect()
    return sum(isinstance(found, View) and found.topic.startswith(prefix) for found in gc.get_objects())


async def test_a_request_without_a_stream_makes_no_view(site: Site) -> None:
    for number in range(20):
        await site.get(f"/events/demo/none-{number}", accept="application/json")
        await site.get(f"/events/demo/none-{number}?since=never")
        await site.get(f"/demo/status?topic=demo/none-{number}")
        await site.post(f"/demo/faults/drop?topic=demo/none-{number}")
    assert count_views("demo/none-") == 0


@pytest.mark.parametrize(
    "path", ["/events/demo/flood-{}", "/demo/events?view=flood-{}"], ids=["hub", "classic"]
)
async def test_only_the_newest_views_are_kept_and_those_with_a_stream(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(views, "MOST_VIEWS", 10)
    site.demo.views.interval = 60
    watching = [Listener(site.demo, path.format(f"watched-{number}")) for number in range(4)]
    await wait_until_async(lambda: all(listener.events for listener in watching))
    for number in range(50):
        listener = Listener(site.demo, path.format(number))
        await wait_until_async(lambda listener=listener: listener.events)  # type: ignore[misc]
        await listener.leave()
    prefix = "demo/flood-" if "demo/flood" in path else "classic/flood-"
    assert count_views(prefix) == len(site.demo.views) == 10
    for name in [*(f"watched-{number}" for number in range(4)), "49"]:
        assert await site.view(f"{prefix}{name}"), name
    for listener in watching:
        await listener.leave()


async def test_refused_clients_get_a_time_to_reconnect(site: Site) -> None:
    listener = Listener(site.demo, "/events/demo/mine")
    await wait_until_async(lambda: len(listener.events) > 1)
    assert (await site.post("/demo/faults/refuse?topic=demo/mine")).json() == {"seconds": 5}
    await wait_until_async(lambda: listener.ended)
    native = await site.get("/events/demo/mine", last_event_id=listener.decoder.last_event_id)
    assert native.status_code == 200
    assert native.headers["content-type"] == "text/event-stream"
    decoder = Decoder()
    assert decoder.feed(native.content) == []
    assert 1000 <= decoder.retry <= 2000  # type: ignore[operator]
    ours = await site.get("/events/demo/mine", tidewire_client="js/1")
    assert ours.status_code == 503
    assert ours.headers["retry-after"] in ("1", "2")
    view = await site.view("demo/mine")
    assert (view["fault"], view["connections"]) == ("refuse", 3)


async def test_silence_holds_all_bytes_back_and_then_sends_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert views.SILENCE == 10
    monkeypatch.setattr(views, "SILENCE", 0.3)
    site.demo.views.interval = 0.02
    listener = Listener(site.demo, "/events/demo/mine")
    await wait_until_async(lambda: len(listener.events) > 3)
    await site.post("/demo/faults/silent?topic=demo/mine")
    heard = len(listener.events)
    await asyncio.sleep(0.15)
    assert len(listener.events) - heard <= 1
    assert (await site.view("demo/mine"))["fault"] == "silent"
    await wait_until_async(lambda: listener.ended)
    numbers = [json.loads(event.data)["number"] for event in listener.events[1:-1]]
    assert numbers == list(range(1, 31))


async def test_a_generated_event_reaches_all_subscribers(site: Site) -> None:
    one, two = (Listener(site.demo, "/subscribeToEvents") for _ in range(2))
    await wait_until_async(lambda: site.hub.subscribers("broadcast") == 2)
    sent = (await site.get("/generateEvent")).json()
    assert sent["listening"] == 2
    for listener in (one, two):
        await wait_until_async(lambda listener=listener: len(listener.events) == 2)  # type: ignore[misc]
        assert listener.events[-1].event == "catFact"
        assert json.loads(listener.events[-1].data) == {"text": sent["text"]}
        assert listener.events[-1].id == sent["id"]
    await two.leave()
    assert (await site.get("/generateEvent")).json()["listening"] == 1
    await wait_until_async(lambda: len(one.events) == 3)
    await one.leave()
    assert (await site.client.head("/generateEvent")).status_code == 405


# -- the command


def test_the_command_serves_the_demo_and_stops_cleanly() -> None:
    with Process([TIDEWIRE, "demo", "--port", "0", "--seed", "7", "--interval", "0.05"]) as process:
        url = process.wait_line(r"http://[^ ]+/demo").group()
        assert httpx2.get(url).status_code == 200
        origin = url.removesuffix("/demo")
        with httpx2.stream("GET", f"{origin}/events/demo/mine") as answer:
            decoder, events = Decoder(), []
            for chunk in answer.iter_raw():
                events += decoder.feed(chunk)
        assert [event.data for event in events[1:-1]] == [
            event.data for event in random_events(Random(7), 30)
        ]
        with httpx2.stream("GET", f"{origin}/events/demo/other") as answer:
            next(answer.iter_raw())
            assert process.stop() == 0
        assert "Traceback" not in process.output


def test_drop_resets_the_connection() -> None:
    with Process([TIDEWIRE, "demo", "--port", "0"]) as process:
        origin = process.wait_line(r"(http://[^ ]+)/demo").group(1)
        with socket.create_connection(
            ("127.0.0.1", int(origin.rpartition(":")[2])), timeout=PATIENCE
        ) as connection:
            connection.sendall(b"GET /events/demo/mine HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while b"hub.position" not in received:
                received += connection.recv(65536)
            assert httpx2.post(f"{origin}/demo/faults/drop?topic=demo/mine").status_code == 200
            with pytest.raises(ConnectionResetError):
                while connection.recv(65536):
                    pass


def test_other_addresses_than_loopback_need_open() -> None:
    answer = subprocess.run(
        [TIDEWIRE, "demo", "--host", "0.0.0.0", "--port", "0"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert "--open" in answer.stderr


# -- page four


def words_of(listener: Listener) -> str:
    return " ".join(json.loads(event.data)["text"] for event in listener.events if event.event == "word")


def states_of(listener: Listener) -> list[str]:
    return [json.loads(event.data)["state"] for event in listener.events if event.event == "hub.run"]


async def order(site: Site, what: str, key: str = "") -> int:
    return (await site.post(f"/demo/answer/{what}?name=mine{key and '&key=' + key}")).status_code


async def test_an_answer_is_started_once_and_goes_on_without_a_stream(site: Site) -> None:
    assert [await order(site, "ask", "1"), await order(site, "ask", "1")] == [200, 200]
    assert await order(site, "ask", "2") == 409
    listener = Listener(site.demo, "/events/answers/mine?since=start")
    await wait_until_async(lambda: len(states_of(listener)) == 2)
    assert states_of(listener) == ["running", "done"]
    assert words_of(listener) == answers.text(7)
    assert await order(site, "kill") == 404
    await listener.leave()


async def test_an_answer_is_stopped_or_its_producer_is_killed(site: Site) -> None:
    listener = Listener(site.demo, "/events/answers/mine?since=start")
    for key, (what, state) in enumerate({"stop": "cancelled", "kill": "failed"}.items()):
        await order(site, "ask", str(key))
        await wait_until_async(lambda: words_of(listener))
        assert await order(site, what) == 200
        await wait_until_async(lambda state=state: states_of(listener)[-1] == state)  # type: ignore[misc]
        assert answers.text(7).startswith(words_of(listener))
        assert "killed" not in str(listener.events)
        listener.events.clear()
    await listener.leave()


async def test_orders_without_a_name_are_refused(site: Site) -> None:
    for path in ("ask?key=1", "ask?name=mine", f"stop?name={65 * 'x'}", "kill"):
        assert (await site.post(f"/demo/answer/{path}")).status_code == 400
