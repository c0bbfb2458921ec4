"""Attacks F04, F08, F09, F16, F17 and F19 to F21 (docs/reference/attacks.md): a publish and its size."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from support.stream_server import head_of, read_until
from support.waiting import PATIENCE
from support.ways import Answer, Served, served
from tidewire.settings import Settings

LIMITS = Settings()


def code(answer: Answer) -> tuple[int, str, bool]:
    problem = answer.json()
    return answer.status, problem["code"], problem["stored"]


def test_f04_a_body_that_declares_too_large_a_size(hub: Served) -> None:
    with socket.create_connection(("127.0.0.1", hub.port), PATIENCE) as client:
        size = LIMITS.max_body + 1
        client.sendall(
            f"POST /events/f04 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        # Refused before a byte of it was sent.
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_f04_endless_chunks(hub: Served) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", hub.port), PATIENCE) as client:
        client.sendall(b"POST /events/f04 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = b""
        try:
            for _ in range(200):
                client.sendall(chunk)
        except OSError:
            pass
        try:
            while part := client.recv(65536):
                answer += part
        except ConnectionError:
            pass
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert hub.ask("GET", "/health/live").status == 200


def test_f08_compressed_bodies(hub: Served) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    answer = hub.ask("POST", "/events/f08", bomb, {"Content-Encoding": "gzip"})
    assert code(answer) == (415, "unsupported_media_type", False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"topic":"f09","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"topic":"f09","data":NaN}',
        b'{"topic":"f09","data":Infinity}',
        b'{"topic":"f09","data":' + b"9" * 100_000 + b"}",
        b'{"topic":"f09","data":1e400}',
        b'{"topic":"f09",' + b",".join(b'"k%d":1' % number for number in range(80_000)) + b"}",
        b'{"topic":"f09","data":"x"',
        b"",
        b"null",
        b"7",
        b'"topic"',
        b'{"topic":7}',
        b'{"topic":null}',
        b'{"topic":"f09","event":7}',
        b'{"topic":"f09","key":7}',
        b"[[]]",
    ],
    ids=range(16),
)
def test_f09_json_bombs(hub: Served, body: bytes) -> None:
    started = time.monotonic()
    answer = hub.ask("POST", "/events", body)
    assert answer.status == 400, answer
    assert answer.json()["stored"] is False
    assert time.monotonic() - started < 20  # one that is not linear takes minutes


def test_f16_keys(hub: Served) -> None:
    long = hub.ask("POST", "/events/f16", b"x", {"Idempotency-Key": "k" * 10 * 1024})
    assert code(long) == (400, "invalid_key", False)
    hub.ask("POST", "/events/f16", b"x", {"Idempotency-Key": "k"})
    other = hub.ask("POST", "/events/f16", b"y", {"Idempotency-Key": "k"})
    assert code(other) == (422, "key_conflict", False)
    batch = [{"topic": "f16", "data": "new"}, {"topic": "f16", "data": "z", "key": "k"}]
    head = hub.ask("GET", "/events/f16", headers={"Accept": "application/json"}).json()["head"]
    refused = hub.ask("POST", "/events", json.dumps(batch))
    assert (refused.status, refused.json()["index"]) == (422, 1)
    assert hub.ask("GET", "/events/f16", headers={"Accept": "application/json"}).json()["head"] == head


def test_f16_more_keys_than_are_kept(kind: tuple[str, str], tmp_path: Path) -> None:
    # A log of its own: that of the other tests has keys already.
    way, engine = kind
    url = "memory" if engine == "memory" else f"sqlite:///{tmp_path}/log.db"

    def publish(key: int) -> Answer:
        return few.ask("POST", "/events/f16", b"x", {"Idempotency-Key": f"k{key}"})

    with served(way, url=url, max_keys=3) as few:
        ids = [publish(number).json()["id"] for number in range(3)]
        for _ in range(2):
            assert code(publish(3)) == (429, "too_many", False)
            # Those that are kept are still known, and an event without a key is no key more.
            assert [publish(number).json() for number in range(3)] == [
                {
                    "id": id_,
                    "duplicate": True,
                    "durability": few.ask("POST", "/events/x", b"x").json()["durability"],
                }
                for id_ in ids
            ]
        assert 'refused_requests_total{code="too_many"} 2.0' in few.ask("GET", "/metrics").body.decode()


NUMBERS = [
    str(2**63),
    str(2**64),
    "-" + "7" * 30,
    "1e-400",
    "-0",
    "0.1000000000000000055511151231257827",
    "0.30000000000000004",
]


def test_f20_numbers_arrive_as_they_were_sent(hub: Served) -> None:
    events = [f'{{"topic":"f20","data":{{"n":{number}}}}}' for number in NUMBERS]
    with hub.listen("/events/f20") as listener:
        listener.take(1)
        for event in events:
            assert hub.ask("POST", "/events", event).status == 200
        assert hub.ask("POST", "/events", f"[{','.join(events)}]").status == 200
        lines = {"Content-Type": "application/x-ndjson"}
        assert "code" not in hub.ask("POST", "/events", "\n".join(events), lines).json()
        expected = [f'{{"n":{number}}}' for number in NUMBERS]
        assert [event.data for event in listener.take(3 * len(NUMBERS))] == 3 * expected


@pytest.mark.parametrize(
    "data", ["1e400", "9" * 4301, "[" * 300 + "]" * 300, "[" * 1000 + "1" * 20 + "]" * 1000], ids=range(4)
)
def test_f20_data_that_cannot_be_kept_is_refused(hub: Served, data: str) -> None:
    event = f'{{"topic":"f20","data":{data}}}'
    for body in (event, f"[{event}]"):
        answer = hub.ask("POST", "/events", body)
        assert (answer.status, answer.json()["stored"]) == (400, False)
    line = hub.ask("POST", "/events", event, {"Content-Type": "application/x-ndjson"}).json()
    assert (line["line"], line["stored"]) == (1, False)


@pytest.mark.parametrize("batch", [False, True])
def test_f21_a_key_that_is_null_leaves_that_of_the_header(hub: Served, batch: bool) -> None:
    topic = f"f21/{batch}"
    event = {"topic": topic, "data": "x", "key": None}
    body = json.dumps([event] if batch else event)
    answers = [hub.ask("POST", "/events", body, {"Idempotency-Key": "once"}).json() for _ in range(2)]
    first, second = [answer[0] if batch else answer for answer in answers]
    assert (second["id"], first["duplicate"], second["duplicate"]) == (first["id"], False, True)
    refused = hub.ask("POST", "/events", body, {"Idempotency-Key": "\t"})
    assert code(refused) == (400, "invalid_key", False)


@pytest.mark.parametrize(
    ("event", "status"), [("t" * 512, 200), ("t" * 513, 400), ("é" * 257, 400), ("t" * 900_000, 400)]
)
def test_f21_long_event_types(hub: Served, event: str, status: int) -> None:
    fields = {"topic": "f21", "data": "x", "event": event}
    line = hub.ask("POST", "/events", json.dumps(fields), {"Content-Type": "application/x-ndjson"}).json()
    assert ("code" in line) == (status == 400)
    for body in (fields, [fields]):
        answer = hub.ask("POST", "/events", json.dumps(body))
        assert answer.status == status
        if status == 400:
            assert code(answer) == (400, "invalid_type", False)


def test_f16_the_same_key_at_the_same_time(hub: Served) -> None:
    ids: list[str] = []

    def publish() -> None:
        ids.append(hub.ask("POST", "/events/f16b", b"x", {"Idempotency-Key": "same"}).json()["id"])

    threads = [threading.Thread(target=publish) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 20
    assert len(set(ids)) == 1


@pytest.mark.parametrize(("size", "status"), [(LIMITS.max_event, 200), (LIMITS.max_event + 1, 413), (0, 200)])
def test_f17_event_sizes(hub: Served, size: int, status: int) -> None:
    assert hub.ask("POST", "/events/f17", b"x" * size).status == status


def test_f17_bytes_are_counted_not_characters(hub: Served) -> None:
    assert hub.ask("POST", "/events/f17", ("é" * (LIMITS.max_event // 2 + 1)).encode()).status == 413


def test_f19_publishes_cut_within_the_head_behind_a_large_body(hub: Served) -> None:
    body = b"x" * 34 * 1024
    head = f"POST /events/f19 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", hub.port), PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ids = []
        rest = head
        for _ in range(10):
            # The rest of this request, and the beginning of the next one's head.
            client.sendall(rest + body + head[:40])
            rest = head[40:]
            status, _, receipt = head_of(read_until(client, b"}"))
            assert status == 200
            ids.append(json.loads(receipt)["id"])
    page = hub.ask("GET", "/events/f19", headers={"Accept": "application/json"}).json()
    assert [event["id"] for event in page["events"]] == ids
