"""
Who a request comes from: what the HTTP layer asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from ..errors import Forbidden, TidewireError
from .grants import Grant

Kind = Literal["subscribe", "publish"]


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

    def refusal(self, grant: Grant, kind: Kind, topic: str) -> TidewireError:
        """Return the refusal of a request for a topic that `grant` does not allow."""


class Open:
    """Everybody may subscribe and publish to everything."""

    GRANT = Grant(subscribe=["**"], publish=["**"])

    async def grant(self, scope: Mapping[str, Any]) -> Grant:
        return self.GRANT

    def remember(self, scope: Mapping[str, Any]) -> Callable[[], Grant | None] | None:
        return lambda: self.GRANT

    def refusal(self, grant: Grant, kind: Kind, topic: str) -> TidewireError:
        return not_granted(kind, topic)


def not_granted(kind: Kind, topic: str) -> Forbidden:
    """Return the refusal for the bearer of a valid grant: exactly what is missing."""
    return Forbidden(
        f"you have no `{kind}` grant for this topic", code="not_granted", topic=topic, grant=kind
    )
