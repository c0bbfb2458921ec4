"""Who may do what over HTTP. Tokens that attackers make are in tests/hardening/test_tokens.py."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from support.tokens import SECRET, bearer, token
from tidewire import Grant, Hub, Tokens
from tidewire.errors import TidewireError


class Answer:
    """Sends one request to the app of a hub, as from `client`, and keeps what comes back."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    hub: Hub,
    method: str,
    path: str,
    *parts: bytes,
    headers: Mapping[str, str] | None = None,
    client: str = "192.0.2.7",
    query: str = "",
) -> Answer:
    given = {"accept": "application/json", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "client": (client, 5),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
    }
    answer, waiting = Answer(), list(parts) or [b""]

    async def receive() -> Any:
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    await hub.app(scope, receive, answer.send)
    return answer


async def test_a_hub_without_keys_is_open_to_everybody() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        for headers in ({}, {"Authorization": "Basic YTpi"}, bearer("x")):
            assert (await ask(hub, "POST", "/events/a", b"x", headers=headers)).status == 200
            assert (await ask(hub, "GET", "/events/a", headers=headers)).status == 200


async def test_metrics_are_for_this_machine_and_for_admins() -> None:
    """Attack G03."""
    locked, open_hub = Hub(auth=Tokens(SECRET), per_process=True), Hub(per_process=True)
    async with locked.lifespan(), open_hub.lifespan():
        for hub in (locked, open_hub):
            assert (await ask(hub, "GET", "/metrics", client="127.0.0.1")).status == 200
        refusal = await ask(open_hub, "GET", "/metrics")
        assert (refusal.status, refusal.json()["code"]) == (403, "loopback_only")
        refusal = await ask(locked, "GET", "/metrics")
        assert (refusal.status, refusal.json()["code"]) == (401, "missing_token")
        refusal = await ask(locked, "GET", "/metrics", headers=bearer(token(subscribe=["**"])))
        assert (refusal.status, refusal.json()["grant"]) == (403, "admin")
        assert (await ask(locked, "GET", "/metrics", headers=bearer(token(admin=True)))).status == 200


async def test_the_challenge_of_a_401() -> None:
    """By value: RFC 6750, section 3.1."""
    hub = Hub(auth=Tokens(SECRET), per_process=True)
    async with hub.lifespan():
        expected = {
            "": "Bearer",
            "x": 'Bearer error="invalid_token"',
            token(iat=None, exp=5): 'Bearer error="invalid_token"',
        }
        for text, challenge in expected.items():
            answer = await ask(hub, "GET", "/events/a", headers=bearer(text) if text else {})
            assert answer.headers["www-authenticate"] == challenge


async def test_a_function_of_the_program_decides() -> None:
    async def who(scope: Mapping[str, Any]) -> Grant | None:
        name = dict(scope["headers"]).get(b"x-user", b"").decode()
        return Grant([f"users/{name}/*"], [f"users/{name}/*"], sub=name) if name else None

    hub = Hub(auth=who, per_process=True)
    async with hub.lifespan():
        ada = {"x-user": "ada"}
        assert (await ask(hub, "POST", "/events/users/ada/1", b"x", headers=ada)).status == 200
        assert (await ask(hub, "GET", "/events/users/ada/1", headers=ada)).status == 200
        refusal = await ask(hub, "GET", "/events/users/bob/1", headers=ada)
        assert (refusal.status, refusal.json()["topic"]) == (403, "users/bob/1")
        refusal = await ask(hub, "GET", "/events/users/ada/1")
        assert (refusal.status, refusal.json()["code"]) == (401, "unauthorized")


async def test_a_function_that_fails_is_503_and_nothing_is_stored() -> None:
    def who(scope: Mapping[str, Any]) -> Grant:
        raise OSError("no database")

    hub = Hub(auth=who, per_process=True)
    async with hub.lifespan():
        refusal = await ask(hub, "POST", "/events/a", b"x")
        assert (refusal.status, refusal.json()["code"]) == (503, "auth_unavailable")
        assert refusal.json()["stored"] is False
        assert refusal.headers["retry-after"] == "5"
        assert (await hub.head()).offset == 0


