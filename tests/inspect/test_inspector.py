"""The inspector over HTTP: who may, what it shows, and what it refuses. The page itself: tests/browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Any

import pytest

from support.tokens import SECRET, bearer, token
from tidewire import Grant, Hub, Tokens
from tidewire.event_stream import Decoder, Event
from tidewire.inspect.inspector import MOST_VIEWERS, READING
from tidewire.testing.clock import drift, quiet, virtual
from tidewire.testing.wire import listen

HERE = "127.0.0.1"


class Asked:
    """One request to the app of a hub; `leave` disconnects its client."""

    def __init__(self, hub: Hub, method: str, path: str, query: str, headers: Mapping[str, str], client: str):
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self._decoder = Decoder()
        self._events: list[Event] = []
        self._read = 0
        self._left = asyncio.Event()
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "client": (client, 5),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.task = asyncio.ensure_future(hub.app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            self.over = not message.get("more_body", False)

    async def leave(self) -> None:
        self._left.set()
        await self.task

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """Return the type and the data of every event so far."""
        body, self._read = self.body[self._read :], len(self.body)
        self._events += [item for item in self._decoder.feed(body) if isinstance(item, Event)]
        return [(event.event, json.loads(event.data)) for event in self._events]

    async def until(self, count: int, name: str) -> list[Any]:
        """Wait for `count` events of a type, and return the data of all of that type."""
        async with asyncio.timeout(30):
            while len(found := [data for kind, data in self.events() if kind == name]) < count:
                assert not self.task.done(), self.body
                await asyncio.sleep(0.02)
        return found


async def ask(
    hub: Hub,
    path: str,
    query: str = "",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    client: str = HERE,
) -> Asked:
    asked = Asked(hub, method, path, query, headers or {}, client)
    await asked.task
    return asked


@contextlib.asynccontextmanager
async def watching(
    hub: Hub, query: str = "", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Asked]:
    asked = Asked(hub, "GET", "/inspect/stream", query, headers or {}, HERE)
    try:
        yield asked
    finally:
        await asked.leave()


# -- who may

PATHS = ["/inspect", "/inspect/", "/inspect/icon.svg", "/inspect/streams/1", *sorted(READING)]


@pytest.mark.parametrize("path", PATHS)
async def test_an_open_hub_is_inspected_from_the_same_machine_only(path: str) -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        refusal = await ask(hub, path, client="192.0.2.7")
        assert (refusal.status, refusal.json()["code"]) == (403, "loopback_only")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_proxy_on_the_same_machine_opens_nothing(name: str) -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        assert (await ask(hub, "/inspect/overview")).status == 200
        refusal = await ask(hub, "/inspect/overview", headers={name: "for=192.0.2.7"})
        assert (refusal.status, refusal.json()["code"]) == (403, "loopback_only")


async def test_a_hub_with_keys_is_inspected_by_admins_only() -> None:
    hub = Hub(auth=Tokens(SECRET), per_process=True)
    async with hub.lifespan():
        for path in ("/inspect/overview", "/inspect/stream", "/inspect/streams/1"):
            refusal = await ask(hub, path)
            assert (refusal.status, refusal.json()["code"]) == (401, "missing_token")
            refusal = await ask(hub, path, headers=bearer(token(subscribe=["**"])))
            assert (refusal.status, refusal.json()["code"]) == (403, "not_granted")
        admin = bearer(token(admin=True))
        assert (await ask(hub, "/inspect/overview", headers=admin, client="192.0.2.7")).status == 200


async def test_a_function_that_knows_its_admins_guards_the_page_too() -> None:
    async def auth(scope: Any) -> Grant | None:
        return Grant(admin=True) if scope["client"][0] == HERE else Grant(subscribe=["**"])

    hub = Hub(auth=auth, per_process=True)
    async with hub.lifespan():
        assert (await ask(hub, "/inspect/overview")).status == 200
        assert (await ask(hub, "/inspect", client="192.0.2.7")).status == 403


async def test_no_page_of_another_origin_reads_anything() -> None:
    origin = "https://shop.example"
    hub = Hub(allowed_origins=[origin], per_process=True)
    async with hub.lifespan():
        for path in ("/inspect/overview", "/inspect/topics"):
            answer = await ask(hub, path, headers={"Origin": origin})
            assert "access-control-allow-origin" not in answer.headers
        refusal = await ask(
            hub, "/inspect/streams/1", method="DELETE", headers={"Origin": "https://evil.example"}
        )
        assert refusal.status == 403


# -- requests


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/inspect/none", "", 404, "not_found"),
        ("/inspect/none.js", "", 404, "not_found"),
        ("/inspect/..%2Fdemo%2Findex.html", "", 404, "not_found"),
        ("/inspect/overview", "span=year", 400, "invalid_query"),
        ("/inspect/topics", "sort=size", 400, "invalid_query"),
        ("/inspect/topics", "limit=0", 400, "invalid_limit"),
        ("/inspect/topics", "limit=1001", 400, "invalid_limit"),
        ("/inspect/topics", "q=a&q=b", 400, "invalid_query"),
        ("/inspect/topic", "", 400, "missing_topic"),
        ("/inspect/topic", "topic=a/*", 400, "invalid_topic"),
        ("/inspect/topic", "topic=$records", 403, "reserved_topic"),
        ("/inspect/streams", "state=lost", 400, "invalid_query"),
        ("/inspect/streams/x", "", 404, "no_such_stream"),
        ("/inspect/streams/7", "", 404, "no_such_stream"),
        ("/inspect/event", "", 400, "invalid_position"),
        ("/inspect/event", "id=abcdef.7", 404, "no_such_event"),
        ("/inspect/event", "id=abcdef.7&outcome=lost", 400, "invalid_query"),
        ("/inspect/stream", "view=none", 400, "invalid_query"),
        ("/inspect/stream", "view=topics&sort=x", 400, "invalid_query"),
    ],
)
async def test_what_is_wrong_with_a_request(path: str, query: str, status: int, code: str) -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        answer = await ask(hub, path, query)
        assert (answer.status, answer.json()["code"]) == (status, code)


async def test_only_streams_can_be_deleted() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        refusal = await ask(hub, "/inspect/topics", method="DELETE")
        assert (refusal.status, refusal.headers["allow"]) == (405, "GET, HEAD")
        refusal = await ask(hub, "/inspect/streams/7", method="DELETE")
        assert (refusal.status, refusal.json()["code"]) == (404, "no_such_stream")


# -- what it shows


async def test_topics() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        for topic, count in (("Orders/7", 3), ("orders/8", 1), ("news", 5)):
            for number in range(count):
                await hub.publish(topic, str(number))
        await hub.end("news", reason="over")
        wires = [await listen(hub.node, *terms) for terms in (["orders/8"], ["orders/*"], ["quiet", "news"])]
        found = (await ask(hub, "/inspect/topics")).json()
        assert [topic["topic"] for topic in found["topics"]] == ["news", "Orders/7", "orders/8", "quiet"]
        assert (found["matching"], found["known"]) == (4, 4)
        news, _, _, silent = found["topics"]
        assert {name: news[name] for name in ("events", "streams", "ended")} == {
            "events": 6,
            "streams": 1,
            "ended": True,
        }
        assert news["rate"] == pytest.approx(6 / 60, abs=0.001)
        assert (silent["events"], silent["rate"], silent["newest"]) == (0, 0, None)
        found = (await ask(hub, "/inspect/topics", "q=ORDERS&sort=streams&limit=1")).json()
        assert [(topic["topic"], topic["streams"]) for topic in found["topics"]] == [("orders/8", 2)]
        assert found["matching"] == 2
        for sort, first in (("topic", "Orders/7"), ("newest", "news"), ("rate", "news")):
            found = (await ask(hub, "/inspect/topics", f"sort={sort}")).json()
            assert found["topics"][0]["topic"] == first
        for wire in wires:
            wire.leave()


async def test_one_topic_and_its_last_events() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        first = await hub.publish("a", "1")
        await hub.publish("b", "x")
        last = await hub.publish("a", {"n": 2}, event="count", retry=5000)
        await hub.end("a", reason="over")
        found = (await ask(hub, "/inspect/topic", "topic=a")).json()
        assert (found["topic"], found["events"], found["ended"], found["reason"]) == ("a", 3, True, "over")
        over, second, oldest = found["last"]
        assert (over["event"], json.loads(over["data"])["reason"]) == ("hub.end", "over")
        assert abs(second.pop("time") - time.time()) < 60
        assert second == {
            "id": str(last.position),
            "topic": "a",
            "event": "count",
            "bytes": 7,
            "data": '{"n":2}',
            "cut": False,
            "retry": 5000,
        }
        assert oldest["id"] == str(first.position)
        found = (await ask(hub, "/inspect/topic", "topic=none")).json()
        assert (found["events"], found["last"]) == (0, [])


async def test_data_is_cut_or_hidden() -> None:
    for most, data, cut in ((3, "aé", True), (5, "aéé", False), (0, None, False)):
        hub = Hub(per_process=True, inspect_data=most)
        async with hub.lifespan():
            receipt = await hub.publish("a", "aéé")
            (event,) = (await ask(hub, "/inspect/topic", "topic=a")).json()["last"]
            assert (event["data"], event["cut"], event["bytes"]) == (data, cut, 5)
            found = (await ask(hub, "/inspect/event", f"id={receipt.position}")).json()
            assert found["event"] == event
            assert (await ask(hub, "/inspect/overview")).json()["node"]["data"] is bool(most)


async def test_streams_and_the_timeline_of_one() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        events = Asked(
            hub,
            "GET",
            "/events/a",
            "since=start",
            {"User-Agent": "curl/8", "Accept": "text/event-stream"},
            HERE,
        )
        ann = await listen(hub.node, "a", "b/*", grant=Grant(sub="ann", iss="idp", subscribe=["**"]))
        slow = await listen(hub.node, "a", room=0)
        receipts = [await hub.publish("a", str(number)) for number in range(3)]
        await quiet()
        found = (await ask(hub, "/inspect/streams")).json()
        assert (found["matching"], found["known"], found["forgotten"]) == (3, 3, 0)
        behind, subject, curl = sorted(
            found["streams"], key=lambda item: (item["agent"] or "", -item["stream"])
        )
        assert (curl["agent"], curl["address"], curl["way"], curl["kind"]) == (
            "curl/8",
            HERE,
            "asgi",
            "normal",
        )
        assert (curl["topics"], curl["state"], curl["behind"], curl["events"]) == (["a"], "live", 0, 3)
        assert curl["position"] == str(receipts[-1].position)
        assert (subject["sub"], subject["iss"], subject["topics"]) == ("ann", "idp", ["a", "b/*"])
        assert (behind["state"], behind["sub"]) == ("paused", None)
        for query, expected in (
            ("q=ANN", [subject]),
            ("q=curl", [curl]),
            ("topic=b/c", [subject]),
            ("state=slow", [behind]),
            ("state=ended", []),
            ("sort=oldest&limit=1", [min(found["streams"], key=lambda item: item["stream"])]),
        ):
            rows = (await ask(hub, "/inspect/streams", query)).json()["streams"]
            assert [row["stream"] for row in rows] == [row["stream"] for row in expected], query
        rows = (await ask(hub, "/inspect/streams", f"q={behind['stream']}")).json()["streams"]
        assert behind["stream"] in [row["stream"] for row in rows]
        one = (await ask(hub, f"/inspect/streams/{curl['stream']}")).json()
        assert [(step["step"], step["detail"]) for step in one["steps"][:3]] == [
            ("opened", "start"),
            ("judged", "fresh"),
            ("live", None),
        ]
        times = [step["time"] for step in one["steps"]]
        assert times == sorted(times)
        await events.leave()
        ann.leave()
        slow.leave()
        ended = (await ask(hub, "/inspect/streams", "state=ended")).json()
        assert (ended["matching"], {row["reason"] for row in ended["streams"]}) == (3, {"lost"})
        assert [row["stream"] for row in ended["streams"]] == [
            row["stream"] for row in (behind, subject, curl)
        ], "the last to end comes first"
        one = (await ask(hub, f"/inspect/streams/{curl['stream']}")).json()
        assert (one["state"], one["steps"][-1]["step"], one["steps"][-1]["detail"]) == (
            "ended",
            "ended",
            "lost",
        )


async def test_a_gap_in_mid_stream_is_a_step() -> None:
    hub = Hub(per_process=True, retention_entries=10, window_entries=10)
    async with hub.lifespan():
        slow = await listen(hub.node, "a", room=0)
        first = await hub.publish("a", "x" * 100)
        for number in range(300):
            await hub.publish("a", f"{number}-" + "x" * 100)
            await quiet()
        slow.take()
        await quiet()
        (row,) = (await ask(hub, "/inspect/streams")).json()["streams"]
        steps = (await ask(hub, f"/inspect/streams/{row['stream']}")).json()["steps"]
        (gap,) = [step for step in steps if step["step"] == "gap"]
        reason, stood = gap["detail"].split()
        assert reason == "trimmed"
        (told,) = slow.gaps
        assert (stood, gap["position"]) == (told["requested"], slow.of_type("hub.gap")[0].id)
        assert first.position.offset <= int(stood.split(".")[1]) < int(gap["position"].split(".")[1])
        slow.leave()


async def test_ending_a_stream() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        wire, other = await listen(hub.node, "a"), await listen(hub.node, "a")
        assert wire.subscriber
        path = f"/inspect/streams/{wire.subscriber.number}"
        refusal = await ask(hub, path, "reason=" + "x" * 513, method="DELETE")
        assert refusal.status == 400
        assert (await ask(hub, path, "reason=too+loud", method="DELETE")).status == 204
        assert wire.ended
        assert json.loads(wire.of_type("hub.auth")[0].data) == {"reason": "too loud"}
        assert not other.ended
        assert (await ask(hub, path, method="DELETE")).status == 404
        other.leave()


# -- an event


async def test_streams_that_asked_for_the_topic_of_an_event_come_first() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        wires = [await listen(hub.node, topic) for topic in ("b", "b", "b", "a")]
        event = await hub.publish("a", "1")
        await quiet()
        found = (await ask(hub, "/inspect/event", f"id={event.position}&limit=2")).json()
        assert [stream["outcome"] for stream in found["streams"]] == ["written", "another_topic"]
        assert (found["outcomes"], found["matching"]) == ({"another_topic": 3, "written": 1}, 4)
        for wire in wires:
            wire.leave()


async def test_an_event_that_only_the_engine_has(tmp_path: Any) -> None:
    hub = Hub(f"sqlite:///{tmp_path}/log.db", window_entries=2)
    async with hub.lifespan():
        wire = await listen(hub.node, "a")
        receipts = [await hub.publish("a", str(number)) for number in range(20)]
        await quiet()
        found = (await ask(hub, "/inspect/event", f"id={receipts[3].position}")).json()
        assert (found["event"]["data"], found["outcomes"]) == ("3", {"written": 1})
        for query, count in (("outcome=written", 1), ("outcome=behind", 0)):
            found = (await ask(hub, "/inspect/event", f"id={receipts[3].position}&{query}")).json()
            assert (len(found["streams"]), found["matching"]) == (count, count)
        wire.leave()


async def test_records_are_no_events() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        await hub.kick("ann")
        answer = await ask(hub, "/inspect/event", f"id={await hub.head()}")
        assert (answer.status, answer.json()["code"]) == (404, "no_such_event")


# -- many streams


@virtual
async def test_other_work_goes_on_while_many_streams_are_gone_through() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        wires = [await listen(hub.node, f"t/{number}") for number in range(3_000)]
        event = await hub.publish("t/7", "x")
        await quiet()
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.ensure_future(turn())
        drift(0.001)  # a processor that needs a millisecond for some of them
        for path, query in (("streams", ""), ("topics", "sort=streams"), ("event", f"id={event.position}")):
            before = turns
            assert (await ask(hub, f"/inspect/{path}", query)).status == 200
            assert turns - before > 20, path
        turning.cancel()
        for wire in wires:
            wire.leave()


# -- live


async def test_the_overview_comes_once_a_second_without_ids() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan(), watching(hub) as viewer:
        await viewer.until(1, "overview")
        assert viewer.headers["content-type"] == "text/event-stream"
        wire = await listen(hub.node, "a")
        for number in range(10):
            await hub.publish("a", str(number))
        found = await viewer.until(4, "overview")
        assert sum(round(item["now"]["events"] * item["now"]["seconds"]) for item in found[1:]) == 10
        assert sum(round(item["now"]["published"] * item["now"]["seconds"]) for item in found[1:]) == 10
        assert found[-1]["now"]["streams"] == 1
        assert found[-1]["totals"]["published"] == 10
        assert found[-1]["node"]["viewers"] == 1
        assert any(item["now"]["publish_ms"] for item in found[1:])
        assert b"\nid:" not in viewer.body
        wire.leave()


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("view=topics&q=a&limit=1", "topics"),
        ("view=topic&topic=a", "topic"),
        ("view=streams&state=open", "streams"),
        ("view=stream&stream=1", "timeline"),
    ],
)
async def test_a_view_has_what_the_request_for_it_has(query: str, name: str) -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan(), watching(hub, query) as viewer:
        wire = await listen(hub.node, "a")
        await hub.publish("a", "1")
        await quiet()
        found = await viewer.until(2 if name != "timeline" else 1, name)
        path = "/inspect/streams/1" if name == "timeline" else f"/inspect/{name}"
        asked = (await ask(hub, path, query.split("&", 1)[1] if name != "timeline" else "")).json()
        assert found[-1].keys() == asked.keys()
        wire.leave()


async def test_a_view_of_a_stream_that_is_not_known_says_so() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan(), watching(hub, "view=stream&stream=7") as viewer:
        (problem, *_) = await viewer.until(1, "gone")
        assert (problem["status"], problem["code"]) == (404, "no_such_stream")
        await viewer.until(2, "overview")


async def test_only_a_few_viewers_are_served() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan(), contextlib.AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(watching(hub)) for _ in range(MOST_VIEWERS)]
        for viewer in viewers:
            await viewer.until(1, "overview")
        refusal = await ask(hub, "/inspect/stream")
        assert (refusal.status, refusal.json()["code"]) == (503, "too_many_viewers")
        assert "retry-after" in refusal.headers
        await viewers[0].leave()
        async with watching(hub) as viewer:
            await viewer.until(1, "overview")


async def test_a_viewer_is_no_stream_of_the_hub() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan(), watching(hub) as viewer:
        await viewer.until(1, "overview")
        assert hub.streams() == []


async def test_a_viewer_may_look_as_long_as_its_token_is_good() -> None:
    hub = Hub(auth=Tokens(SECRET), per_process=True)
    async with hub.lifespan(), watching(hub, headers=bearer(token(admin=True, jti="t1"))) as viewer:
        await viewer.until(1, "overview")
        await hub.revoke(jti="t1")
        async with asyncio.timeout(30):
            await viewer.task
        assert viewer.over


async def test_a_drain_ends_viewers() -> None:
    hub = Hub(per_process=True, drain=0)
    async with hub.lifespan(), watching(hub) as viewer:
        await viewer.until(1, "overview")
        await hub.drain()
        refusal = await ask(hub, "/inspect/stream")
        assert (refusal.status, refusal.json()["code"]) == (503, "draining")


# -- the page


async def test_the_page_and_its_files_are_served_with_a_strict_policy() -> None:
    folder = files("tidewire.web").joinpath("inspect")
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    hub = Hub(auth=Tokens(SECRET), per_process=True)
    async with hub.lifespan():
        for name in names:
            # Without a token: the page asks for one.
            answer = await ask(hub, f"/inspect/{name}", client="192.0.2.7")
            assert (answer.status, answer.body) == (200, folder.joinpath(name).read_bytes()), name
            assert "default-src 'self'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            if name == "index.html":
                assert (await ask(hub, "/inspect")).body == answer.body


async def test_a_slash_at_the_end_leads_to_the_page() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        answer = await ask(hub, "/inspect/")
        assert (answer.status, answer.headers["location"]) == (308, "../inspect")
