"""
The answers of page four: runs whose producer stands in for a model, and can be killed.

An answer is cat facts, word by word. The demo is one process, so killing a producer means that it raises
an error. The process goes on, and the run ends as failed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

from ..errors import NotFound
from ..event_stream import Event
from ..hub import Hub
from .content import CAT_FACTS
from .random_events import deck

PREFIX = "answers/"
FACTS = 20


class ProducerKilled(Exception):
    """A visitor pressed the button."""


class Answers:
    """`pause` is seconds between two words. The same `seed` gives the same answer."""

    def __init__(self, hub: Hub, seed: int | None, pause: float) -> None:
        self._hub = hub
        self._seed = seed
        self._pause = pause
        # By topic, while its producer is at work: set to kill it.
        self._killed: dict[str, asyncio.Event] = {}

    async def ask(self, name: str, key: str) -> str:
        """Start the answer `key`, unless it has been started. Return its state."""
        topic = PREFIX + name
        return (await self._hub.run(topic, lambda: self._words(topic), key=key)).state

    async def stop(self, name: str) -> None:
        await self._hub.cancel(PREFIX + name)

    def kill(self, name: str) -> None:
        killed = self._killed.get(PREFIX + name)
        if killed is None:
            raise NotFound("no answer is being written")
        killed.set()

    async def _words(self, topic: str) -> AsyncIterator[Event]:
        killed = self._killed[topic] = asyncio.Event()
        try:
            for number, word in enumerate(text(self._seed).split(" "), 1):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(killed.wait(), self._pause)
                if killed.is_set():
                    raise ProducerKilled("killed by a button of the demo")
                yield Event({"number": number, "text": word}, "word")
        finally:
            if self._killed.get(topic) is killed:
                del self._killed[topic]


def text(seed: int | None) -> str:
    facts = deck(Random(seed), CAT_FACTS)
    return " ".join(next(facts) for _ in range(FACTS))
