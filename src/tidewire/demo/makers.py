"""Random events of four types. The same seed makes the same events; no clock and no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, TypeVar

import orjson

from ..event_stream import Event
from .content import CAT_FACTS
from .memes import MEMES

Card = TypeVar("Card")

TYPES = ("coinToss", "dieRoll", "catFact", "meme")


def random_events(random: Random, count: int) -> Iterator[Event]:
    """Yield `count` events, numbered from 1: so a page can tell what it missed and what it got twice."""
    facts, memes = deck(random, CAT_FACTS), deck(random, MEMES)
    for number in range(1, count + 1):
        kind = random.choice(TYPES)
        happening: dict[str, Any] = {"number": number}
        if kind == "coinToss":
            happening["result"] = random.choice(("heads", "tails"))
        elif kind == "dieRoll":
            happening["result"] = random.randint(1, 6)
        elif kind == "catFact":
            happening["text"] = next(facts)
        else:
            meme = next(memes)
            happening |= {"image": f"/demo/memes/{meme.name}.svg", "alt": meme.alt}
        yield Event(orjson.dumps(happening).decode(), kind)


def deck(random: Random, cards: tuple[Card, ...]) -> Iterator[Card]:
    """Deal cards for ever, and none again before all have been dealt."""
    while True:
        yield from random.sample(cards, len(cards))
