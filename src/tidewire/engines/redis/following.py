"""
Following the log: what other nodes store arrives here, on a connection of its own.

Rule 1: each call starts after the last entry that this node knows, never with `$`, which would lose what is
        stored between two calls.
Rule 2: a blocked call does not notice that the log was deleted. So the head is looked at regularly (`watch`).
Rule 3: while this node stores, following waits: the answers to those calls also bring what other nodes have
        stored, and following would only read again what this node has just stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from ...errors import TidewireError
from .codec import Stored, offset_of, stored_of
from .keys import Keys
from .link import Link
from .state import LogChanged, LogState

logger = logging.getLogger("tidewire")

# Milliseconds that a call waits for an entry. A server that does not answer is noticed after that.
BLOCK = 1_000
# Seconds that an answer may take beyond that.
PATIENCE = 3.0
# Entries in one answer.
STEP = 200


class Taker(Protocol):
    """The engine, as following sees it."""

    @property
    def state(self) -> LogState: ...

    def take(self, found: Sequence[Stored]) -> None:
        """Take entries that follow each other, and report what is new. Raises `LogChanged`."""

    async def mended(self) -> None:
        """Wait until the log was looked at again, after something went wrong."""

    async def has_stored(self) -> None:
        """Wait until this node stores nothing."""

    def on_trouble(self, error: Exception) -> None:
        """The server cannot be reached, or the log is not as it should be."""


async def follow(link: Link, keys: Keys, taker: Taker) -> None:
    """Report what is stored, until cancelled."""
    step = 1
    while True:
        try:
            await taker.has_stored()
            state = taker.state
            after = b"%d-0" % state.head
            reply = await link.ask(
                b"XREAD", b"COUNT", step, b"BLOCK", BLOCK, b"STREAMS", keys.log, after,
                timeout=BLOCK / 1000 + PATIENCE,
            )  # fmt: skip
            await taker.has_stored()
            step = 1
            if reply and state is taker.state:
                # The first entry that this node stores ends a waiting call.
                new = [item for item in reply[0][1] if offset_of(item) > state.head]
                taker.take([stored_of(item, state.lives) for item in new])
                step = STEP if new else 1
        except (TidewireError, LogChanged, ValueError) as error:
            taker.on_trouble(error)
            await taker.mended()
        await asyncio.sleep(0)
