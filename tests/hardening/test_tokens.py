"""Attacks C and D of docs/reference/attacks.md on a hub with keys: both ways to the socket, two engines."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.documents import serving
from support.identity_provider import AUDIENCE, IdentityProvider, identity_provider
from support.tokens import SECRET, bearer, token
from support.waiting import wait_until
from support.ways import Answer, Listener, Served, raw_request, served, tracebacks
from tidewire import Hub, Tokens
from tidewire.auth import jwks
from tidewire.delivery import bearers

RSA = rsa.generate_private_key(65537, 2048)
PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OTHER = "another-secret-of-the-tests-0123456789"
NOW = time.time()


@pytest.fixture(scope="module")
def hub(kind: tuple[str, str], url: str) -> Iterator[Served]:
    keys = [SECRET, PUBLIC.decode()]
    anonymous = {"subscribe": ["public/**"]}
    with served(kind[0], "locked_hub:app", url=url, keys=keys, anonymous=anonymous) as running:
        yield running
        assert tracebacks(running.process.output) == 0
        assert SECRET not in running.process.output
        assert "eyJ" not in running.process.output


def requests_of(hub: Served, authorization: str | None, topic: str = "a/1") -> list[Answer]:
    """Ask for everything that a token is needed for."""
    headers = {} if authorization is None else {"Authorization": authorization}
    event = {"topic": topic, "data": "x"}
    lines = {**headers, "Content-Type": "application/x-ndjson"}
    return [
        hub.ask("GET", f"/events/{topic}", headers=headers),
        hub.ask("HEAD", f"/events/{topic}", headers=headers),
        hub.ask("GET", f"/events/{topic}?control=none", headers=headers),
        hub.ask("GET", f"/events/{topic}", headers={**headers, "Accept": "application/json"}),
        hub.ask("POST", f"/events/{topic}", b"x", headers),
        hub.ask("POST", "/events", json.dumps(event), headers),
        hub.ask("POST", "/events", json.dumps([event]), headers),
        hub.ask("DELETE", f"/events/{topic}", headers=headers),
        hub.ask("POST", "/events", json.dumps(event) + "\n", lines),
    ]


def refused(hub: Served, authorization: str | None, code: str = "invalid_token") -> None:
    before = head(hub)
    for answer in requests_of(hub, authorization):
        assert answer.status == 401
        if answer.body:  # not of HEAD
            assert_refused(answer, 401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert head(hub) == before


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert "eyJ" not in answer.body.decode()


def head(hub: Served) -> str:
    """Return the position of the log: it moves if anything is stored."""
    answer = hub.ask("GET", "/events/public/x", headers={"Accept": "application/json"})
    return str(answer.json()["head"])


def part(fields: Any) -> str:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


CLAIMS = {"exp": int(NOW) + 3000, "tidewire": {"subscribe": ["**"], "publish": ["**"]}}


def signed(head: Any, claims: Any = CLAIMS, key: str = SECRET) -> str:
    """Return a token whose parts PyJWT would not make, properly signed with HS256."""
    text = f"{part(head)}.{part(claims)}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        text.encode(), key.encode()
    )
    return f"{text}.{part(signature)}"


def good(**claims: Any) -> dict[str, str]:
    return bearer(token(**claims))


def test_a_good_token_is_good(hub: Served) -> None:
    """Or else all that is refused below would prove nothing."""
    for text in (signed({"alg": "HS256"}), token(RSA, algorithm="RS256", subscribe=["a/*"], publish=["a/*"])):
        published = hub.ask("POST", "/events/a/good", b"x", bearer(text))
        assert published.status == 200
        read = hub.ask("GET", "/events/a/good", headers={**bearer(text), "Accept": "application/json"})
        assert read.json()["events"][-1]["id"] == published.json()["id"]
        with hub.listen("/events/a/good?since=start", bearer(text)) as listener:
            assert listener.take(2)[-1].data == "x"


def test_without_a_token_only_what_is_open_to_everybody(hub: Served) -> None:
    refused(hub, None, "missing_token")
    with hub.listen("/events/public/x") as listener:
        assert listener.take(1)[0].event == "hub.position"
    assert_refused(hub.ask("POST", "/events/public/x", b"x"), 401, "missing_token")


NONE = [
    jwt.encode(CLAIMS, None, "none"),
    *(f"{part({'alg': alg})}.{part(CLAIMS)}." for alg in ("None", "NONE", "nOnE", "", "HS256", "RS256")),
    f"{part({'alg': 'HS256'})}.{part(CLAIMS)}",
    f"{part({})}.{part(CLAIMS)}.",
    f"{part({'alg': 7})}.{part(CLAIMS)}.AAAA",
    f"{part({'alg': ['HS256']})}.{part(CLAIMS)}.AAAA",
]


@pytest.mark.parametrize("text", NONE)
def test_d01_no_algorithm_or_signature(hub: Served, text: str) -> None:
    refused(hub, f"Bearer {text}")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_d02_signed_with_the_public_key_as_a_secret(hub: Served, algorithm: str) -> None:
    text = f"{part({'alg': algorithm})}.{part(CLAIMS)}"
    for pem in (PUBLIC, PUBLIC.strip()):
        signer = jwt.get_algorithm_by_name(algorithm)
        refused(hub, f"Bearer {text}.{part(signer.sign(text.encode(), pem))}")


def test_d02_other_algorithms_of_the_same_key(hub: Served) -> None:
    for algorithm in ("HS384", "HS512"):
        refused(hub, f"Bearer {jwt.encode(CLAIMS, SECRET * 2, algorithm)}")
    for algorithm in ("RS384", "RS512", "PS256"):
        refused(hub, f"Bearer {jwt.encode(CLAIMS, RSA, algorithm)}")


@pytest.mark.parametrize(
    "kid", ["../../dev/null", "' OR 1", "https://evil.example/key", "/proc/self/environ", "\x00"]
)
def test_d03_a_kid_that_names_something_else(hub: Served, kid: str) -> None:
    """The attacker signs with what they hope the hub finds there."""
    for key in ("", "\n", OTHER):
        refused(hub, f"Bearer {signed({'alg': 'HS256', 'kid': kid}, key=key)}")


@pytest.mark.parametrize("kid", ["k" * 10_000, "k" * 600, 7, ["k"], {"k": 1}, True])
def test_d03_a_kid_that_is_not_a_name(hub: Served, kid: Any) -> None:
    """Refused even if the signature is good."""
    refused(hub, f"Bearer {signed({'alg': 'HS256', 'kid': kid})}")


@pytest.mark.parametrize("field", ["jku", "x5u", "jwk", "x5c"])
def test_d05_keys_in_the_head(hub: Served, field: str) -> None:
    with identity_provider() as evil:
        evil.add("k")
        value = {"jwk": {"kty": "oct", "k": part(OTHER.encode())}, "x5c": ["AAAA"]}.get(field, evil.url)
        refused(hub, f"Bearer {signed({'alg': 'HS256', field: value}, key=OTHER)}")
        assert evil.requests == []


def test_an_extension_that_is_not_understood(hub: Served) -> None:
    refused(hub, f"Bearer {signed({'alg': 'HS256', 'crit': ['x'], 'x': 1})}")
    refused(hub, f"Bearer {signed({'alg': 'HS256', 'crit': ['b64'], 'b64': False})}")


TIMES: dict[str, bytes] = {
    "no exp": b"{}",
    "exp is null": b'{"exp": null}',
    "exp is text": b'{"exp": "9999999999"}',
    "exp is true": b'{"exp": true}',
    "exp is a list": b'{"exp": [9999999999]}',
    "exp is NaN": b'{"exp": NaN}',
    "exp is Infinity": b'{"exp": Infinity}',
    "exp is too large": b'{"exp": 1e400}',
    "exp is in milliseconds": b'{"exp": %d}' % (int(NOW + 3000) * 1000),
    "exp has many digits": b'{"exp": 1%s}' % (b"0" * 5000),
    "exp is negative": b'{"exp": -1}',
    "nbf in an hour": b'{"exp": %d, "nbf": %d}' % (NOW + 5000, NOW + 3600),
    "nbf is text": b'{"exp": %d, "nbf": "x"}' % (NOW + 3000),
    "iat in an hour": b'{"exp": %d, "iat": %d}' % (NOW + 5000, NOW + 3600),
    "iat is NaN": b'{"exp": %d, "iat": NaN}' % (NOW + 3000),
    "lives for years": b'{"exp": %d}' % (NOW + 1e8),
}
SHAPES: dict[str, bytes] = {
    "not an object": b"[]",
    "not JSON": b"exp",
    "not UTF-8": b'{"exp": "\xff"}',
    "nested": b"[" * 5000,
    "empty": b"",
    "sub is a number": b'{"exp": %d, "sub": 7}' % (NOW + 3000),
    "jti is a list": b'{"exp": %d, "jti": []}' % (NOW + 3000),
    "sub is too long to be revoked": b'{"exp": %d, "sub": "%b"}' % (NOW + 3000, b"s" * 513),
    "jti is too long to be revoked": b'{"exp": %d, "jti": "%b"}' % (NOW + 3000, b"j" * 513),
    "iss is too long to be revoked": b'{"exp": %d, "iss": "%b"}' % (NOW + 3000, b"i" * 513),
    "tidewire is text": b'{"exp": %d, "tidewire": "admin"}' % (NOW + 3000),
    "subscribe is text": b'{"exp": %d, "tidewire": {"subscribe": "**"}}' % (NOW + 3000),
    "subscribe has numbers": b'{"exp": %d, "tidewire": {"subscribe": [7]}}' % (NOW + 3000),
    "admin is text": b'{"exp": %d, "tidewire": {"admin": "false"}}' % (NOW + 3000),
    "a bad pattern": b'{"exp": %d, "tidewire": {"subscribe": ["a*"]}}' % (NOW + 3000),
    "a reserved topic": b'{"exp": %d, "tidewire": {"publish": ["$sys/a"]}}' % (NOW + 3000),
}


@pytest.mark.parametrize("claims", [*TIMES.values(), *SHAPES.values()], ids=[*TIMES, *SHAPES])
def test_d08_claims_that_make_no_sense(hub: Served, claims: bytes) -> None:
    refused(hub, f"Bearer {signed({'alg': 'HS256'}, claims)}")


def test_d08_expired(hub: Served) -> None:
    refused(hub, f"Bearer {token(iat=None, exp=int(NOW) - 1)}", "token_expired")


@pytest.mark.parametrize("head", [b"[" * 2000, b"{" * 50, b"7", b"null", b"", b"\xff\xfe"])
def test_a_head_that_is_not_one(hub: Served, head: bytes) -> None:
    refused(hub, f"Bearer {signed(head)}")


def test_d09_an_audience_that_is_not_ours(hub: Served) -> None:
    """This hub has none. Hubs with issuer and audience: tests/auth/test_tokens.py."""
    for aud in ("other", ["other"], [], {}, 7):
        refused(hub, f"Bearer {signed({'alg': 'HS256'}, {**CLAIMS, 'aud': aud})}")


def test_d14_streams_of_a_key_that_left_the_jwks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks for anything while the streams are open."""
    for module, name in ((jwks, "INTERVAL"), (jwks, "MAX_AGE"), (bearers, "CHECK_EVERY")):
        monkeypatch.setattr(module, name, 0.05)
    with identity_provider() as provider:
        provider.add("k1")
        provider.add("k2")
        tokens = Tokens(jwks_url=provider.url, issuer=provider.issuer, audience=AUDIENCE)
        program = Hub(auth=tokens, per_process=True)
        with serving(program.app) as url:
            port = int(url.rpartition(":")[2])
            one, two = (bearer(provider.token(name, subscribe=["a"])) for name in ("k1", "k2"))
            with Listener(port, "/events/a", one) as ended, Listener(port, "/events/a", two) as goes_on:
                assert [event.event for event in ended.take(1) + goes_on.take(1)] == ["hub.position"] * 2
                provider.status = 500  # the keys of the last fetch stay good
                asked = len(provider.requests)
                wait_until(lambda: len(provider.requests) > asked + 1)
                assert len(program.streams()) == 2
                provider.remove("k1")
                provider.status = 200
                assert [event.data for event in ended.rest()] == ['{"reason":"revoked"}']
                program.publish_soon("a", "hello").result()
                assert goes_on.take(1)[0].data == "hello"


