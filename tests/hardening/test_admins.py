"""Attack G03 (docs/reference/attacks.md): what is for admins, on a hub with keys and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.tokens import SECRET, bearer, token
from support.ways import Served, served

REVOCATION = '{"jti": "g03"}'
# What each admin may ask for, and its status. The last one is 404, since no run is known.
ROUTES = [
    ("GET", "/metrics", None, 200),
    ("GET", "/streams", None, 200),
    ("GET", "/runs", None, 200),
    ("GET", "/inspect/overview", None, 200),
    ("GET", "/inspect/topics", None, 200),
    ("POST", "/revocations", REVOCATION, 204),
    ("DELETE", "/runs?topic=g03", None, 404),
]
# What proxies add. The server takes the address of the client from the first one.
PROXIED = [
    {"X-Forwarded-For": "203.0.113.3"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1"},
    {"X-Real-IP": "127.0.0.1"},
]
EVERYTHING = {"subscribe": ["**"], "publish": ["**"]}


@pytest.fixture(scope="module")
def locked(kind: tuple[str, str], url: str) -> Iterator[Served]:
    with served(kind[0], "locked_hub:app", url=url, keys=[SECRET], anonymous=EVERYTHING) as running:
        yield running


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
def test_g03_without_keys_this_machine_is_the_admin(
    hub: Served, method: str, path: str, body: str | None, status: int
) -> None:
    assert hub.ask(method, path, body).status == status
    for headers in PROXIED:
        refused = hub.ask(method, path, body, headers)
        assert (refused.status, refused.json()["code"]) == (403, "loopback_only"), headers
    # Everything else may come through a proxy.
    assert hub.ask("POST", "/events/g03", "x", PROXIED[0]).status == 200


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
def test_g03_with_keys_a_token_says_who_is_an_admin(
    locked: Served, method: str, path: str, body: str | None, status: int
) -> None:
    admin, user = bearer(token(admin=True)), bearer(token(**EVERYTHING))
    for headers in [{}, *PROXIED]:
        assert locked.ask(method, path, body, {**headers, **admin}).status == status
        if path == "/metrics" and not headers:  # these are for this machine, too
            continue
        refused = locked.ask(method, path, body, {**headers, **user})
        assert (refused.status, refused.json()["grant"]) == (403, "admin")
        refused = locked.ask(method, path, body, headers)
        assert (refused.status, refused.json()["code"]) == (401, "missing_token")
