"""The delivery contract over real HTTP: each of our engines, on both ways to the socket."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.postgres_server import VERSIONS, postgres_server
from support.redis_server import redis_server
from support.waiting import wait_until
from support.ways import Answer, Listener, Served, served
from tidewire.event_stream import Event
from tidewire.position import parse_position
from tidewire.testing.checker import Report, check
from tidewire.testing.recorder import Recorder

ENGINES = ["memory", "sqlite", "redis"]
BOTH = ["takeover", "uvicorn"]

# The way to the socket does not know the engine: one of them will do for the slowest.
CASES = [*product(ENGINES, BOTH), ("postgres", "takeover")]
EVERY = [pytest.param(case, id="-".join(case)) for case in CASES]
# The tests' PostgreSQL has `fsync` off.
DURABILITY = {"memory": "memory", "sqlite": "disk", "redis": "disk", "postgres": "process"}
# Those that cannot compare a position with an entry that is trimmed.
WITH_CHECKS = {"redis", "postgres"}


class Setting(NamedTuple):
    """An engine on a way. Each `with setting.hub()` is another process on the same log."""

    engine: str
    way: str
    folder: Path

    @contextmanager
    def hub(self, **settings: Any) -> Iterator[Served]:
        with contextlib.ExitStack() as stack:
            url = self.engine
            if self.engine == "sqlite":
                url = f"sqlite:///{self.folder}/log.db"
            if self.engine == "redis":
                # The server has ended with the last hub, and has its files.
                url = stack.enter_context(redis_server(self.folder)).log_url("log")
            if self.engine == "postgres":
                url = database_of(self.folder)
            yield stack.enter_context(served(self.way, url=url, **settings))


@functools.cache
def database_of(folder: Path) -> str:
    """Return the URL of a database of this folder's own."""
    pytest.importorskip("psycopg")
    if not VERSIONS:
        pytest.skip("PostgreSQL is not installed")
    server = postgres_server(VERSIONS[-1])
    return server.url(server.new_database())


class Shared(NamedTuple):
    engine: str
    hub: Served


@pytest.fixture
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Setting:
    engine, way = request.param
    return Setting(engine, way, tmp_path)


@pytest.fixture(scope="module", params=EVERY)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One hub for the tests that do not disturb each other."""
    engine, way = request.param
    with Setting(engine, way, tmp_path_factory.mktemp("log")).hub() as hub:
        yield Shared(engine, hub)


every_case = pytest.mark.parametrize("setting", EVERY, indirect=True)


class Reader:
    """A subscriber that records every step. `reconnect` resumes with the last id it processed."""

    def __init__(self, recorder: Recorder, name: str, *topics: str) -> None:
        self._recorder = recorder
        self._name = name
        self._topics = topics
        self._streams = 0
        self._processed: set[str] = set()
        self.last_id: str | None = None
        self.gaps: list[dict[str, Any]] = []

    def connect(self, hub: Served, since: str = "now") -> None:
        self._streams += 1
        self._stream = f"{self._name}/{self._streams}"
        query = "&".join(f"topic={topic}" for topic in self._topics)
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        self._listener: Listener = hub.listen(f"/events?since={since}&{query}", headers)
        position = self.last_id or ("start" if since == "start" else None)
        self._recorder.opened(self._stream, self._name, self._topics, position)

    def reconnect(self, hub: Served) -> None:
        self.close()
        self.connect(hub)

    def take(self, last: str) -> list[str]:
        """Read until the event with the id `last`; return the data of publishers' events."""
        found: list[str] = []
        while self.last_id != last:
            found += self._record(*self._listener.take(1))
        return found

    def _record(self, event: Event) -> list[str]:
        id = event.id or ""
        self.last_id = id
        if event.event == "hub.position":
            self._recorder.positioned(self._stream, id)
        elif event.event == "hub.gap":
            self.gaps.append(event.json())
            self._recorder.gap(self._stream, id, event.json())
        else:
            self._recorder.delivered(self._stream, id, event.topic, event.data)
            if id not in self._processed:
                self._processed.add(id)
                self._recorder.processed(self._name, id, event.data)
            return [event.data]
        return []

    def close(self) -> None:
        self._listener.close()
        self._recorder.closed(self._stream)