def test_d14_a_stream_of_a_ticket_ends_with_the_key_of_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((jwks, "INTERVAL"), (jwks, "MAX_AGE"), (bearers, "CHECK_EVERY")):
        monkeypatch.setattr(module, name, 0.05)
    with identity_provider() as provider:
        provider.add("k1")
        tokens = Tokens(jwks_url=provider.url, issuer=provider.issuer, audience=AUDIENCE)
        program = Hub(auth=tokens, per_process=True)
        with serving(program.app) as url:
            hub = Served(int(url.rpartition(":")[2]), None, "uvicorn")  # type: ignore[arg-type] - not a process
            headers = bearer(provider.token("k1", subscribe=["a"]))
            tickets = [hub.ask("POST", "/tickets", headers=headers).json()["ticket"] for _ in range(2)]
            with Listener(hub.port, f"/events/a?ticket={tickets[0]}") as ended:
                assert [event.event for event in ended.take(1)] == ["hub.position"]
                provider.remove("k1")
                provider.add("k2")
                assert [event.data for event in ended.rest()] == ['{"reason":"revoked"}']
            refused = hub.ask("GET", f"/events/a?ticket={tickets[1]}")
            assert (refused.status, refused.json()["code"]) == (401, "invalid_ticket")


@pytest.mark.parametrize("name", ["access_token", "token", "jwt", "authorization"])
def test_d15_a_token_in_the_query(hub: Served, name: str) -> None:
    text = token(subscribe=["**"], publish=["**"])
    for method, body in (("GET", None), ("POST", b"x")):
        for headers in ({}, bearer(text)):
            answer = hub.ask(method, f"/events/a/1?{name}={text}", body, headers)
            assert_refused(answer, 400, "token_in_query")
            assert text not in answer.body.decode() + str(answer.headers)


