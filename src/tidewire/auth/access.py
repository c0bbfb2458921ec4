"""
Who a request comes from: what the HTTP layer asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from ..errors import Forbidden, TidewireError, Unauthorized
from .grants import Grant

Kind = Literal["subscribe", "publish", "admin"]


class Access(Protocol):
    """Finds the grant of a request. Implemented by `Open`, `Tokens` and `ByCallable`."""

    async def grant(self, scope: Mapping[str, Any]) -> Grant:
        """
        Return what the client of an ASGI scope may do now.

        Raises `Unauthorized` if it must show who it is first, and `Unavailable` if that cannot be found out.
        """

    def remember(self, scope: Mapping[str, Any]) -> Callable[[], Grant | None] | None:
        """
        Return a function that gives the same at once, for each request with the same head; None without one.

        The function returns None if `grant` must be asked again.
        """

    def key_of(self, grant: Grant) -> str:
        """Return the name of the key without which `grant` is not valid; "" if there is none."""

    async def with_key(self, grant: Grant, key: str) -> Grant:
        """
        Return the grant of a ticket, which ends with `key` as that of the token did: see `key_of`.

        Raises `Unauthorized` if the key is not valid any more, and `Unavailable` if that cannot be found out.
        """

    def by_cookie(self, scope: Mapping[str, Any]) -> bool:
        """Whether it may be a cookie that says who the client is: browsers send one for any page."""

    def refusal(self, grant: Grant, kind: Kind, topic: str | None = None) -> TidewireError:
        """Return the refusal of a request that `grant` does not allow."""

    @property
    def takes_tokens(self) -> bool:
        """Whether a token says who the client is."""

    def is_anonymous(self, grant: Grant) -> bool:
        """Whether `grant` is for clients that do not show who they are, though others do."""


class Permit(NamedTuple):
    """What the client of one request may do, and how it is refused what it may not."""

    grant: Grant
    access: Access

    def check_subscribe(self, terms: Iterable[str]) -> None:
        """Raise the refusal if one of `terms`, topics and patterns, is not allowed."""
        for term in terms:
            if not self.grant.may_subscribe(term):
                raise self.access.refusal(self.grant, "subscribe", term)

    def check_publish(self, topic: str) -> None:
        """Raise the refusal if the client may not publish to `topic`."""
        if not self.grant.may_publish(topic):
            raise self.access.refusal(self.grant, "publish", topic)

    def check_subscribes(self) -> None:
        """Raise the refusal if the client may not subscribe to any topic, or is anonymous."""
        if not self.grant.subscribe or self.access.is_anonymous(self.grant):
            raise self.access.refusal(self.grant, "subscribe")

    def check_publishes(self) -> None:
        """Raise the refusal if the client may not publish to any topic: before its body is read."""
        if not self.grant.publish:
            raise self.access.refusal(self.grant, "publish")

    def check_admin(self) -> None:
        """Raise the refusal if the client is not an admin."""
        if not self.grant.admin:
            raise self.access.refusal(self.grant, "admin")


class Open:
    """Everybody may subscribe and publish to everything."""

    GRANT = Grant(subscribe=["**"], publish=["**"])
    takes_tokens = False

    async def grant(self, scope: Mapping[str, Any]) -> Grant:
        return self.GRANT

    def remember(self, scope: Mapping[str, Any]) -> Callable[[], Grant | None] | None:
        return lambda: self.GRANT

    def key_of(self, grant: Grant) -> str:
        return ""

    async def with_key(self, grant: Grant, key: str) -> Grant:
        return grant

    def by_cookie(self, scope: Mapping[str, Any]) -> bool:
        return False

    def is_anonymous(self, grant: Grant) -> bool:
        return False

    def refusal(self, grant: Grant, kind: Kind, topic: str | None = None) -> TidewireError:
        return Forbidden("this is only for clients on the same machine", code="loopback_only")


def not_granted(kind: Kind, topic: str | None) -> Forbidden:
    """Return the refusal for the bearer of a valid grant: exactly what is missing."""
    if topic is None:
        return Forbidden(f"you have no `{kind}` grant", code="not_granted", grant=kind)
    return Forbidden(
        f"you have no `{kind}` grant for this topic", code="not_granted", topic=topic, grant=kind
    )


def missing() -> Unauthorized:
    return Unauthorized("send a token: `Authorization: Bearer TOKEN`", code="missing_token")


def expired() -> Unauthorized:
    return Unauthorized("the token has expired; get a new one", code="token_expired")
