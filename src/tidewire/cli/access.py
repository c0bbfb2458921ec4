"""Who may use a hub: the options of `serve` for tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..auth.grants import Grant

if TYPE_CHECKING:
    from ..auth.tokens import Tokens


class KeyType(click.ParamType[str]):
    """A key, or the path of its file."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        # A PEM text has spaces and line ends.
        return [rv] if "-----BEGIN" in rv else rv.split()


def option(name: str, metavar: str, help: str, *names: str, **more: Any) -> Callable[..., Any]:
    variable = f"TIDEWIRE_{name[2:].upper().replace('-', '_')}"
    return click.option(name, *names, metavar=metavar, envvar=variable, show_envvar=True, help=help, **more)


OPTIONS = (
    option(
        "--token-key",
        "KEY",
        "Demand tokens that are signed with this key: the path of a file with a secret or a public key"
        " (PEM), or, in the variable, the key itself. Repeatable.",
        "token_keys",
        multiple=True,
        type=KeyType(),
    ),
    option("--token-issuer", "TEXT", "What `iss` of every token must be."),
    option("--token-audience", "TEXT", "What `aud` of every token must be. Without it, tokens have none."),
    option("--jwks-url", "URL", "Demand tokens of the identity provider that has its keys here."),
    option(
        "--anonymous-subscribe",
        "PATTERN",
        "Let clients without a token subscribe to this topic or pattern. Repeatable.",
        multiple=True,
    ),
    option(
        "--anonymous-publish",
        "PATTERN",
        "Let clients without a token publish to this topic or pattern. Repeatable.",
        multiple=True,
    ),
)


def token_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for add in reversed(OPTIONS):
        command = add(command)
    return command


def tokens_of(
    keys: Sequence[str], issuer: str | None, audience: str | None, jwks_url: str | None, anonymous: Grant
) -> Tokens | None:
    """Return what the options say; None if the hub has no key. Raises `InvalidInput` if a key is bad."""
    if keys or jwks_url:
        # The libraries for tokens are a seventh of the time in which a hub starts.
        from ..auth.tokens import Tokens

        return Tokens(*keys, issuer=issuer, audience=audience, jwks_url=jwks_url, anonymous=anonymous)
    if issuer or audience or anonymous.subscribe or anonymous.publish:
        raise click.UsageError("tokens need a key: pass --token-key or --jwks-url")
    return None


def without_token(anonymous: Grant) -> str:
    """Describe what clients without a token may do."""
    rights = [
        f"{kind} to {', '.join(terms)}"
        for kind, terms in (("subscribe", anonymous.subscribe), ("publish", anonymous.publish))
        if terms
    ]
    return f"without one: {' and '.join(rights) or 'nothing'}"