def test_d16_a_header_and_a_cookie(hub: Served) -> None:
    """The header counts. A cookie, whatever is in it, is nothing."""
    cookie = {"Cookie": f"token={token(subscribe=['**'], publish=['**'])}"}
    answer = hub.ask("POST", "/events/a/1", b"x", {**cookie, **good(subscribe=["a/*"])})
    assert_refused(answer, 403, "not_granted")
    assert_refused(hub.ask("POST", "/events/a/1", b"x", cookie), 401, "missing_token")


AUTHORIZATIONS = [
    "Basic YTpi",
    "Bearer",
    "Bearer ",
    "Bearer\t{0}",
    "Bearer {0} {0}",
    "Bearer {0}, Bearer {0}",
    "Bearer: {0}",
    "Bearer {0}\x7f",
    "Bearer \xff",
    "{0}",
    'Bearer "{0}"',
]


@pytest.mark.parametrize("authorization", AUTHORIZATIONS)
def test_d18_other_authorizations(hub: Served, authorization: str) -> None:
    text = token(subscribe=["**"], publish=["**"])
    for head in (b"GET /events/a/1", b"POST /events/a/1"):
        value = authorization.format(text).encode("latin-1")
        lines = [b"%b HTTP/1.1" % head, b"Host: localhost", b"Connection: close", b"Content-Length: 0"]
        request = b"\r\n".join([*lines, b"Authorization: " + value, b"", b""])
        assert raw_request(hub.port, request).split()[1] in (b"400", b"401")


