"""Several nodes on one log in a real server: what holds for one holds for all."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from support.log_workers import LogWorker, Refused, at_once, log_workers
from support.postgres_server import VERSIONS, postgres_server
from support.redis_server import RedisServer, redis_server
from support.waiting import wait_until


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(params=["redis", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a log of each test's own."""
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        return server.log_url(request.node.name.partition("[")[0])
    pytest.importorskip("psycopg")
    if not VERSIONS:
        pytest.skip("PostgreSQL is not installed")
    postgres = postgres_server(VERSIONS[-1])
    return postgres.url(postgres.new_database())


def numbers(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def offset_of(id: str) -> int:
    return int(id.split(".")[1])


def seen_by(workers: Sequence[LogWorker], name: str, count: int) -> list[dict[str, Any]]:
    """Wait until the stream `name` of each worker has had `count` events."""
    for worker in workers:
        wait_until(lambda worker=worker: len(worker.ask("seen", name)["data"]) >= count)
    return [worker.ask("seen", name) for worker in workers]


def wait_counted(workers: Sequence[LogWorker], topic: str, count: int) -> None:
    for worker in workers:
        wait_until(lambda worker=worker: worker.ask("subscribers", topic) == count)


def test_all_see_everything_in_one_order(url: str) -> None:
    with log_workers(url, 3) as workers:
        for worker in workers:
            worker.ask("subscribe", "all", ["**"], "now")
        answers = at_once(workers, *[("publish", f"t/{n}", numbers(100, f"{n}.")) for n in range(3)])
        ids = [id for answer in answers for id in answer]
        assert len(set(ids)) == 300
        streams = seen_by(workers, "all", 300)
        assert streams[0] == streams[1] == streams[2]
        assert sorted(streams[0]["ids"]) == sorted(ids)
        assert [offset_of(id) for id in streams[0]["ids"]] == list(range(1, 301))
        assert streams[0]["gaps"] == []


def test_batches_of_several_nodes_do_not_mix(url: str) -> None:
    with log_workers(url, 3) as workers:
        at_once(workers, *[("batch", f"t/{n}", numbers(500, f"{n}.")) for n in range(3)])
        events = workers[0].ask("history", ["**"], "start")["events"]
        more = workers[0].ask("history", ["**"], events[-1]["id"])["events"]
    found = [*events, *more]
    assert len(found) == 1500
    for first in range(0, 1500, 500):
        batch = found[first : first + 500]
        assert len({event["topic"] for event in batch}) == 1
        assert [int(event["data"][2:]) for event in batch] == list(range(500))


def test_a_key_has_one_id_on_all_nodes(url: str) -> None:
    with log_workers(url, 3) as workers:
        for key in numbers(20):
            answers = at_once(workers, *[("publish", "t", ["same"], key)] * 3)
            assert len({id for id, _ in answers}) == 1
            assert sorted(duplicate for _, duplicate in answers) == [False, True, True]
        assert len(workers[0].ask("history", ["t"], "start")["events"]) == 20


def test_an_ended_topic_has_ended_on_all_nodes(url: str) -> None:
    with log_workers(url, 2) as (one, two):
        two.ask("subscribe", "t", ["t"], "now")
        first = one.ask("end", "t")
        with pytest.raises(Refused, match="topic_ended"):
            two.ask("publish", "t", ["late"])
        assert two.ask("end", "t") == first
        wait_until(lambda: two.ask("seen", "t")["last"] == first)
    with log_workers(url, 1) as (three,):
        assert three.ask("end", "t") == first


def test_nothing_is_stored_after_the_end_of_its_topic(url: str) -> None:
    with log_workers(url, 3) as workers:
        for topic in numbers(5, "t/"):
            at_once(workers, ("publish", topic, numbers(50)), ("publish", topic, numbers(50)), ("end", topic))
            workers[0].ask("subscribe", topic, [topic], "start")
            wait_until(lambda topic=topic: workers[0].ask("ended") > int(topic[2:]))
            seen = workers[0].ask("seen", topic)
            # What was sent last is the `hub.end`.
            assert offset_of(seen["last"]) > max(map(offset_of, seen["ids"]), default=0)
            assert len(workers[0].ask("history", [topic], "start")["events"]) == len(seen["ids"]) + 1


def test_an_acknowledged_position_can_be_resumed_from_on_another_node(url: str) -> None:
    with log_workers(url, 2) as (one, two):
        for number in range(20):
            (last,) = one.ask("publish", "t", [str(number)])
            two.ask("subscribe", f"s{number}", ["t"], last)
            assert len(two.ask("history", ["t"], "start")["events"]) == number + 1
        one.ask("publish", "t", ["end"])
        for number in range(20):
            expected = [*map(str, range(number + 1, 20)), "end"]
            assert two.wait_seen(f"s{number}", *expected)["gaps"] == []


def test_a_node_that_is_killed_takes_nothing_with_it(url: str) -> None:
    with log_workers(url, 3) as (one, two, three):
        one.ask("subscribe", "all", ["**"], "now")
        two.tell("publish", "t/2", numbers(100_000, "2."))
        three.tell("publish", "t/3", numbers(30, "3."))
        wait_until(lambda: len(one.ask("seen", "all")["data"]) > 20)
        two.kill()
        assert len(three.answer()) == 30
        one.ask("publish", "t/1", numbers(10, "1."))
        page = one.ask("history", ["**"], "start")
        seen = one.ask("seen", "all")
        assert seen["ids"][: len(page["events"])] == [event["id"] for event in page["events"]]
        assert seen["gaps"] == []


def test_a_node_that_slept_past_retention_tells_a_gap(url: str) -> None:
    with log_workers(url, 2, retention_entries=50, window_entries=10) as (one, two):
        two.ask("subscribe", "busy", ["busy"], "now")
        two.ask("subscribe", "quiet", ["quiet"], "now")
        one.ask("publish", "busy", ["first"])
        two.wait_seen("busy", "first")
        two.signal(signal.SIGSTOP)
        one.ask("batch", "busy", numbers(1000))
        one.ask("publish", "other", ["x"])
        wait_until(lambda: len(one.ask("history", ["**"], "start")["events"]) <= 50)
        two.signal(signal.SIGCONT)
        one.ask("publish", "quiet", ["heard"])
        wait_until(lambda: two.ask("seen", "quiet")["data"] == ["heard"])
        wait_until(lambda: two.ask("seen", "busy")["gaps"])
        seen = two.ask("seen", "busy")
        # The publish trims one entry more: a second gap tells of it, if the stream was just before it.
        assert {gap["reason"] for gap in seen["gaps"]} == {"trimmed"}, seen


def test_what_another_node_trims_while_this_one_pages_is_told(url: str) -> None:
    with log_workers(url, 2, retention_entries=3000, window_entries=10) as (one, two):
        one.ask("batch", "t", numbers(1000))
        one.ask("batch", "t", numbers(1000, "b"))
        start = two.ask("history", ["t"], "start")["events"][0]["id"]
        for _ in range(3):
            one.ask("batch", "t", numbers(1000, "c"))
        wait_until(lambda: two.ask("history", ["t"], start)["gap"])
        page = two.ask("history", ["t"], start)
        assert page["gap"]["reason"] == "trimmed"


def test_a_node_that_publishes_now_and_then_does_not_wait_for_the_busy_ones(url: str) -> None:
    """Starts of runs, ends and records need the log as it was judged: they too get their turn."""
    with log_workers(url, 3) as (one, two, rare):
        for worker in (one, two):
            worker.tell("publish", "busy", numbers(1000))
        slowest = 0.0
        for number in range(20):
            began = time.monotonic()
            rare.ask("end", f"t/{number}")
            rare.ask("kick", f"user{number}", "x")
            slowest = max(slowest, time.monotonic() - began)
        for worker in (one, two):
            assert len(worker.answer()) == 1000
        assert slowest < 2.0


def test_kicks_and_revocations_reach_every_node(url: str) -> None:
    with log_workers(url, 2) as (one, two):
        for name in ("ann", "bob", "eve"):
            two.ask("subscribe_as", name, {"sub": name, "jti": name})
        one.ask("kick", "ann", "logged out")
        one.ask("revoke", {"jti": "eve", "until": time.time() + 3600})
        wait_until(lambda: two.ask("auth", "ann") == [["logged out"], True])
        wait_until(lambda: two.ask("auth", "eve") == [["revoked"], True])
        assert two.ask("auth", "bob") == [[], False]
    with log_workers(url, 1) as (three,):
        with pytest.raises(Refused, match="token_revoked"):
            three.ask("subscribe_as", "again", {"jti": "eve"})


def test_streams_of_all_nodes_are_counted(url: str) -> None:
    with log_workers(url, 3) as (one, two, three):
        one.ask("subscribe", "a", ["rooms/1"], "now")
        two.ask("subscribe", "a", ["rooms/*"], "now")
        three.ask("subscribe", "a", ["rooms/1", "rooms/2"], "now")
        wait_counted([one, two, three], "rooms/1", 3)
        wait_counted([one, two, three], "other", 0)
        one.ask("leave", "a")
        wait_counted([one, two, three], "rooms/1", 2)
        two.ask("close")
        wait_counted([one, three], "rooms/1", 1)
        three.kill()
        wait_counted([one], "rooms/1", 0)


def test_on_first_and_on_last_are_called_once_for_all_nodes(url: str) -> None:
    with log_workers(url, 3) as (one, two, three):
        for worker in (one, two, three):
            worker.ask("hook", "t")
        one.ask("subscribe", "a", ["t"], "now")
        wait_until(lambda: one.ask("called") == ["+t"])
        two.ask("subscribe", "a", ["t"], "now")
        wait_counted([one, two, three], "t", 2)
        one.ask("leave", "a")
        wait_counted([one, two, three], "t", 1)
        assert [worker.ask("called") for worker in (one, two, three)] == [["+t"], [], []]
        two.kill()
        wait_until(lambda: sorted([*one.ask("called"), *three.ask("called")]) == ["+t", "-t"])


def test_peers_are_nodes_that_accept_streams(url: str) -> None:
    with log_workers(url, 2) as (one, two):
        assert not one.ask("peers")
        two.ask("accept")
        wait_until(lambda: one.ask("peers"))
        two.ask("drain")
        wait_until(lambda: not one.ask("peers"))
