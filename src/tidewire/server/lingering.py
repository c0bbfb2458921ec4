"""
Closing a refused connection gently.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableSet
from typing import Any

# Seconds and bytes for which a refused client may continue to send. Closing a socket that
# has unread bytes resets it, and the reset overtakes the response.
LINGER_TIMEOUT = 1.0
LINGER_LIMIT = 1024 * 1024


class Lingering(asyncio.Protocol):
    """A connection after its last response. It discards what still comes until the peer has read that."""

    __slots__ = ("_connections", "_swallowed", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, connections: MutableSet[Any]) -> None:
        self._transport = transport
        self._connections = connections
        self._swallowed = 0
        self._timer = asyncio.get_running_loop().call_later(LINGER_TIMEOUT, transport.abort)
        connections.add(self)
        transport.set_protocol(self)
        transport.resume_reading()
        if not transport.can_write_eof():
            transport.close()  # TLS keeps reading until the peer's close_notify
            return
        try:
            transport.write_eof()
        except OSError:  # the peer has already closed
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._swallowed += len(data)
        if self._swallowed > LINGER_LIMIT:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._timer.cancel()

    def shutdown(self) -> None:
        self._transport.close()