def test_d18_two_authorizations(hub: Served) -> None:
    one = token(subscribe=["**"], publish=["**"])
    for first, second in [(one, one), (one, "x"), ("x", one)]:
        request = (
            f"POST /events/a/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n"
            f"Authorization: Bearer {first}\r\nauthorization: Bearer {second}\r\n\r\nx"
        )
        assert raw_request(hub.port, request.encode()).split()[1] == b"401"


# -- topics


@pytest.mark.parametrize("asked", ["**", "*", "*/1", "a/**", "b/*"])
def test_c02_a_pattern_without_the_grant(hub: Served, asked: str) -> None:
    """The answer is that for a topic that does not exist."""
    headers = good(subscribe=["a/*"])
    answers = [
        hub.ask("GET", f"/events?topic={quote(topic)}", headers=headers) for topic in (asked, "nowhere")
    ]
    for answer in answers:
        assert_refused(answer, 403, "not_granted")
    first, second = (answer.json() for answer in answers)
    assert first == {**second, "topic": asked}
    assert (second["topic"], second["grant"]) == ("nowhere", "subscribe")


def test_c02_nobody_is_told_what_exists(hub: Served) -> None:
    """A topic with events and one without: the same bytes, with a token and without."""
    hub.ask("POST", "/events/secret/1", b"x", good(publish=["secret/*"]))
    for headers in (good(subscribe=["a/*"]), {}):
        first, second = (
            hub.ask("GET", f"/events/secret/{name}?since=start", headers=headers) for name in "12"
        )
        assert first.body.replace(b"secret/1", b"secret/2") == second.body
        assert first.status == second.status
        if not headers:
            assert b"secret" not in first.body
            assert b"grant" not in first.body


