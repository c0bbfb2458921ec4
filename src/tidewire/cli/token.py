"""`tidewire token`"""

from __future__ import annotations

import asyncio
import base64
import datetime
import os
import secrets
import sys
import time
from collections.abc import Sequence
from typing import Any

import click
import orjson

from ..auth.claims import BadToken
from ..auth.grants import Grant
from ..auth.signing import new_secret, sign
from ..auth.tokens import Tokens
from ..errors import InvalidInput, TidewireError
from ..http.requests import DURATION, SECONDS
from ..settings import Settings
from . import printable


@click.group()
def token() -> None:
    """
    Make keys and tokens, and explain a token.

    \b
      tidewire token key hub.key
      tidewire serve --token-key hub.key
      tidewire token make --key hub.key --subscribe 'orders/*' --publish 'orders/*'
    """


@token.command()
@click.argument("path", required=False)
def key(path: str | None) -> None:
    """
    Make a key: print it, or write it to a new file at PATH that only you can read.

    It is a secret for HS256: those who have it can make tokens.
    """
    made = new_secret()
    if path is None:
        click.echo(made)
        return
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.FileError(path, error.strerror) from None
    with open(file, "w", encoding="ascii") as opened:
        opened.write(made + "\n")


class Life(click.ParamType[int]):
    """Seconds, such as `10m`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = DURATION.fullmatch(str(value))
        if found is None:
            self.fail("must be a number and s, m, h or d, such as 10m", param, ctx)
        return int(found[1]) * SECONDS[found[2]]


key_option = click.option(
    "--key",
    "keys",
    metavar="KEY",
    multiple=True,
    envvar="TIDEWIRE_TOKEN_KEY",
    show_envvar=True,
    help="Path of the file with the key, or the key itself.",
)
issuer_option = click.option("--issuer", metavar="TEXT", help="What `iss` is.")
audience_option = click.option("--audience", metavar="TEXT", help="What `aud` is.")


@token.command()
@key_option
@click.option("--subscribe", metavar="PATTERN", multiple=True, help="Allow to subscribe to this. Repeatable.")
@click.option("--publish", metavar="PATTERN", multiple=True, help="Allow to publish to this. Repeatable.")
@click.option("--admin", is_flag=True, help="Allow to read the metrics and manage the hub.")
@click.option("--subject", metavar="TEXT", help="Whose token it is (`sub`).")
@issuer_option
@audience_option
@click.option(
    "--expires",
    metavar="TIME",
    type=Life(),
    default="1h",
    show_default=True,
    help="When it ends, such as 10m.",
)
def make(
    keys: Sequence[str],
    subscribe: Sequence[str],
    publish: Sequence[str],
    admin: bool,
    subject: str | None,
    issuer: str | None,
    audience: str | None,
    expires: int,
) -> None:
    """Make a token and print it. The key is the hub's secret, or the private key (PEM) of its public one."""
    if len(keys) != 1:
        raise click.UsageError("sign with one key: pass --key")
    Grant(subscribe, publish)  # refuses what the hub would refuse
    now = int(time.time())
    given = {"iss": issuer, "sub": subject, "aud": audience}
    own: dict[str, Any] = {"subscribe": subscribe, "publish": publish}
    claims = {
        **{name: value for name, value in given.items() if value is not None},
        "jti": secrets.token_hex(8),
        "iat": now,
        "exp": now + expires,
        "tidewire": {**own, "admin": True} if admin else own,
    }
    click.echo(sign(claims, keys[0]))
    longest = Settings().max_token_life
    if expires > longest:
        click.echo(
            f"A hub accepts this token only with --max-token-life {expires} or more; the default is"
            f" {longest:.0f}.",
            err=True,
        )


@token.command()
@click.argument("text", metavar="TOKEN")
@key_option
@issuer_option
@audience_option
def explain(text: str, keys: Sequence[str], issuer: str | None, audience: str | None) -> None:
    """
    Print what TOKEN says (`-` reads it from stdin), and with a key whether a hub accepts it.

    The exit code is 1 if it does not.
    """
    if text == "-":
        text = sys.stdin.read()
    text = text.strip()
    for name, fields in zip(("head", "claims"), parts(text), strict=True):
        click.echo(f"{name:8}{printable(orjson.dumps(fields).decode())}")
        if name == "claims":
            for claim in ("iat", "nbf", "exp"):
                if when := moment(fields.get(claim)):
                    click.echo(f"{claim:8}{when}")
    if not keys:
        click.echo("verdict not verified: pass the hub's key with --key")
        return
    try:
        asyncio.run(verify(text, keys, issuer, audience))
    except BadToken as error:
        raise TidewireError(f"a hub with this key refuses it: {error.why}", code=error.code) from None
    click.echo("verdict a hub with this key accepts it")


def parts(text: str) -> list[dict[str, Any]]:
    """Return the head and the claims of a token that is not verified. Raises `InvalidInput`."""
    try:
        head, claims, _ = text.split(".")
        found = [
            orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (head, claims)
        ]
    except ValueError:
        raise InvalidInput("this is not a JWT") from None
    if not all(isinstance(fields, dict) for fields in found):
        raise InvalidInput("this is not a JWT")
    return found


def moment(seconds: object) -> str:
    """Describe a time in seconds since 1970; "" if it is not one."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return ""
    try:
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    away = seconds - time.time()
    return f"{at:%Y-%m-%d %H:%M:%S} UTC, " + (f"in {away:.0f} s" if away >= 0 else f"{-away:.0f} s ago")


async def verify(text: str, keys: Sequence[str], issuer: str | None, audience: str | None) -> None:
    tokens = Tokens(*keys, issuer=issuer, audience=audience)
    await tokens.verify(text.encode(), time.time())
