"""`tidewire token`, and the options of `tidewire serve` for tokens."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jwt
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from support.processes import Process
from support.tokens import SECRET, bearer, token
from tidewire.auth.tokens import Tokens
from tidewire.cli import main
from tidewire.cli.access import KeyType


def run(*argv: str, input: str | None = None, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner(env={"TIDEWIRE_TOKEN_KEY": None, **(env or {})}).invoke(main, argv, input=input)


def made(*argv: str) -> str:
    result = run("token", "make", *argv)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


# -- keys


def test_a_key_is_new_and_long_each_time() -> None:
    keys = {run("token", "key").stdout.strip() for _ in range(3)}
    assert len(keys) == 3
    for key in keys:
        Tokens(key)


def test_a_key_in_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub.key"
    assert run("token", "key", str(path)).stdout == ""
    assert path.stat().st_mode & 0o777 == 0o600
    Tokens(str(path))
    before = path.read_text()
    assert run("token", "key", str(path)).exit_code != 0
    assert path.read_text() == before


# -- tokens


def test_what_a_token_says() -> None:
    text = made(
        *("--key", SECRET, "--subscribe", "a/*", "--subscribe", "b", "--publish", "c", "--admin"),
        *("--subject", "ada", "--issuer", "me", "--audience", "hub", "--expires", "10m"),
    )
    claims = jwt.decode(text, SECRET, ["HS256"], audience="hub")
    assert claims.pop("exp") - claims.pop("iat") == 600
    assert len(claims.pop("jti")) == 16
    assert claims == {
        "iss": "me",
        "sub": "ada",
        "aud": "hub",
        "tidewire": {"subscribe": ["a/*", "b"], "publish": ["c"], "admin": True},
    }


PRIVATE = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_private_key_signs_and_its_public_key_verifies(algorithm: str, tmp_path: Path) -> None:
    key = PRIVATE[algorithm]
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    text = made("--key", str(private), "--subscribe", "a")
    assert jwt.get_unverified_header(text)["alg"] == algorithm
    result = run("token", "explain", text, "--key", str(public))
    assert result.exit_code == 0
    assert "accepts it" in result.stdout


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--key", SECRET, "--key", SECRET],
        ["--key", "short"],
        ["--key", "./not-there.key"],
        ["--key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"],
        ["--key", SECRET, "--subscribe", "a*"],
        ["--key", SECRET, "--publish", "$sys/a"],
        ["--key", SECRET, "--expires", "soon"],
    ],
)
def test_what_makes_no_token(argv: list[str]) -> None:
    result = run("token", "make", *argv)
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    assert SECRET not in result.output


def test_a_long_life_is_pointed_out() -> None:
    result = run("token", "make", "--key", SECRET, "--expires", "2d")
    assert "--max-token-life 172800" in result.stderr
    assert run("token", "make", "--key", SECRET, "--expires", "1d").stderr == ""


# -- explaining


def test_explaining_needs_no_key() -> None:
    text = token(subscribe=["a/*"], exp=int(time.time()) + 100)
    for result in (run("token", "explain", text), run("token", "explain", "-", input=text + "\n")):
        assert result.exit_code == 0
        assert '"subscribe":["a/*"]' in result.stdout
        assert "UTC, in " in result.stdout
        assert "not verified" in result.stdout


def test_explaining_says_why_a_hub_refuses_it() -> None:
    now = int(time.time())
    for text, why in {
        token("another-secret-of-the-tests-0123456789"): "no key of the hub has signed it",
        token(aud="x"): "aud is not ours",
        token(exp=None): "exp is missing",
        token(iat=None, exp=now - 5): "expired",
        token(subscribe=["a*"]): "must be a whole level",
        token(sub="s" * 513): "sub must be text of at most 512 characters",
    }.items():
        result = run("token", "explain", text, "--key", SECRET)
        assert result.exit_code == 1
        assert why in result.stderr
    assert run("token", "explain", token(aud="x"), "--key", SECRET, "--audience", "x").exit_code == 0


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "e30.e30", "W10.W10.x", "\x1b[2J"])
def test_what_is_not_a_token(text: str) -> None:
    result = run("token", "explain", text)
    assert result.exit_code == 1
    assert "not a JWT" in result.stderr


def test_a_token_cannot_write_to_the_terminal() -> None:
    result = run("token", "explain", token(sub="\x1b[2J\u202e"))
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output


def test_a_pem_text_in_a_variable_is_one_key() -> None:
    pem = "-----BEGIN PUBLIC KEY-----\nAA AA\n-----END PUBLIC KEY-----"
    assert KeyType().split_envvar_value(pem) == [pem]
    assert KeyType().split_envvar_value("one.key two.key") == ["one.key", "two.key"]


# -- serve


def ask(url: str, headers: Mapping[str, str], data: bytes | None = None) -> int:
    try:
        with urlopen(Request(url, data, dict(headers)), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_a_hub_with_a_key(tmp_path: Path) -> None:
    """From the first command to the first event, as in docs/how-to/auth.md."""
    path = tmp_path / "hub.key"
    run("token", "key", str(path))
    writer = made("--key", str(path), "--publish", "orders/*")
    reader = made("--key", str(path), "--subscribe", "orders/*")
    serve = ["tidewire", "serve", "--port", "0", "--token-key", str(path), "--host", "0.0.0.0"]
    argv = [*serve, "--anonymous-subscribe", "public/**", "--engine", "memory"]
    with Process([sys.executable, "-m", *argv]) as server:
        port = server.wait_line(r"on http://0\.0\.0\.0:(\d+)").group(1)
        server.wait_line("open to  clients with a token; without one: subscribe to public/\\*\\*; web")
        url = f"http://127.0.0.1:{port}/events"
        history = {"Accept": "application/json"}
        assert ask(f"{url}/orders/7", bearer(writer), b"paid") == 200
        assert ask(f"{url}/orders/7", {**history, **bearer(reader)}) == 200
        assert ask(f"{url}/orders/7", {**history, **bearer(writer)}) == 403
        assert ask(f"{url}/orders/7", bearer(reader), b"x") == 403
        assert ask(f"{url}/orders/7", history) == 401
        assert ask(f"{url}/public/7", history) == 200
        assert ask(f"{url}/public/7", {}, b"x") == 401
        assert server.stop() == 0
        assert path.read_text().strip() not in server.output


REFUSED = {
    "no key on another address": (["--host", "0.0.0.0"], 2, "--token-key"),
    "a key and --open": (["--open", "--token-key", SECRET], 2, "leave it out"),
    "patterns without a key": (["--anonymous-subscribe", "a"], 2, "tokens need a key"),
    "an audience without a key": (["--token-audience", "a"], 2, "tokens need a key"),
    "a bad pattern": (["--anonymous-publish", "a*", "--token-key", SECRET], 1, "whole level"),
    "attack D17: a short key": (["--token-key", "!ChangeMe!"], 1, "at least 32 bytes"),
    "attack D17: a known key": (["--token-key", "!ChangeThisMercureHubJWTSecretKey!"], 1, "placeholder"),
    "no such file": (["--token-key", "/etc/nothing/here/that/is/long/enough.key"], 1, "cannot be read"),
    "a JWKS without an audience": (
        ["--jwks-url", "https://login.example/jwks", "--token-issuer", "x"],
        1,
        "JWKS",
    ),
    "a JWKS by http": (
        ["--jwks-url", "http://login.example/", "--token-issuer", "x", "--token-audience", "y"],
        1,
        "https",
    ),
}


@pytest.mark.parametrize(("argv", "code", "why"), REFUSED.values(), ids=REFUSED)
def test_serve_refuses_to_start(argv: list[str], code: int, why: str) -> None:
    result = run("serve", "--port", "0", "--engine", "memory", *argv)
    assert (result.exit_code, why in result.stderr) == (code, True), result.output
    assert "!Change" not in result.output
