"""Keys of an identity provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.identity_provider import AUDIENCE, IdentityProvider, identity_provider
from support.tokens import SECRET, bearer, token
from tidewire.auth import jwks as module
from tidewire.auth.grants import Grant
from tidewire.auth.jwks import INTERVAL, MAX_AGE, MAX_BYTES, keys_in
from tidewire.auth.tokens import Tokens
from tidewire.errors import Unauthorized, Unavailable


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as running:
        running.add("k1")
        yield running


@pytest.fixture
def tokens(provider: IdentityProvider) -> Tokens:
    return Tokens(jwks_url=provider.url, issuer=provider.issuer, audience=AUDIENCE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(module, "time", clock)
    return clock


async def grant_of(tokens: Tokens, text: str) -> Grant:
    headers = [(name.encode(), value.encode()) for name, value in bearer(text).items()]
    return await tokens.grant({"headers": headers})


async def refused(tokens: Tokens, text: str) -> None:
    with pytest.raises(Unauthorized):
        await grant_of(tokens, text)


async def test_its_tokens_are_good(provider: IdentityProvider, tokens: Tokens) -> None:
    for number in range(3):
        assert (await grant_of(tokens, provider.token("k1", sub=f"user-{number}"))).sub == f"user-{number}"
    assert provider.requests == ["/jwks.json"]


async def test_beside_a_key_of_the_same_algorithm(provider: IdentityProvider) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    pem = own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    tokens = Tokens(pem, SECRET, jwks_url=provider.url, issuer=provider.issuer, audience=AUDIENCE)
    claims = {"iss": provider.issuer, "aud": AUDIENCE}
    # Tokens of the hub's own keys need no fetch, and an algorithm that no JWKS has causes none.
    assert await grant_of(tokens, token(own, algorithm="ES256", **claims))
    assert await grant_of(tokens, token(**claims))
    await refused(tokens, token("another-secret-of-the-tests-0123456789", **claims))
    assert provider.requests == []
    assert await grant_of(tokens, provider.token("k1"))


async def test_many_at_once_are_one_fetch(provider: IdentityProvider, tokens: Tokens) -> None:
    made = [provider.token("k1", jti=str(number)) for number in range(50)]
    grants = await asyncio.gather(*(grant_of(tokens, text) for text in made))
    assert [grant.jti for grant in grants] == [str(number) for number in range(50)]
    assert len(provider.requests) == 1


async def test_a_key_may_have_no_name_where_it_is_the_only_one(
    provider: IdentityProvider, tokens: Tokens
) -> None:
    text = token(provider._keys["k1"], algorithm="ES256", iss=provider.issuer, aud=AUDIENCE)
    assert await grant_of(tokens, text)


async def test_unknown_names_cause_one_fetch(
    provider: IdentityProvider, tokens: Tokens, clock: SimpleNamespace
) -> None:
    """Attack D04."""
    provider.add("elsewhere")
    stranger = provider._keys.pop("elsewhere")

    def forged(number: int) -> str:
        claims = {"iss": provider.issuer, "aud": AUDIENCE}
        return token(stranger, algorithm="ES256", head={"kid": f"random-{number}"}, **claims)

    assert await grant_of(tokens, provider.token("k1"))
    clock.now += INTERVAL
    for number in range(1000):
        await refused(tokens, forged(number))
    assert len(provider.requests) == 2
    provider.status = 500
    clock.now += INTERVAL
    await refused(tokens, forged(0))
    assert len(provider.requests) == 3
    # Tokens of the keys that are known stay good, those that were not seen before too.
    assert await grant_of(tokens, provider.token("k1", jti="new"))


async def test_a_new_key_is_found(provider: IdentityProvider, tokens: Tokens, clock: SimpleNamespace) -> None:
    assert await grant_of(tokens, provider.token("k1"))
    provider.add("k2")
    await refused(tokens, provider.token("k2"))
    clock.now += INTERVAL
    assert await grant_of(tokens, provider.token("k2"))


async def test_a_key_that_is_removed_is_forgotten(
    provider: IdentityProvider, tokens: Tokens, clock: SimpleNamespace
) -> None:
    """Attack D14. The token was verified before, and is remembered."""
    provider.add("k2")
    old = provider.token("k1")
    assert await grant_of(tokens, old)
    provider.remove("k1")
    assert await grant_of(tokens, old)
    clock.now += MAX_AGE + 1
    assert await grant_of(tokens, old)  # this one starts the fetch
    assert tokens._jwks is not None
    assert tokens._jwks._fetching is not None
    await tokens._jwks._fetching
    await refused(tokens, old)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"keys": 7}', b"\xff", b"<html>", b" " * (MAX_BYTES + 1)]
)
async def test_what_is_not_a_jwks(
    provider: IdentityProvider, tokens: Tokens, clock: SimpleNamespace, body: bytes
) -> None:
    text = provider.token("k1")
    provider.body = body
    for _ in range(3):
        with pytest.raises(Unavailable) as refusal:
            await grant_of(tokens, text)
        assert refusal.value.code == "auth_unavailable"
    assert len(provider.requests) == 1
    provider.body = None
    clock.now += INTERVAL
    assert await grant_of(tokens, text)
    # From now on there are keys to go on with.
    provider.body = body
    clock.now += MAX_AGE + 1
    assert await grant_of(tokens, provider.token("k1", jti="new"))


async def test_no_url_of_a_token_is_fetched(provider: IdentityProvider, tokens: Tokens) -> None:
    """Attacks D05 and D11."""
    with identity_provider() as evil:
        evil.add("k1")
        for head in ({"jku": evil.url}, {"x5u": evil.url}, {"kid": evil.url}, {"jwk": {"kty": "EC"}}):
            text = token(
                evil._keys["k1"],
                algorithm="ES256",
                head={"kid": "k1", **head},
                iss=provider.issuer,
                aud=AUDIENCE,
            )
            await refused(tokens, text)
        await refused(tokens, evil.token("k1"))
        assert evil.requests == []


def test_unusable_keys_are_left_out() -> None:
    keys: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYw", "kid": "secret"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "tiny"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "no point"},
        {"kty": "EC", "kid": "nothing"},
        {"kty": "EC", "kid": 7},
        7,
        None,
    ]
    assert keys_in(json.dumps({"keys": keys}).encode()) == {}


async def test_every_node_knows_the_key_of_a_ticket(provider: IdentityProvider, tokens: Tokens) -> None:
    another = Tokens(jwks_url=provider.url, issuer=provider.issuer, audience=AUDIENCE)
    name = tokens.key_of(await grant_of(tokens, provider.token("k1")))
    there = await another.with_key(Grant(["a"]), name)
    assert (there.subscribe, another.key_of(there)) == (("a",), name)
    assert there.check is not None
    assert there.check()
    # A key that is gone, and a hub that was started again without the JWKS.
    own = Tokens(SECRET)
    for access, key in ((another, "0" * 64), (own, name)):
        with pytest.raises(Unauthorized):
            await access.with_key(Grant(["a"]), key)
    assert own.key_of(await grant_of(own, token())) == ""