@pytest.mark.parametrize("topic", ["acme", "acmeX/1", "ACME/1", "acme/1/2", "acme/*/1", "acme/**"])
def test_c04_names_that_look_like_the_granted_one(hub: Served, topic: str) -> None:
    headers = good(subscribe=["acme/*"], publish=["acme/*"])
    answer = hub.ask("GET", f"/events?topic={quote(topic)}", headers=headers)
    assert_refused(answer, 403, "not_granted")
    if "*" not in topic:
        for answer in (
            hub.ask("POST", f"/events?topic={quote(topic)}", b"x", headers),
            hub.ask("POST", "/events", json.dumps({"topic": topic}), headers),
            hub.ask("DELETE", f"/events?topic={quote(topic)}", headers=headers),
        ):
            assert_refused(answer, 403, "not_granted")
            assert answer.json()["stored"] is False
            assert (answer.json()["topic"], answer.json()["grant"]) == (topic, "publish")


def test_c06_topics_are_counted_before_the_token_is_read(hub: Served) -> None:
    many = "&".join(f"topic={number}" for number in range(101))
    for headers in ({}, bearer("x"), good(subscribe=["**"])):
        answer = hub.ask("GET", f"/events?{many}", headers=headers)
        assert_refused(answer, 400, "too_many_topics")


def test_c06_too_many_grants(hub: Served) -> None:
    refused(hub, f"Bearer {token(subscribe=['a'] * 1001)}")
    # 30,000 do not even fit in a head.
    raw = raw_request(
        hub.port,
        b"GET /events/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer %b\r\n\r\n"
        % token(subscribe=["a"] * 30_000).encode(),
    )
    assert raw.split()[1] in (b"400", b"401", b"431")


def test_c10_one_topic_of_several_is_forbidden(hub: Served) -> None:
    headers = good(subscribe=["a/*"], publish=["a/*"])
    answer = hub.ask("GET", "/events?topic=a/1&topic=b/1", headers=headers)
    assert_refused(answer, 403, "not_granted")
    assert answer.json()["topic"] == "b/1"
    before = head(hub)
    batch = [{"topic": "a/1", "data": "x"}, {"topic": "b/1", "data": "x"}]
    answer = hub.ask("POST", "/events", json.dumps(batch), headers)
    assert_refused(answer, 403, "not_granted")
    assert (answer.json()["index"], answer.json()["stored"]) == (1, False)
    assert head(hub) == before


def test_c10_a_line_of_many_is_forbidden(hub: Served) -> None:
    """The lines before it are stored, as always."""
    headers = {**good(publish=["lines/*"]), "Content-Type": "application/x-ndjson"}
    topics = ["lines/1", "lines/2", "other/1", "lines/3"]
    for blank in ("", "\n"):  # with a blank line they are read one by one
        lines = blank + "".join(json.dumps({"topic": topic, "data": "x"}) + "\n" for topic in topics)
        answer = hub.ask("POST", "/events", lines, headers)
        *receipts, last = map(json.loads, answer.body.splitlines())
        shift = len(blank)
        assert receipts[-1]["lines"][1] == 2 + shift
        assert (last["line"], last["code"], last["stored"]) == (3 + shift, "not_granted", False)


# -- pages of other sites