def publish(hub: Served, recorder: Recorder, topic: str, data: str) -> str:
    """Publish with a key, record it, and return the id. The same data again repeats the publish."""
    name = data.split("\r")[0]
    recorder.invoked(name, topic, data)
    answer = hub.ask("POST", f"/events/{topic}", data, {"Idempotency-Key": name})
    assert answer.status == 200, answer
    receipt = answer.json()
    recorder.ok(name, receipt["id"], receipt["duplicate"], receipt["durability"])
    return str(receipt["id"])


def history(hub: Served) -> list[tuple[str, str, str]]:
    """Read all events back."""
    found: list[tuple[str, str, str]] = []
    since = "start"
    while True:
        page = ask_page(hub, f"/events?topic=**&limit=1000&since={since}").json()
        events = [event for event in page["events"] if event["event"] != "hub.end"]
        found += [(event["id"], event["topic"], event["data"]) for event in events]
        since = page["next"]
        if not page["more"]:
            return found


def oldest(hub: Served) -> int:
    """Return the offset of the oldest event kept."""
    return parse_position(history(hub)[0][0]).offset


def ask_page(hub: Served, path: str) -> Answer:
    return hub.ask("GET", path, headers={"Accept": "application/json"})


def judge(recorder: Recorder, hub: Served, **options: Any) -> Report:
    report = check(recorder.records, history(hub), **options)
    assert report.ok, report
    return report


@every_case
def test_delivery(setting: Setting) -> None:
    """Publish, subscribe, resume: everything arrives once and in order, also from beyond the window."""
    recorder = Recorder()
    early, late = Reader(recorder, "early", "a"), Reader(recorder, "late", "a", "b/*")
    with setting.hub(window_entries=20) as hub:
        early.connect(hub)
        for number in range(40):
            last = publish(hub, recorder, "a" if number % 2 else "b/1", f"{number}\r\nline")
            if number in (11, 31):
                early.take(last)
                early.reconnect(hub)
        late.connect(hub, "start")
        late.take(last)
        early.take(last)
        last = publish(hub, recorder, "a", "live")
        assert late.take(last) == early.take(last) == ["live"]
        early.close()
        late.close()
        assert judge(recorder, hub).acked == 41


@every_case
def test_a_restart(setting: Setting) -> None:
    """After kill -9, sqlite continues where it was; memory reports that it is another log."""
    recorder = Recorder()
    reader = Reader(recorder, "reader", "a")
    with setting.hub() as hub:
        reader.connect(hub)
        for number in range(10):
            last = publish(hub, recorder, "a", f"before {number}")
        reader.take(last)
        before = publish(hub, recorder, "a", "while away")
        hub.ask("DELETE", "/events/over")
        reader.close()
        os.kill(hub.process.pid, signal.SIGKILL)
        recorder.fault("kill -9")
        hub.process.wait()
    with setting.hub() as hub:
        lasts = setting.engine != "memory"
        reader.connect(hub)
        after = publish(hub, recorder, "a", "after")
        assert reader.take(after) == (["while away", "after"] if lasts else ["after"])
        assert [gap["reason"] for gap in reader.gaps] == ([] if lasts else ["foreign"])
        if lasts:
            assert publish(hub, recorder, "a", "while away") == before
            assert hub.ask("GET", "/events/over").status == 204
        reader.close()
        report = judge(recorder, hub, retention_or_loss=not lasts)
        assert report.counts_as_run(12)