async def test_a_token_that_lives_longer_than_the_setting() -> None:
    hub = Hub(auth=Tokens(SECRET), per_process=True, max_token_life=60)
    async with hub.lifespan():
        now = int(time.time())
        for life, status in ((60, 200), (120, 401)):
            text = token(subscribe=["a"], iat=now, exp=now + life)
            assert (await ask(hub, "GET", "/events/a", headers=bearer(text))).status == status


async def test_an_ingest_ends_with_its_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may run for hours. What came before is stored."""
    until = time.time() + 3600
    hub = Hub(auth=lambda scope: Grant(publish=["a"], until=until), per_process=True)
    line = b'{"topic": "a", "data": "x"}\n'
    async with hub.lifespan():
        headers = {"content-type": "application/x-ndjson"}
        monkeypatch.setattr("tidewire.delivery.bearers.time", Ticking(until - 3))
        answer = await ask(hub, "POST", "/events", *[line] * 5, headers=headers)
        last = json.loads(answer.body.splitlines()[-1])
        assert (last["line"], last["code"], last["stored"]) == (3, "token_expired", False)
        assert (await hub.head()).offset == 2


class Ticking:
    """A clock that goes on by a second each time it is asked."""

    def __init__(self, now: float) -> None:
        self._now = now - 1

    def time(self) -> float:
        self._now += 1
        return self._now


async def test_programs_need_no_grant() -> None:
    hub = Hub(auth=Tokens(SECRET), per_process=True)
    async with hub.lifespan():
        await hub.publish("a", "x")
        assert len((await hub.history("a")).events) == 1


def test_weak_keys_are_refused_at_start() -> None:
    """Attack D17."""
    for key in ("!ChangeMe!", "0123456789abcdef", "!ChangeThisMercureHubJWTSecretKey!"):
        with pytest.raises(TidewireError, match="token key"):
            Hub(auth=Tokens(key))


COOKIE = {"cookie": "sessionid=1"}


async def test_a_write_by_the_cookie_of_a_framework_needs_a_page_that_may() -> None:
    """Attack E03."""
    hub = Hub(auth=lambda scope: Grant(["**"], ["**"], sub="ada"), per_process=True)
    async with hub.lifespan():
        for method, path in (("POST", "/events/a"), ("DELETE", "/events/a"), ("POST", "/tickets")):
            refusal = await ask(hub, method, path, b"x", headers=COOKIE)
            assert (refusal.status, refusal.json()["code"]) == (403, "cross_site")
            for more in ({"sec-fetch-site": "same-origin"}, {"authorization": "Token 1"}):
                assert (await ask(hub, method, path, b"x", headers={**COOKIE, **more})).status == 200
        assert (await ask(hub, "GET", "/events/a", headers=COOKIE)).status == 200
        assert (await ask(hub, "POST", "/session", headers={"sec-fetch-site": "same-origin"})).status == 404


async def test_a_ticket_has_the_grant_that_the_program_gave() -> None:
    grants = [Grant(["a"], sub="ada"), None]
    hub = Hub(auth=lambda scope: grants.pop(0), per_process=True)
    async with hub.lifespan():
        ticket = (await ask(hub, "POST", "/tickets")).json()["ticket"]
        assert (await ask(hub, "GET", "/events/a", query=f"ticket={ticket}")).status == 200
        assert (await ask(hub, "GET", "/events/a")).status == 401
        grants += [Grant([f"topics/{number}" * 9 for number in range(999)])]
        refusal = await ask(hub, "POST", "/tickets")
        assert (refusal.status, refusal.json()["code"]) == (400, "too_many_grants")


async def test_a_native_client_with_a_ticket_tries_again_while_the_process_stops() -> None:
    hub = Hub(auth=Tokens(SECRET), per_process=True)
    native, ours = {"accept": "text/event-stream"}, {"accept": "text/event-stream", "tidewire-client": "x"}
    async with hub.lifespan():
        ticket = (await ask(hub, "POST", "/tickets", headers=bearer(token(subscribe=["a"])))).json()["ticket"]
        await hub.drain()
        for query, headers, status in (
            (f"ticket={ticket}", native, 200),
            (f"ticket={ticket}", ours, 503),
            (f"ticket={ticket}&control=none", native, 503),
        ):
            answer = await ask(hub, "GET", "/events/a", headers=headers, query=query)
            assert answer.status == status
        answer = await ask(hub, "GET", "/events/a", headers=native, query=f"ticket={ticket}")
        assert answer.body.startswith(b": draining\nretry: ")