def test_e01_e04_a_token_does_not_open_the_hub_to_other_origins(hub: Served) -> None:
    """A page that has got hold of a token still needs its origin to be allowed."""
    evil = {"Origin": "https://evil.example", **good(subscribe=["a/*"], publish=["a/*"])}
    before = head(hub)
    assert_refused(hub.ask("POST", "/events/a/1", b"x", evil), 403, "cross_site")
    assert head(hub) == before
    cookie = {**evil, "Cookie": "session=1"}
    assert_refused(hub.ask("GET", "/events/a/1", headers=cookie), 403, "cross_site")
    answers = [
        hub.ask("GET", "/events/a/1", headers={**evil, "Accept": "application/json"}),
        hub.ask("GET", "/events/b/1", headers=evil),
        hub.ask("GET", "/events/b/1", headers={"Origin": "https://evil.example"}),
        hub.ask("OPTIONS", "/events/a/1", headers=evil),
    ]
    assert [answer.status for answer in answers] == [200, 403, 401, 204]
    for answer in answers:
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "origin"


# -- the same head again and again


def publish_often(hub: Served, headers: dict[str, str], topic: str, times: int = 4) -> list[int]:
    """Publish on one connection. From the third time on our own server knows the head."""
    connection = HTTPConnection("127.0.0.1", hub.port, timeout=30)
    statuses = []
    for _ in range(times):
        connection.request("POST", f"/events/{topic}", b"x", headers)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        if response.status != 200:
            break
    connection.close()
    return statuses


def test_a_known_head_is_refused_once_its_token_has_expired(hub: Served) -> None:
    headers = good(publish=["a/*"], iat=None, exp=time.time() + 3)
    connection = HTTPConnection("127.0.0.1", hub.port, timeout=30)
    statuses = []
    deadline = time.monotonic() + 30
    while (not statuses or statuses[-1] == 200) and time.monotonic() < deadline:
        connection.request("POST", "/events/a/1", b"x", headers)
        response = connection.getresponse()
        body = response.read()
        statuses.append(response.status)
        time.sleep(0.05)
    connection.close()
    assert len(statuses) > 4
    assert statuses[-1] == 401
    assert json.loads(body)["code"] == "token_expired"


def test_a_known_head_has_the_rights_of_its_token(hub: Served) -> None:
    assert publish_often(hub, good(publish=["a/*"]), "a/1") == [200] * 4
    assert publish_often(hub, good(publish=["b/*"]), "a/1") == [403]
    assert publish_often(hub, {}, "a/1") == [401]


# -- the keys of an identity provider


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as running:
        running.add("k1")
        yield running


@pytest.fixture(scope="module")
def jwks_hub(kind: tuple[str, str], url: str, provider: IdentityProvider) -> Iterator[Served]:
    options = {"jwks_url": provider.url, "issuer": provider.issuer, "audience": "hub"}
    with served(kind[0], "locked_hub:app", url=url, **options) as running:
        yield running
        assert tracebacks(running.process.output) == 0


def test_d04_d05_d11_a_thousand_unknown_keys(jwks_hub: Served, provider: IdentityProvider) -> None:
    assert jwks_hub.ask("POST", "/events/a", b"x", bearer(provider.token("k1", publish=["a"]))).status == 200
    fetched = len(provider.requests)
    with identity_provider() as evil:
        evil.add("k1")
        for number in range(300):
            head = {"kid": f"random-{number}", "jku": evil.url}
            text = token(
                evil._keys["k1"],
                algorithm="ES256",
                head=head,
                iss=evil.issuer if number % 2 else provider.issuer,
                aud="hub",
                publish=["**"],
            )
            assert_refused(jwks_hub.ask("POST", "/events/a", b"x", bearer(text)), 401, "invalid_token")
        assert evil.requests == []
    assert len(provider.requests) <= fetched + 1
    provider.status = 500
    try:
        text = provider.token("k1", publish=["a"], jti="another")
        assert jwks_hub.ask("POST", "/events/a", b"x", bearer(text)).status == 200
    finally:
        provider.status = 200


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_d02_another_algorithm_than_that_of_the_jwks(
    jwks_hub: Served, provider: IdentityProvider, algorithm: str
) -> None:
    claims = {**CLAIMS, "iss": provider.issuer, "aud": "hub"}
    key = "" if algorithm == "none" else provider.jwks().decode()
    text = signed({"alg": algorithm, "kid": "k1"}, claims, key)
    assert_refused(jwks_hub.ask("POST", "/events/a", b"x", bearer(text)), 401, "invalid_token")