def test_keys(shared: Shared) -> None:
    hub = shared.hub
    first = hub.ask("POST", "/events/paid", "7", {"Idempotency-Key": "k"}).json()
    again = hub.ask("POST", "/events/paid", "7", {"Idempotency-Key": "k"}).json()
    assert (again["id"], first["duplicate"], again["duplicate"]) == (first["id"], False, True)
    other = hub.ask("POST", "/events/paid", "8", {"Idempotency-Key": "k"})
    assert (other.status, other.json()["stored"]) == (422, False)
    batch = [{"topic": "paid/other", "data": "1"}, {"topic": "paid", "data": "8", "key": "k"}]
    refused = hub.ask("POST", "/events", json.dumps(batch), {"Content-Type": "application/json"})
    assert (refused.status, refused.json()["index"]) == (422, 1)
    assert [data for _, topic, data in history(hub) if topic.startswith("paid")] == ["7"]
    assert first["durability"] == DURABILITY[shared.engine]


def test_an_ended_topic(shared: Shared) -> None:
    hub = shared.hub
    with hub.listen("/events/sale?since=start") as live:
        hub.publish("sale", "last words")
        first = hub.ask("DELETE", "/events/sale?reason=sold").json()
        assert [event.event for event in live.rest()][1:] == ["message", "hub.end"]
    assert hub.ask("DELETE", "/events/sale").json() == {**first, "duplicate": True}
    assert hub.ask("POST", "/events/sale", "x").json()["code"] == "topic_ended"
    assert hub.ask("GET", "/events/sale", headers={"Last-Event-ID": first["id"]}).status == 204
    assert ask_page(hub, "/events/sale").json()["ended"] is True
    with hub.listen("/events/sale?since=start") as replay:
        assert [event.data for event in replay.rest()][-1:] == ['{"topic":"sale","reason":"sold"}']


@every_case
def test_gaps(setting: Setting) -> None:
    """Retention overtakes a subscriber that was away; the reader of a quiet topic gets no gap."""
    recorder = Recorder()
    away, quiet = Reader(recorder, "away", "a"), Reader(recorder, "quiet", "q")
    with setting.hub(retention_entries=10, window_entries=5) as hub:
        for reader in (away, quiet):
            reader.connect(hub)
            reader.take(publish(hub, recorder, reader._topics[0], f"hello {reader._name}"))
            reader.close()
        last = ""
        for number in range(30):
            last = publish(hub, recorder, "a", str(number))
        wait_until(lambda: oldest(hub) == 23)
        for reader in (away, quiet):
            reader.connect(hub)
        assert away.take(last) == [str(number) for number in range(20, 30)]
        assert quiet.take(publish(hub, recorder, "q", "still here")) == ["still here"]
        assert [gap["reason"] for gap in away.gaps] == ["trimmed"]
        if setting.engine in WITH_CHECKS:
            # The check of its last id cannot be compared with an entry that is trimmed.
            assert [gap["reason"] for gap in quiet.gaps] == ["trimmed"]
            return
        assert quiet.gaps == []
        judge(recorder, hub, trimmed_through=oldest(hub) - 1)


@pytest.mark.parametrize("setting", [case for case in EVERY if "postgres" in str(case.id)], indirect=True)
def test_two_hubs_on_one_log(setting: Setting) -> None:
    """Published at one, delivered by the other, resumed at either, whichever is killed."""
    recorder = Recorder()
    reader = Reader(recorder, "reader", "a")
    with setting.hub() as one, setting.hub() as two:
        reader.connect(two)
        for number in range(20):
            last = publish((one, two)[number % 2], recorder, "a", str(number))
        assert reader.take(last) == [str(number) for number in range(20)]
        os.kill(two.process.pid, signal.SIGKILL)
        recorder.fault("kill -9")
        two.process.wait()
        last = publish(one, recorder, "a", "while away")
        reader.reconnect(one)
        assert reader.take(last) == ["while away"]
        # The same key, sent to the node that has not stored it.
        assert publish(one, recorder, "a", "19") != last
        reader.close()
        assert reader.gaps == []
        assert judge(recorder, one).counts_as_run(21)
