"""
The types of ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html), and waiting for a disconnect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


async def disconnected(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def address_in(scope: Mapping[str, Any]) -> str | None:
    """Return the address of the client, or None if the server does not know it."""
    return scope["client"][0] if scope.get("client") else None
