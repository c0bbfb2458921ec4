"""
Session cookies: what a browser sends by itself, and what other pages can make it send.

Attacks D13, D14, D16, D19, E03 and E04 with a cookie that really says who the client is, on both ways to the
socket, with memory and SQLite.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.tokens import SECRET, bearer, token
from support.ways import Answer, Served, served, tracebacks

NAME = "__Host-tidewire"
PAGE = {"Accept": "application/json"}
OWN = {"Sec-Fetch-Site": "same-origin"}
FRIEND = {"Origin": "https://friend.example", "Sec-Fetch-Site": "same-site"}
EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
SIBLING = {"Origin": "https://other.friend.example", "Sec-Fetch-Site": "same-site"}
EVERYTHING: dict[str, Any] = {"subscribe": ["**"], "publish": ["**"]}


@pytest.fixture(
    scope="module",
    params=[("takeover", "memory"), ("takeover", "sqlite"), ("uvicorn", "memory"), ("uvicorn", "sqlite")],
    ids="-".join,
)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    way, engine = request.param
    url = "memory" if engine == "memory" else f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"
    options = {
        "keys": [SECRET],
        "allowed_origins": [FRIEND["Origin"]],
        "anonymous": {"subscribe": ["public/*"]},
    }
    with served(way, "locked_hub:app", url=url, **options) as running:
        yield running
        assert tracebacks(running.process.output) == 0
        assert "eyJ" not in running.process.output


def cookie(text: str, name: str = NAME) -> dict[str, str]:
    return {"Cookie": f"theme=dark; {name}={text}"}


def refusal(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert "eyJ" not in answer.body.decode()
    return answer.status, answer.json()["code"]


def test_the_cookie_by_value(hub: Served) -> None:
    text = token(exp=int(time.time()) + 600, **EVERYTHING)
    answer = hub.ask("POST", "/session", headers={**bearer(text), **OWN})
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (204, b"", "no-store")
    value, path, age, *flags = answer.headers["set-cookie"].split("; ")
    assert (value, path, flags) == (f"{NAME}={text}", "Path=/", ["HttpOnly", "Secure", "SameSite=Strict"])
    assert 590 < int(age.removeprefix("Max-Age=")) <= 600
    assert hub.ask("GET", "/events/a", headers={**PAGE, **cookie(text)}).status == 200
    with hub.listen("/events/a", {**cookie(text), **OWN}) as listener:
        assert listener.status == 200


@pytest.mark.parametrize("path", ["/hub", "/a b/ü"])
def test_the_cookie_of_a_mounted_hub_is_for_its_path(path: str) -> None:
    text = token(**EVERYTHING)
    with served("takeover", "locked_hub:app", keys=[SECRET], mount=path) as hub:
        at = "/hub" if path == "/hub" else "/a%20b/%C3%BC"
        answer = hub.ask("POST", f"{at}/session", headers=bearer(text))
        assert answer.headers["set-cookie"].startswith(f"__Secure-tidewire={text}; Path={at}; ")
        page = hub.ask("GET", f"{at}/events/a", headers={**PAGE, **cookie(text, "__Secure-tidewire")})
        assert page.status == 200
        assert refusal(hub.ask("GET", f"{at}/events/a", headers={**PAGE, **cookie(text)}))[0] == 401


def test_only_a_valid_token_becomes_a_cookie(hub: Served) -> None:
    for headers, code in (
        ({}, "missing_token"),
        ({**cookie(token(**EVERYTHING)), **OWN}, "missing_token"),  # a cookie does not renew itself
        (bearer(token(exp=5, iat=None)), "token_expired"),
        (bearer(token("another-secret-of-the-tests-0123456789")), "invalid_token"),
    ):
        answer = hub.ask("POST", "/session", headers=headers)
        assert refusal(answer) == (401, code)
        assert "set-cookie" not in answer.headers
    long = bearer(token(subscribe=[f"topics/{number}" for number in range(400)]))
    assert refusal(hub.ask("POST", "/session", headers=long)) == (400, "token_too_long")
    assert hub.ask("GET", "/session", headers=bearer(token())).status == 405


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/events/e03"),
        ("DELETE", "/events/e03"),
        ("POST", "/session"),
        ("DELETE", "/session"),
        ("POST", "/tickets"),
        ("POST", "/revocations"),
    ],
)
@pytest.mark.parametrize(
    "page", [EVIL, SIBLING, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}, {}]
)
def test_e03_a_cookie_writes_only_for_pages_that_may(
    hub: Served, method: str, path: str, page: dict[str, str]
) -> None:
    headers = cookie(token(jti="e03", admin=True, **EVERYTHING))
    body = b'{"jti": "e03"}'
    assert refusal(hub.ask(method, path, body, {**headers, **page})) == (403, "cross_site")
    assert hub.ask("GET", "/events/e03", headers={**PAGE, **headers}).json()["events"] == []


def test_e03_own_and_allowed_pages_write_with_a_cookie(hub: Served) -> None:
    headers = cookie(token(**EVERYTHING))
    own = {"Origin": f"http://127.0.0.1:{hub.port}"}
    for page in (OWN, own, FRIEND):
        for _ in range(3):  # the same head again
            assert hub.ask("POST", "/events/e03b", b"x", {**headers, **page}).status == 200


@pytest.mark.parametrize(
    "page", [EVIL, SIBLING, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
@pytest.mark.parametrize("path", ["/events/e04", "/events/public/e04", "/events/e04?control=none"])
def test_e04_no_other_page_spends_the_streams_of_a_user(hub: Served, path: str, page: dict[str, str]) -> None:
    headers = {**cookie(token(**EVERYTHING)), **page}
    assert refusal(hub.ask("GET", path, headers=headers)) == (403, "cross_site")
    assert hub.ask("HEAD", path, headers=headers).status == 403


def test_d16_the_header_counts_and_not_the_cookie(hub: Served) -> None:
    ann, bob = token(sub="ann", subscribe=["ann"]), token(sub="bob", subscribe=["bob"])
    headers = {**PAGE, **bearer(ann), **cookie(bob)}
    assert hub.ask("GET", "/events/ann", headers=headers).status == 200
    assert refusal(hub.ask("GET", "/events/bob", headers=headers)) == (403, "not_granted")
    bad = {**PAGE, **cookie(bob), "Authorization": "Bearer x"}
    assert refusal(hub.ask("GET", "/events/bob", headers=bad)) == (401, "invalid_token")


def test_d19_cookies_that_another_page_of_the_site_set(hub: Served) -> None:
    ann, bob = token(sub="ann", subscribe=["ann"]), token(sub="bob", subscribe=["ann"])
    for given in (
        f"{NAME}={ann}; {NAME}={bob}",
        f"{NAME}=; {NAME}={ann}",
        f"{NAME}=",
        f'{NAME}="{ann}"',
        f"{NAME}=a b",
        f"{NAME}={ann[:-4]}AAAA",
    ):
        answer = hub.ask("GET", "/events/ann", headers={**PAGE, "Cookie": given})
        assert refusal(answer) == (401, "invalid_token")
    for other in ("tidewire", "__Secure-tidewire", "__host-tidewire", f"{NAME}2"):
        answer = hub.ask("GET", "/events/ann", headers={**PAGE, **cookie(ann, other)})
        assert refusal(answer) == (401, "missing_token")


def test_d13_a_session_that_expires_in_mid_stream(hub: Served) -> None:
    headers = cookie(token(exp=int(time.time()) + 2, **EVERYTHING))
    with hub.listen("/events/a", headers) as normal, hub.listen("/events/a?control=none", headers) as plain:
        assert [event.data for event in normal.rest()] == ["{}", '{"reason":"expired"}']
        assert plain.rest_until_cut() == []
    assert refusal(hub.ask("GET", "/events/a", headers=headers)) == (401, "token_expired")


def test_d14_the_end_of_a_session_ends_its_streams_and_its_token(hub: Served) -> None:
    text = token(jti="d14", sub="eve", **EVERYTHING)
    another = token(jti="d14-other", sub="not eve", **EVERYTHING)
    with (
        hub.listen("/events/a", cookie(text)) as one,
        hub.listen("/events/a", bearer(text)) as two,
        hub.listen("/events/a", cookie(another)) as goes_on,
    ):
        answer = hub.ask("DELETE", "/session", headers={**cookie(text), **OWN})
        assert answer.status == 204
        assert (
            answer.headers["set-cookie"] == f"{NAME}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict"
        )
        for listener in (one, two):
            assert [event.data for event in listener.rest()][1:] == ['{"reason":"revoked"}']
        assert hub.ask("POST", "/events/a", b"hello", bearer(another)).status == 200
        assert goes_on.take(2)[1].data == "hello"
    for headers in (cookie(text), bearer(text)):
        assert refusal(hub.ask("GET", "/events/a", headers={**PAGE, **headers})) == (401, "token_revoked")
        assert hub.ask("POST", "/session", headers={**bearer(text), **OWN}).status == 401
    # Ending it again changes nothing, and still takes the cookie away.
    assert hub.ask("DELETE", "/session", headers={**cookie(text), **OWN}).status == 204


def test_d14_the_end_of_a_session_ends_the_streams_of_its_older_tokens(hub: Served) -> None:
    """Each tab may have renewed the cookie."""
    older, text = token(jti="older", sub="kim", **EVERYTHING), token(sub="kim", **EVERYTHING)
    with hub.listen("/events/a", cookie(older)) as listener:
        assert hub.ask("DELETE", "/session", headers={**cookie(text), **OWN}).status == 204
        assert [event.data for event in listener.rest()][1:] == ['{"reason":"logged out"}']


def test_sessions_are_for_tokens() -> None:
    with served("takeover") as open_hub:
        assert open_hub.ask("POST", "/session", headers=bearer(token())).status == 404


def test_preflights(hub: Served) -> None:
    answer = hub.ask("OPTIONS", "/session", headers=FRIEND)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, FRIEND["Origin"])
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in hub.ask("OPTIONS", "/session", headers=EVIL).headers


def test_a_revoked_admin_with_a_cookie_is_not_one(hub: Served) -> None:
    admin = {**cookie(token(jti="root", admin=True)), **OWN}
    assert hub.ask("GET", "/streams", headers=admin).status == 200
    assert hub.ask("POST", "/revocations", json.dumps({"jti": "root"}), admin).status == 204
    assert refusal(hub.ask("GET", "/streams", headers=admin)) == (401, "token_revoked")
