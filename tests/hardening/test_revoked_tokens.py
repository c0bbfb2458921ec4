"""Attacks D13 and D14 with tokens, on a hub with keys: every way in asks for each request."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from support.tokens import SECRET, bearer, token
from support.waiting import PATIENCE
from support.ways import Served, served

EVERYTHING: dict[str, Any] = {"subscribe": ["**"], "publish": ["**"]}
ADMIN = bearer(token(sub="root", admin=True))


@pytest.fixture(scope="module")
def hub(kind: tuple[str, str], url: str) -> Iterator[Served]:
    with served(kind[0], "locked_hub:app", url=url, keys=[SECRET]) as running:
        yield running


def revoke(hub: Served, **fields: Any) -> None:
    assert hub.ask("POST", "/revocations", json.dumps(fields), ADMIN).status == 204


def answers(hub: Served, headers: dict[str, str]) -> set[tuple[int, str | None]]:
    """Ask for everything that a token is needed for; return status and code of what is not a stream."""
    event = {"topic": "a", "data": "x"}
    found = [
        hub.ask("GET", "/events/a", headers={**headers, "Accept": "application/json"}),
        hub.ask("POST", "/events/a", b"x", headers),
        hub.ask("POST", "/events", json.dumps(event), headers),
        hub.ask("POST", "/events", json.dumps([event]), headers),
        hub.ask("POST", "/events", json.dumps(event), {**headers, "Content-Type": "application/x-ndjson"}),
    ]
    return {(answer.status, answer.json().get("code") if answer.status > 200 else None) for answer in found}


def test_d13_a_token_that_expires_in_mid_stream(hub: Served) -> None:
    headers = bearer(token(exp=int(time.time()) + 2, **EVERYTHING))
    with hub.listen("/events/a", headers) as normal, hub.listen("/events/a?control=none", headers) as plain:
        assert [event.data for event in normal.rest()] == ["{}", '{"reason":"expired"}']
        assert plain.rest_until_cut() == []
    assert answers(hub, headers) == {(401, "token_expired")}
    assert hub.ask("GET", "/events/a", headers=headers).status == 401


def test_d14_a_revoked_token_is_refused_everywhere(hub: Served) -> None:
    headers = bearer(token(jti="t1", sub="ann", **EVERYTHING))
    other = bearer(token(jti="t2", sub="ann", **EVERYTHING))
    assert answers(hub, headers) == {(200, None)}
    with hub.listen("/events/b", headers) as ended, hub.listen("/events/b", other) as goes_on:
        revoke(hub, jti="t1", until=time.time() + 3600)
        assert [event.data for event in ended.rest()][1:] == ['{"reason":"revoked"}']
        assert hub.ask("POST", "/events/b", b"hello", other).status == 200
        assert goes_on.take(2)[1].data == "hello"
    assert answers(hub, headers) == {(401, "token_revoked")}
    for path in ("/events/b", "/events/b?control=none"):
        refused = hub.ask("GET", path, headers=headers)
        assert (refused.status, refused.json()["code"]) == (401, "token_revoked")
    assert answers(hub, other) == {(200, None)}


def test_d14_a_connection_that_publishes_again_and_again(hub: Served) -> None:
    headers = bearer(token(jti="t3", **EVERYTHING))
    connection = HTTPConnection("127.0.0.1", hub.port, timeout=PATIENCE)
    statuses = []
    for number in range(6):
        if number == 3:
            revoke(hub, jti="t3")
        connection.request("POST", "/events/a", b"x", headers)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    assert statuses == [200, 200, 200, 401, 401, 401]


def test_d14_a_streaming_ingest_ends_where_its_token_is_revoked(hub: Served) -> None:
    line = b'{"topic":"a","data":"x"}\n'
    head = "\r\n".join(
        [
            "POST /events HTTP/1.1",
            "Host: localhost",
            f"Authorization: {bearer(token(jti='t4', **EVERYTHING))['Authorization']}",
            "Content-Type: application/x-ndjson",
            "Transfer-Encoding: chunked",
            "\r\n",
        ]
    )
    chunk = b"%x\r\n%b\r\n" % (len(line), line)
    with socket.create_connection(("127.0.0.1", hub.port), PATIENCE) as client:
        client.sendall(head.encode() + chunk)
        got = b""
        while b'"lines":[1,1]' not in got:
            got += client.recv(4096)
        revoke(hub, jti="t4")
        client.sendall(chunk)
        while b"token_revoked" not in got:
            part = client.recv(4096)
            assert part, got
            got += part
        assert b'"line":2' in got


def test_d14_a_revoked_subject_may_log_in_again(hub: Served) -> None:
    now = int(time.time())
    before = bearer(token(sub="eve", iat=now - 60, **EVERYTHING))
    without = bearer(token(sub="eve", iat=None, **EVERYTHING))
    revoke(hub, sub="eve")
    assert answers(hub, before) == {(401, "token_revoked")}
    assert {status for status, _ in answers(hub, without)} == {401}
    revoke(hub, sub="eve", iss="https://another.example")
    assert answers(hub, bearer(token(sub="bob", iat=now - 60, **EVERYTHING))) == {(200, None)}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({}, (401, "missing_token")), (bearer(token(**EVERYTHING)), (403, "not_granted"))],
)
def test_only_admins_revoke_see_streams_and_cancel_runs(
    hub: Served, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    for answer in (
        hub.ask("POST", "/revocations", '{"jti": "t5"}', headers),
        hub.ask("GET", "/streams", headers=headers),
        hub.ask("GET", "/runs", headers=headers),
        hub.ask("DELETE", "/runs?topic=a", headers=headers),
    ):
        assert (answer.status, answer.json()["code"]) == expected


def test_a_revoked_admin_is_not_one(hub: Served) -> None:
    admin = bearer(token(jti="t6", admin=True))
    assert hub.ask("GET", "/streams", headers=admin).status == 200
    revoke(hub, jti="t6")
    assert hub.ask("GET", "/streams", headers=admin).status == 401
    assert hub.ask("POST", "/revocations", '{"jti": "t7"}', admin).status == 401


def test_the_open_streams_say_whose_they_are(hub: Served) -> None:
    headers = bearer(token(sub="kim", **EVERYTHING))
    with hub.listen("/events/a", headers) as listener:
        listener.take(1)
        streams = hub.ask("GET", "/streams", headers=ADMIN).json()["streams"]
        assert [stream["topics"] for stream in streams if stream["sub"] == "kim"] == [["a"]]
