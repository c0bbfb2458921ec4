"""What goes wrong with a server: the log goes on, and whatever was lost is told."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.proxy import Proxy

from support.log_workers import LogWorker, Refused, log_workers
from support.redis_server import RedisServer, redis_server
from support.waiting import wait_until

Pair = tuple[LogWorker, LogWorker]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may break."""
    # How long its disk takes is no matter here.
    with redis_server(tmp_path / "server", appendfsync="no") as server:
        yield server


@pytest.fixture
def pair(server: RedisServer) -> Iterator[Pair]:
    """Two nodes. Each has a stream of `t` named `all`, and the first ten events are published."""
    with log_workers(server.log_url("p"), 2, engine_timeout=2.0) as (one, two):
        for worker in (one, two):
            worker.ask("subscribe", "all", ["t"], "now")
        one.ask("publish", "t", [str(number) for number in range(10)])
        for worker in (one, two):
            wait_until(lambda worker=worker: len(worker.ask("seen", "all")["data"]) == 10)
        yield one, two


def publish(worker: LogWorker, *data: str) -> list[str]:
    """Publish until it works, for some seconds."""
    until = time.monotonic() + 20
    while True:
        try:
            # With a key: it may be stored although the answer is lost.
            return [worker.ask("publish", "t", [text], f"key of {text}")[0] for text in data]
        except Refused:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def seen(worker: LogWorker, last: str, name: str = "all") -> dict[str, Any]:
    """Wait until a stream has had the event `last`, and return what it saw."""
    wait_until(lambda: last in worker.ask("seen", name)["data"])
    found: dict[str, Any] = worker.ask("seen", name)
    return found


