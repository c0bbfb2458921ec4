"""
Our own server's offer to an endpoint: to take over the socket of its request, or to cut it off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from ..delivery.subscriber import END_TIMEOUT, Subscriber
from .asgi import Scope, Send


class Offer(Protocol):
    """The type of `scope["extensions"]["tidewire.stream"]`. Implemented by `server.takeover.StreamOffer`."""

    def arm(self, first: bytes, subscriber: Subscriber) -> None: ...

    async def settled(self, timeout: float) -> bool: ...

    def on_stopping(self, callback: Callable[[], object]) -> None: ...

    @property
    def was_cut(self) -> bool: ...


def offer_in(scope: Scope) -> Offer | None:
    offer: Offer | None = (scope.get("extensions") or {}).get("tidewire.stream")
    return offer


# A message that no server and no middleware knows. Ours cuts the connection when it arrives, after
# the bytes sent before it. Starlette's BaseHTTPMiddleware completes the body of an app that returns
# or raises, but not that of one that sends this.
CUT = "tidewire.response.cut"


# Seconds that a server has to write the last bytes before the exception reaches it. Granian drops what it has
# not written by then, and ASGI has no message that waits until everything is written.
WRITE_TIME = 0.1


class ResponseCut(Exception):
    """
    Raised out of the app to cut a response off, on any server but our own.

    ASGI has no message for that. After an exception servers close the connection and do
    not complete the body.
    """

    def __init__(self) -> None:
        super().__init__("a stream is cut off, so that its client does not take it for complete")


async def send_cut(send: Send) -> None:
    """Ask all that is between the app and the socket to cut the connection. Never raises an `Exception`."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(END_TIMEOUT):
            await send({"type": CUT, "more_body": True})


async def finish_cut(offer: Offer | None) -> None:
    """Raise `ResponseCut` after `WRITE_TIME`, unless our own server has cut the connection."""
    if offer is None or not offer.was_cut:
        await asyncio.sleep(WRITE_TIME)
        raise ResponseCut from None
