"""
Our own server's offer to an endpoint: to take over the socket of its request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..delivery.subscriber import Subscriber
from .asgi import Scope


class Offer(Protocol):
    """The type of `scope["extensions"]["tidewire.stream"]`. Implemented by `server.takeover.StreamOffer`."""

    def arm(self, first: bytes, subscriber: Subscriber) -> None: ...

    async def settled(self, timeout: float) -> bool: ...

    def on_stopping(self, callback: Callable[[], object]) -> None: ...


def offer_in(scope: Scope) -> Offer | None:
    offer: Offer | None = (scope.get("extensions") or {}).get("tidewire.stream")
    return offer
