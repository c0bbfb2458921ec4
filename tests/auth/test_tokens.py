"""Tokens in, grants out. What an attacker sends over a socket is in tests/hardening/test_tokens.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from support.tokens import SECRET, token
from tidewire.auth import tokens as module
from tidewire.auth.bearer import MAX_TOKEN, bearer_token
from tidewire.auth.claims import BadToken
from tidewire.auth.grants import Grant
from tidewire.auth.tokens import Tokens
from tidewire.errors import InvalidInput, TidewireError, Unauthorized


def scope(*authorization: str, query: bytes = b"") -> Mapping[str, Any]:
    return {"headers": [(b"authorization", text.encode()) for text in authorization], "query_string": query}


async def grant_of(tokens: Tokens, text: str) -> Grant:
    return await tokens.grant(scope(f"Bearer {text}"))


async def refused(tokens: Tokens, text: str, code: str = "invalid_token") -> None:
    with pytest.raises(Unauthorized) as refusal:
        await grant_of(tokens, text)
    assert refusal.value.code == code


async def test_claims_become_a_grant() -> None:
    until = int(time.time()) + 60
    text = token(
        subscribe=["a/*"], publish=["b"], admin=True, exp=until, iat=until - 90, iss="me", sub="ada", jti="7"
    )
    assert await grant_of(Tokens(SECRET), text) == Grant(
        ["a/*"], ["b"], True, until, iss="me", sub="ada", jti="7", iat=until - 90
    )


async def test_a_token_without_our_claim_grants_nothing() -> None:
    grant = await grant_of(Tokens(SECRET), token(tidewire=None))
    assert (grant.subscribe, grant.publish, grant.admin) == ((), (), False)


PRIVATE = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public_pem(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


PUBLIC_PEM = public_pem(PRIVATE["ES256"])


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_public_keys(algorithm: str, tmp_path: Path) -> None:
    key = PRIVATE[algorithm]
    file = tmp_path / "key.pem"
    file.write_text(public_pem(key))
    text = token(key, algorithm=algorithm)
    for given in (public_pem(key), str(file)):
        assert (await grant_of(Tokens(given), text)).sub == "ada"
    for other in PRIVATE.keys() - {algorithm}:
        await refused(Tokens(public_pem(PRIVATE[other])), text)


async def test_several_keys() -> None:
    """As while a key is replaced by a new one."""
    tokens = Tokens(SECRET, "another-secret-of-the-tests-0123456789")
    text = token()
    assert await grant_of(tokens, text) == await grant_of(Tokens(SECRET), text)
    assert await grant_of(tokens, token("another-secret-of-the-tests-0123456789"))
    await refused(tokens, token("a-third-secret-of-the-tests-0123456789"))


WEAK = {
    "short": "0123456789abcdef0123456789abcde",
    "Mercure's": "!ChangeThisMercureHubJWTSecretKey!",
    "changeme": "!ChangeMe!-!ChangeMe!-!ChangeMe!-!ChangeMe!",
    "one letter": "a" * 64,
    "a path": "/etc/tidewire/a-key-file-that-is-not-there",
    "a name": "keys-of-the-hub-which-are-not-here.pem",
    "an empty one": "",
    "a private one": PRIVATE["ES256"]
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode(),
    "a short RSA key": public_pem(rsa.generate_private_key(65537, 1024)),
    "another curve": public_pem(ec.generate_private_key(ec.SECP384R1())),
    "a JWK": '{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYw"}',
    "no PEM": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
}


@pytest.mark.parametrize("key", WEAK.values(), ids=WEAK)
def test_weak_and_wrong_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Tokens(key)
    assert refusal.value.code == "invalid_token_key"
    assert not key or key not in refusal.value.detail


def test_public_keys_need_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret does not."""
    for name in ("cryptography", "cryptography.hazmat.primitives.serialization"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidInput, match=r"tidewire\[crypto\]"):
        Tokens(PUBLIC_PEM)
    with pytest.raises(InvalidInput, match=r"tidewire\[crypto\]"):
        Tokens(jwks_url="https://login.example/jwks.json", issuer="a", audience="b")
    Tokens(SECRET)


def test_a_key_or_a_jwks_is_needed() -> None:
    with pytest.raises(InvalidInput, match="need a key"):
        Tokens()
    with pytest.raises(InvalidInput, match="an issuer and an audience"):
        Tokens(jwks_url="https://login.example/jwks.json")
    for url in ("http://login.example/jwks.json", "file:///etc/passwd", "https://", "http://["):
        with pytest.raises(InvalidInput, match="must be https"):
            Tokens(jwks_url=url, issuer="a", audience="b")


async def test_issuer_and_audience_are_compared_exactly() -> None:
    """Attack D09."""
    tokens = Tokens(SECRET, issuer="https://login.example", audience="hub")
    assert await grant_of(tokens, token(iss="https://login.example", aud="hub"))
    for iss, aud in [
        ("https://login.example/", "hub"),
        ("https://login.exampl", "hub"),
        ("login.example", "hub"),
        ("HTTPS://login.example", "hub"),
        (None, "hub"),
        ("https://login.example", "hubs"),
        ("https://login.example", ["hub"]),
        ("https://login.example", ["hub", "other"]),
        ("https://login.example", None),
    ]:
        await refused(tokens, token(iss=iss, aud=aud))


