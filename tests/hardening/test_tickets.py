"""Attack D15: tickets in URLs, on both ways to the socket, with memory and SQLite."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.tokens import SECRET, bearer, token
from support.ways import Answer, Served, served, tracebacks

FRIEND = {"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"}
OTHER = {"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"}
OWN = {"Sec-Fetch-Site": "same-origin"}
OPTIONS: dict[str, Any] = {
    "keys": [SECRET],
    "anonymous": {"subscribe": ["public/*"]},
    "allowed_origins": [FRIEND["Origin"], OTHER["Origin"]],
}


@pytest.fixture(
    scope="module",
    params=[("takeover", "memory"), ("takeover", "sqlite"), ("uvicorn", "memory"), ("uvicorn", "sqlite")],
    ids="-".join,
)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    way, engine = request.param
    url = "memory" if engine == "memory" else f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"
    with served(way, "locked_hub:app", url=url, **OPTIONS) as running:
        yield running
        assert tracebacks(running.process.output) == 0
        assert "twt_" not in running.process.output


def ticket(hub: Served, page: dict[str, str] | None = None, **claims: Any) -> str:
    """Get a ticket, as the page of another site does."""
    text = token(**{"subscribe": ["a/*"], "sub": "ada", **claims})
    answer = hub.ask("POST", "/tickets", headers={**bearer(text), **(FRIEND if page is None else page)})
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    given = answer.json()
    assert given["expires_in"] == 60
    return str(given["ticket"])


def refusal(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert "twt_" not in f"{answer.headers}{answer.body!r}"
    return answer.status, answer.json()["code"]


def test_a_ticket_opens_one_stream(hub: Served) -> None:
    one = ticket(hub)
    with hub.listen(f"/events/a/1?ticket={one}", FRIEND) as listener:
        assert listener.headers["access-control-allow-origin"] == FRIEND["Origin"]
        listener.take(1)
        publisher = bearer(token(publish=["**"]))
        assert hub.ask("POST", "/events/a/1", b"hello", publisher).status == 200
        assert listener.take(1)[0].data == "hello"
        streams = hub.ask("GET", "/streams", headers=bearer(token(admin=True))).json()["streams"]
        assert [stream["sub"] for stream in streams if stream["topics"] == ["a/1"]] == ["ada"]
        for path in ("/events/a/1", "/events/a/1?control=none"):
            mark = "&" if "?" in path else "?"
            assert refusal(hub.ask("GET", f"{path}{mark}ticket={one}", headers=FRIEND)) == (
                401,
                "invalid_ticket",
            )


def test_d15_no_answer_lets_the_url_be_a_referrer(hub: Served) -> None:
    """Only where there is a ticket in the URL: the head of all other streams is as documented."""
    page = {**FRIEND, "Accept": "application/json"}
    for path in ("/events/a/1?", "/events/a/1?control=none&"):
        with hub.listen(f"{path}ticket={ticket(hub)}", FRIEND) as listener:
            assert listener.headers["referrer-policy"] == "no-referrer"
    for text in (ticket(hub), "twt_" + "x" * 22, "x"):
        answer = hub.ask("GET", f"/events/a/1?ticket={text}", headers=page)
        assert answer.headers["referrer-policy"] == "no-referrer"
    with hub.listen("/events/public/1") as listener:
        assert "referrer-policy" not in listener.headers


def test_a_plain_stream_and_a_page_of_history(hub: Served) -> None:
    with hub.listen(f"/events/a/2?control=none&ticket={ticket(hub)}", FRIEND) as listener:
        assert listener.status == 200
    page = {**FRIEND, "Accept": "application/json"}
    one = ticket(hub)
    assert hub.ask("GET", f"/events/a/2?ticket={one}", headers=page).json()["events"] == []
    assert refusal(hub.ask("GET", f"/events/a/2?ticket={one}", headers=page)) == (401, "invalid_ticket")


def test_d15_what_is_not_a_ticket(hub: Served) -> None:
    one = ticket(hub)
    swapped = one[:-1] + ("A" if one[-1] != "A" else "B")
    for text in (
        "",
        "x",
        one[:-1],
        one + "A",
        swapped,
        one.upper(),
        "twt_" + "%00" * 22,
        token(),
        "%27 OR 1=1",
    ):
        answer = hub.ask("GET", f"/events/a/1?ticket={text.replace(' ', '%20')}", headers=FRIEND)
        assert refusal(answer) == (401, "invalid_ticket")
    assert refusal(hub.ask("GET", f"/events/a/1?ticket={one}&ticket={one}", headers=FRIEND))[0] == 400
    for name in ("token", "access_token"):
        refused = hub.ask("GET", f"/events/a/1?{name}={one}", headers=FRIEND)
        assert refusal(refused) == (400, "token_in_query")
    with hub.listen(f"/events/a/1?ticket={one}", FRIEND) as listener:  # none of these spent it
        assert listener.status == 200


def test_d15_many_at_once_and_only_one_is_let_in(hub: Served) -> None:
    path = f"/events/a/3?ticket={ticket(hub)}"
    page = {**FRIEND, "Accept": "application/json"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: hub.ask("GET", path, headers=page).status, range(16)))
    assert sorted(answers) == [200, *[401] * 15]


@pytest.mark.parametrize("page", [OTHER, OWN, {}, {"Sec-Fetch-Site": "cross-site"}])
def test_d15_a_ticket_of_another_page(hub: Served, page: dict[str, str]) -> None:
    one = ticket(hub)
    assert refusal(hub.ask("GET", f"/events/a/1?ticket={one}", headers=page)) == (401, "invalid_ticket")
    # A thief has spent it.
    assert refusal(hub.ask("GET", f"/events/a/1?ticket={one}", headers=FRIEND)) == (401, "invalid_ticket")


@pytest.mark.parametrize("page", [OWN, {}])
def test_tickets_of_own_pages_and_programs_are_not_for_others(hub: Served, page: dict[str, str]) -> None:
    answer = hub.ask("GET", f"/events/a/1?ticket={ticket(hub, page)}", headers=FRIEND)
    assert refusal(answer) == (401, "invalid_ticket")
    with hub.listen(f"/events/a/1?ticket={ticket(hub, page)}", page) as listener:
        assert listener.status == 200


def test_d15_a_ticket_is_for_reading_what_its_token_could_read(hub: Served) -> None:
    assert refusal(hub.ask("GET", f"/events/b?ticket={ticket(hub)}", headers=FRIEND)) == (403, "not_granted")
    one = ticket(hub, subscribe=["**"], publish=["**"], admin=True)
    for method, path in (
        ("POST", "/events/a/1"),
        ("DELETE", "/events/a/1"),
        ("POST", "/session"),
        ("POST", "/tickets"),
        ("POST", "/revocations"),
        ("GET", "/streams"),
        ("HEAD", "/events/a/1"),
    ):
        assert hub.ask(method, f"{path}?ticket={one}", headers=FRIEND).status == 401
    with hub.listen(f"/events/a/1?ticket={one}", FRIEND) as listener:
        assert listener.status == 200


def test_d15_the_grant_is_checked_again(hub: Served) -> None:
    ended = ticket(hub, exp=int(time.time()) + 2)
    revoked = ticket(hub, jti="d15")
    admin = bearer(token(admin=True))
    assert hub.ask("POST", "/revocations", b'{"jti": "d15"}', admin).status == 204
    assert refusal(hub.ask("GET", f"/events/a/1?ticket={revoked}", headers=FRIEND)) == (401, "token_revoked")
    time.sleep(2.1)  # `exp` counts whole seconds of the wall clock
    assert refusal(hub.ask("GET", f"/events/a/1?ticket={ended}", headers=FRIEND)) == (401, "token_expired")


def test_d13_d14_streams_of_tickets_end_with_their_token(hub: Served) -> None:
    expiring = ticket(hub, exp=int(time.time()) + 3)
    named = ticket(hub, jti="d14")
    with (
        hub.listen(f"/events/a/1?ticket={expiring}", FRIEND) as one,
        hub.listen(f"/events/a/1?ticket={named}", FRIEND) as two,
    ):
        assert hub.ask("POST", "/revocations", b'{"jti": "d14"}', bearer(token(admin=True))).status == 204
        assert [event.data for event in two.rest()][-1] == '{"reason":"revoked"}'
        assert [event.data for event in one.rest()][-1] == '{"reason":"expired"}'


def test_d16_the_header_counts_and_spends_no_ticket(hub: Served) -> None:
    path = f"/events/a/1?ticket={ticket(hub)}"
    bob = bearer(token(sub="bob", subscribe=["b"]))
    assert refusal(hub.ask("GET", path, headers={**FRIEND, **bob})) == (403, "not_granted")
    # A cookie does not: the page asks for what the ticket is for.
    cookie = {"Cookie": f"__Host-tidewire={token(sub='bob', subscribe=['b'])}"}
    with hub.listen(path, {**FRIEND, **cookie}) as listener:
        assert listener.status == 200


def test_only_bearers_of_tokens_get_tickets(hub: Served) -> None:
    for headers, status in (
        ({}, 401),  # anonymous clients need none
        (bearer("x"), 401),
        (bearer(token(publish=["**"])), 403),  # a ticket is for reading
        ({**bearer(token(subscribe=["a"])), "Origin": "https://evil.example"}, 403),
    ):
        assert hub.ask("POST", "/tickets", headers=headers).status == status
    own = {"Cookie": f"__Host-tidewire={token(subscribe=['a'])}", **OWN}
    assert hub.ask("POST", "/tickets", headers=own).status == 200
    preflight = hub.ask("OPTIONS", "/tickets", headers=FRIEND)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, FRIEND["Origin"])


def test_d15_a_ticket_is_in_no_log_and_survives_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with served("takeover", "locked_hub:app", url=url, **OPTIONS) as before:
        spent, kept = ticket(before), ticket(before)
        with before.listen(f"/events/a/1?ticket={spent}", FRIEND):
            pass
    with served("takeover", "locked_hub:app", url=url, **OPTIONS) as after:
        assert refusal(after.ask("GET", f"/events/a/1?ticket={spent}", headers=FRIEND)) == (
            401,
            "invalid_ticket",
        )
        with after.listen(f"/events/a/1?ticket={kept}", FRIEND) as listener:
            assert listener.status == 200
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert stored
    for text in (spent, kept):
        assert text.encode() not in stored


def test_d15_every_worker_takes_a_ticket_and_only_one_of_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    page = {**FRIEND, "Accept": "application/json"}
    with (
        served("takeover", "locked_hub:app", url=url, **OPTIONS) as one,
        served("uvicorn", "locked_hub:app", url=url, **OPTIONS) as two,
        ThreadPoolExecutor(8) as pool,
    ):
        for _ in range(5):
            path = f"/events/a/1?ticket={ticket(one)}"
            answers = pool.map(
                lambda hub, path=path: hub.ask("GET", path, headers=page).status, [one, two] * 4
            )
            assert sorted(answers) == [200, *[401] * 7]
