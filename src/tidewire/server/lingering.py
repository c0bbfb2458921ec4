"""
A refused connection that closes gently.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableSet
from typing import Any

# How long, and how much, a refused client may go on sending. Closing a socket
# that has unread bytes resets it, and the reset overtakes the answer.
LINGER_TIMEOUT = 1.0
LINGER_LIMIT = 1024 * 1024


class Lingering(asyncio.Protocol):
    """A connection that had its last answer: it swallows what still comes until the peer has seen that."""

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
            transport.close()  # TLS goes on reading until the peer's goodbye
            return
        try:
            transport.write_eof()
        except OSError:  # the peer is gone already
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