async def test_a_token_for_somebody_else_is_refused_without_an_audience() -> None:
    await refused(Tokens(SECRET), token(aud="another-service"))


async def test_a_life_that_is_too_long() -> None:
    tokens = Tokens(SECRET)
    tokens.limit_life(3600)
    now = int(time.time())
    assert await grant_of(tokens, token(exp=now + 3600))
    await refused(tokens, token(exp=now + 3660))
    await refused(tokens, token(iat=None, exp=now + 3660))


async def test_what_has_expired_says_so() -> None:
    now = int(time.time())
    await refused(Tokens(SECRET), token(iat=now - 60, exp=now - 1), "token_expired")


async def test_a_clock_that_is_a_little_ahead() -> None:
    now = int(time.time())
    assert await grant_of(Tokens(SECRET), token(iat=now + 5, nbf=now + 5))
    await refused(Tokens(SECRET), token(iat=now + 60))


class Clock:
    now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The tokens whose signature was verified."""
    seen: list[bytes] = []
    real = module.payload_of

    def payload_of(text: bytes, *rest: Any) -> Any:
        seen.append(text)
        return real(text, *rest)

    monkeypatch.setattr(module, "payload_of", payload_of)
    return seen


async def test_a_token_is_verified_once(clock: Clock, verified: list[bytes]) -> None:
    """Until it expires: that is asked each time."""
    tokens = Tokens(SECRET)
    text = token(iat=clock.now, exp=clock.now + 10)
    recall = tokens.remember(scope(f"Bearer {text}"))
    assert recall is not None
    assert recall() is None
    grants = {id(await grant_of(tokens, text)) for _ in range(3)}
    assert len(grants) == len(verified) == 1
    assert recall() is await grant_of(tokens, text)
    clock.now += 10
    assert recall() is None
    await refused(tokens, text, "token_expired")


async def test_few_tokens_are_remembered(verified: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    tokens = Tokens(SECRET)
    first, second, third = (token(jti=str(number)) for number in range(3))
    for text in (first, second, first, third, first):
        await grant_of(tokens, text)
    assert len(verified) == 3
    await grant_of(tokens, second)
    assert len(verified) == 4


async def test_a_large_token_is_not_remembered(verified: list[bytes]) -> None:
    tokens = Tokens(SECRET)
    text = token(subscribe=[f"topic-{number}" for number in range(500)])
    for _ in range(2):
        assert (await grant_of(tokens, text)).may_subscribe("topic-7")
    assert len(verified) == 2


async def test_a_bad_token_is_not_remembered(verified: list[bytes]) -> None:
    tokens = Tokens(SECRET)
    for _ in range(2):
        await refused(tokens, token("another-secret-of-the-tests-0123456789"))
    assert len(verified) == 2


async def test_without_a_token() -> None:
    nothing = Tokens(SECRET)
    with pytest.raises(Unauthorized) as refusal:
        await nothing.grant(scope())
    assert refusal.value.code == "missing_token"
    assert nothing.remember(scope()) is None
    anonymous = Grant(subscribe=["public/**"])
    some = Tokens(SECRET, anonymous=anonymous)
    recall = some.remember(scope())
    assert recall is not None
    assert recall() is await some.grant(scope()) is anonymous
    # Only those who show a token are told what it lacks.
    assert some.refusal(anonymous, "publish", "a").code == "missing_token"
    assert some.refusal(await grant_of(some, token()), "publish", "a").code == "not_granted"


@pytest.mark.parametrize(
    "headers",
    [
        ["Basic YTpi"],
        ["Bearer"],
        ["Bearer "],
        ["Bearer\ta.b.c"],
        ["Bearer a b"],
        ["a.b.c"],
        ["Bearer a", "Bearer a"],
    ],
)
def test_what_is_not_one_bearer_token(headers: list[str]) -> None:
    with pytest.raises(Unauthorized) as refusal:
        bearer_token(scope(*headers))
    assert refusal.value.code == "invalid_token"


def test_a_bearer_token() -> None:
    assert bearer_token(scope("Bearer a.b-c_~+/==")) == b"a.b-c_~+/=="
    assert bearer_token(scope("bEARER  a")) == b"a"
    assert bearer_token(scope()) is None
    with pytest.raises(Unauthorized):
        bearer_token(scope("Bearer " + "a" * (MAX_TOKEN + 1)))


@pytest.mark.parametrize("name", [b"access_token", b"token", b"jwt", b"Authorization", b"%74oken"])
def test_a_token_in_the_query_is_refused(name: bytes) -> None:
    for headers in ([], ["Bearer a"]):
        with pytest.raises(InvalidInput) as refusal:
            bearer_token(scope(*headers, query=b"topic=a&" + name + b"=x"))
        assert refusal.value.code == "token_in_query"


async def test_every_bad_token_has_the_same_answer() -> None:
    answers = set()
    for text in (token("another-secret-of-the-tests-0123456789"), token(aud="x"), "a.b.c", token(exp=-1)):
        with pytest.raises(TidewireError) as refusal:
            await grant_of(Tokens(SECRET), text)
        assert isinstance(refusal.value, BadToken)
        answers.add(repr(refusal.value.problem()))
    assert len(answers) == 1
