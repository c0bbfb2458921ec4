"""Attacks D13 and D14: streams whose grant ends, on both ways to the socket, with memory and SQLite."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.waiting import wait_until
from support.ways import Served, served

NATIVE = {"Accept": "text/event-stream"}


@pytest.fixture(
    scope="module",
    params=[("takeover", "memory"), ("takeover", "sqlite"), ("uvicorn", "memory"), ("uvicorn", "sqlite")],
)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    way, engine = request.param
    folder = tmp_path_factory.mktemp("log")
    url = "memory" if engine == "memory" else f"sqlite:///{folder}/log.db"
    with served(way, "granted_streams:app", url=url) as running:
        yield running


def revoke(hub: Served, **fields: Any) -> None:
    answer = hub.ask("POST", "/revocations", json.dumps(fields))
    assert (answer.status, answer.body) == (204, b"")


def code(hub: Served, path: str) -> tuple[int, str | None]:
    """Return how a request of a native EventSource is refused."""
    answer = hub.ask("GET", path, headers=NATIVE)
    return answer.status, answer.json().get("code")


def open_streams(hub: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hub.ask("GET", "/streams").json()["streams"]
    return found


def test_d13_a_grant_that_ends_in_mid_stream(hub: Served) -> None:
    began = time.monotonic()
    with hub.listen("/stream?seconds=1.5") as normal, hub.listen("/stream?seconds=1.5&plain=1") as plain:
        events = normal.rest()
        assert time.monotonic() - began > 1.4
        assert [(event.event, event.data) for event in events] == [
            ("hub.position", "{}"),
            ("hub.auth", '{"reason":"expired"}'),
        ]
        assert plain.rest_until_cut() == []
    assert code(hub, "/stream?seconds=0") == (401, "token_expired")
    assert code(hub, "/stream?seconds=0&plain=1") == (401, "token_expired")
    assert hub.ask("HEAD", "/stream?seconds=0").status == 401


def test_d14_a_token_that_is_revoked(hub: Served) -> None:
    with (
        hub.listen("/stream?jti=t1&sub=ann") as normal,
        hub.listen("/stream?jti=t1&plain=1") as plain,
        hub.listen("/stream?jti=t2&sub=ann") as other,
    ):
        revoke(hub, jti="t1", until=time.time() + 3600)
        assert [event.data for event in normal.rest()][1:] == ['{"reason":"revoked"}']
        assert plain.rest_until_cut() == []
        hub.publish("news", "hello")
        assert other.take(2)[1].data == "hello"
    assert code(hub, "/stream?jti=t1") == (401, "token_revoked")


def test_d14_a_subject_that_is_revoked(hub: Served) -> None:
    before, after = time.time() - 60, time.time() + 60
    with (
        hub.listen(f"/stream?sub=eve&iss=idp&iat={before}") as old,
        hub.listen(f"/stream?sub=eve&iss=idp&iat={after}") as new,
        hub.listen(f"/stream?sub=eve&iss=other&iat={before}") as other,
    ):
        revoke(hub, sub="eve", iss="idp")
        assert [event.data for event in old.rest()][1:] == ['{"reason":"revoked"}']
        hub.publish("news", "hello")
        for listener in (new, other):
            assert listener.take(2)[1].data == "hello"
        revoke(hub, sub="eve")
        assert [event.event for event in other.rest()] == ["hub.auth"]
    for iss in ("idp", "other"):
        assert code(hub, f"/stream?sub=eve&iss={iss}&iat={before}") == (401, "token_revoked")
        assert code(hub, f"/stream?sub=eve&iss={iss}") == (401, "token_revoked")


def test_d14_a_revocation_outlives_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with served("takeover", "granted_streams:app", url=url) as hub:
        revoke(hub, jti="t1")
        hub.ask("POST", "/kick?sub=ann")
    with served("takeover", "granted_streams:app", url=url) as hub:
        assert code(hub, "/stream?jti=t1") == (401, "token_revoked")
        with hub.listen("/stream?sub=ann") as listener:
            assert listener.take(1)[0].event == "hub.position"
            hub.publish("news", "hello")
            assert listener.take(1)[0].data == "hello"


def test_a_kick_ends_all_streams_of_a_subject(hub: Served) -> None:
    with (
        hub.listen("/stream?sub=kim") as one,
        hub.listen("/stream?sub=kim&plain=1") as two,
        hub.listen("/stream?sub=lea") as other,
    ):
        hub.ask("POST", "/kick?sub=kim&reason=logged+out")
        assert [event.data for event in one.rest()][1:] == ['{"reason":"logged out"}']
        assert two.rest_until_cut() == []
        with hub.listen("/stream?sub=kim") as again:
            hub.publish("news", "hello")
            assert again.take(2)[1].data == other.take(2)[1].data == "hello"


def test_the_open_streams(hub: Served) -> None:
    wait_until(lambda: open_streams(hub) == [])
    with hub.listen("/stream?sub=ann&iss=idp"), hub.listen("/events?topic=a&topic=b/*"):
        wait_until(lambda: len(open_streams(hub)) == 2)
        ann, nobody = sorted(open_streams(hub), key=lambda stream: stream["sub"] is None)
        head = hub.publish("elsewhere", "x")
        assert (ann["sub"], ann["iss"], ann["topics"]) == ("ann", "idp", ["news"])
        assert (nobody["sub"], nobody["iss"], nobody["topics"]) == (None, None, ["a", "b/*"])
        assert ann["address"] == nobody["address"] == "127.0.0.1"
        assert ann["since"] <= nobody["since"]
        wait_until(lambda: {stream["position"] for stream in open_streams(hub)} == {head})
    wait_until(lambda: open_streams(hub) == [])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", "invalid_json"),
        ("[]", "invalid_json"),
        ('{"jti": "a", "exp": 1}', "invalid_json"),
        ("{}", "invalid_subject"),
        ('{"jti": ""}', "invalid_subject"),
        ('{"jti": 7}', "invalid_subject"),
        ('{"jti": "a", "sub": "b"}', "invalid_subject"),
        ('{"iss": "a"}', "invalid_subject"),
        ('{"sub": "a", "until": 7}', "invalid_subject"),
        ('{"sub": "%s"}' % ("a" * 513), "invalid_subject"),
        ('{"jti": "a", "until": "tomorrow"}', "invalid_until"),
        ('{"jti": "a", "until": true}', "invalid_until"),
    ],
)
def test_revocations_that_are_not_valid(hub: Served, body: str, expected: str) -> None:
    answer = hub.ask("POST", "/revocations", body)
    assert (answer.status, answer.json()["code"]) == (400, expected)


def test_only_post_revokes(hub: Served) -> None:
    answer = hub.ask("GET", "/revocations")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert hub.ask("OPTIONS", "/revocations").status == 204
    foreign = hub.ask("POST", "/revocations", '{"jti": "a"}', {"Origin": "https://evil.example"})
    assert (foreign.status, foreign.json()["code"]) == (403, "cross_site")