def test_a_server_that_starts_again_loses_nothing(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    for number in range(3):
        server.restart()
        publish(one if number % 2 else two, f"after {number}")
    for worker in pair:
        found = seen(worker, "after 2")
        assert found["gaps"] == []
        assert found["data"] == [*map(str, range(10)), "after 0", "after 1", "after 2"]
    assert len({id.split(".")[0] for id in one.ask("seen", "all")["ids"]}) == 4, "a life for each start"


def test_a_server_that_is_killed_while_nodes_publish(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    server.kill()
    with pytest.raises(Refused):
        one.ask("publish", "t", ["refused"])
    began = time.monotonic()
    with pytest.raises(Refused, match="engine_unavailable"):
        one.ask("publish", "t", ["refused"])
    assert time.monotonic() - began < 1, "it is known to be down"
    server.start()
    publish(two, "after")
    for worker in pair:
        assert seen(worker, "after")["gaps"] == []


def test_flushall_is_told(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    one.ask("end", "over")
    two.ask("publish", "t", ["x"])
    for worker in pair:
        last = seen(worker, "x")["ids"]
    server.ask("FLUSHALL")
    (new,) = publish(one, "after")
    for worker in pair:
        found = seen(worker, "after")
        assert found["data"][-2:] == ["x", "after"]
        # They missed nothing, but no node can know that.
        assert [gap["reason"] for gap in found["gaps"]] == ["trimmed"]
    assert new.split(".")[0] != last[-1].split(".")[0]
    assert int(new.split(".")[1]) > int(last[-1].split(".")[1])
    # What was missed is gone, and told.
    two.ask("subscribe", "resumed", ["t"], last[4])
    assert [gap["reason"] for gap in seen(two, "after", "resumed")["gaps"]] == ["trimmed"]
    for worker in pair:
        with pytest.raises(Refused, match="topic_ended"):
            worker.ask("publish", "over", ["late"])


@pytest.mark.parametrize("first", [0, 1], ids=["the late node publishes", "the other node publishes"])
def test_flushall_is_told_to_a_node_that_was_behind(server: RedisServer, pair: Pair, first: int) -> None:
    late, other = pair
    late.signal(signal.SIGSTOP)
    try:
        # The first of them may still answer the read that the stopped node is waiting in.
        for text in ("perhaps", "missed"):
            other.ask("publish", "t", [text])
        seen(other, "missed")
        server.ask("FLUSHALL")
    finally:
        late.signal(signal.SIGCONT)
    publish(pair[first], "after")
    found = seen(late, "after")
    assert found["data"][-1] == "after"
    assert "missed" not in found["data"]
    assert [gap["reason"] for gap in found["gaps"]] == ["trimmed"]
    assert seen(other, "after")["data"][-2:] == ["missed", "after"]


def test_a_deleted_hash_begins_the_log_again(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    server.ask("DEL", "{p}:meta")
    publish(one, "after")
    publish(two, "more")
    for worker in pair:
        found = seen(worker, "more")
        assert found["data"][-2:] == ["after", "more"]
        assert all(gap["reason"] == "foreign" for gap in found["gaps"])


def test_a_deleted_stream_is_told(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    ids = one.ask("seen", "all")["ids"]
    server.ask("DEL", "{p}:log")
    publish(two, "after")
    wait_until(lambda: one.ask("history", ["t"], ids[3])["gap"])
    for worker in pair:
        assert seen(worker, "after")["gaps"] == []
    one.ask("subscribe", "resumed", ["t"], ids[3])
    assert [gap["reason"] for gap in seen(one, "after", "resumed")["gaps"]] == ["trimmed"]


def test_what_another_program_trims_is_told(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    ids = one.ask("seen", "all")["ids"]
    server.ask("XTRIM", "{p}:log", "MAXLEN", 4)
    publish(two, "after")
    for worker in pair:
        assert seen(worker, "after")["gaps"] == []
        wait_until(lambda worker=worker: worker.ask("history", ["t"], ids[2])["gap"])
        worker.ask("subscribe", "trimmed", ["t"], ids[2])
        found = seen(worker, "after", "trimmed")
        assert [gap["reason"] for gap in found["gaps"]] == ["trimmed"]
        assert found["data"] == ["6", "7", "8", "9", "after"]


def test_a_hole_that_another_program_made_is_told(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    ids = one.ask("seen", "all")["ids"]
    server.ask("XDEL", "{p}:log", "6-0")
    publish(two, "after")
    # Until it has looked, a node has all of them in memory.
    wait_until(lambda: one.ask("history", ["t"], ids[1])["gap"])
    one.ask("subscribe", "resumed", ["t"], ids[1])
    found = seen(one, "after", "resumed")
    assert [gap["reason"] for gap in found["gaps"]] == ["trimmed"]
    assert found["data"] == ["6", "7", "8", "9", "after"]


def test_what_another_program_writes_is_sent_to_nobody(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    server.ask("XADD", "{p}:log", "*", "event", "x\ndata: injected")
    server.ask("XADD", "{p}:log", "*", "t", "t")
    publish(one, "after")
    publish(two, "more")
    for worker in pair:
        found = seen(worker, "more")
        assert found["gaps"] == []
        assert found["data"] == [*map(str, range(10)), "after", "more"]


def test_connections_that_are_cut(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    for number in range(5):
        server.ask("CLIENT", "KILL", "TYPE", "normal")
        publish(one if number % 2 else two, str(10 + number))
    for worker in pair:
        found = seen(worker, "14")
        assert found["gaps"] == []
        # A publish whose answer was lost may have been stored, and was sent again.
        assert list(dict.fromkeys(found["data"])) == [str(number) for number in range(15)]


def test_a_server_that_does_not_answer(server: RedisServer, pair: Pair) -> None:
    one, two = pair
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(Refused):
            one.ask("publish", "t", ["lost"])
    assert time.monotonic() - began < 5
    server.signal(signal.SIGCONT)
    publish(one, "after")
    publish(two, "more")
    for worker in pair:
        found = seen(worker, "more")
        assert found["gaps"] == []
        assert [data for data in found["data"] if data != "lost"] == [*map(str, range(10)), "after", "more"]


def test_the_newest_events_are_lost(tmp_path: Path) -> None:
    """Without an AOF a server goes back to its last snapshot, as a replica that is promoted too early."""
    with redis_server(tmp_path / "server", appendonly="no") as server:
        with log_workers(server.log_url("p"), 2) as pair:
            one, two = pair
            for worker in pair:
                worker.ask("subscribe", "all", ["t"], "now")
            kept = one.ask("publish", "t", ["1", "2", "3"])
            server.ask("SAVE")
            lost = one.ask("publish", "t", ["4", "5"])
            for worker in pair:
                seen(worker, "5")
            server.restart()
            (after,) = publish(two, "after")
            for worker in pair:
                found = seen(worker, "after")
                assert [gap["reason"] for gap in found["gaps"]] == ["foreign"]
                assert found["gaps"][0]["requested"] == lost[-1]
                assert found["data"] == ["1", "2", "3", "4", "5", "after"]
            assert after not in lost
            for position, gaps in ((kept[-1], 0), (lost[0], 1), (after, 0)):
                two.ask("subscribe", position, ["t"], position)
                two.ask("publish", "t", [f"to {position}"])
                assert len(seen(two, f"to {position}", position)["gaps"]) == gaps


def test_a_failover_to_a_replica_without_the_newest_events(tmp_path: Path) -> None:
    """Fault F14: they are lost, that is told, and no id is used again."""
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(redis_server(tmp_path / "old", appendfsync="no"))
        replica = {"replicaof": f"127.0.0.1 {old.port}", "appendfsync": "no"}
        new = stack.enter_context(redis_server(tmp_path / "new", **replica))
        proxy = stack.enter_context(Proxy(("127.0.0.1", old.port)))
        url = f"redis://127.0.0.1:{proxy.address[1]}/0?prefix=p"
        pair = stack.enter_context(log_workers(url, 2, engine_timeout=2.0))
        one, two = pair
        for worker in pair:
            worker.ask("subscribe", "all", ["t"], "now")
        kept = one.ask("publish", "t", ["1", "2", "3"])
        wait_until(lambda: new.ask("XLEN", "{p}:log") == 3)
        new.ask("REPLICAOF", "NO", "ONE")
        lost = one.ask("publish", "t", ["4", "5"], None)
        for worker in pair:
            seen(worker, "5")
        proxy.target = ("127.0.0.1", new.port)
        old.kill()
        after = publish(two, "after", "more", "most")
        for worker in pair:
            found = seen(worker, "most")
            assert [(gap["reason"], gap["requested"]) for gap in found["gaps"]] == [("foreign", lost[-1])]
            assert found["data"] == ["1", "2", "3", "4", "5", "after", "more", "most"]
        assert not {*after} & {*kept, *lost}
        assert {id.split(".")[0] for id in after}.isdisjoint(id.split(".")[0] for id in lost)
