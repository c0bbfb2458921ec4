"""Random events of four types. The same seed gives the same events. No clock and no I/O."""

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
    """Yield `count` events. They are numbered from 1, so a page can count missed and repeated ones."""
    facts, memes = deck(random, CAT_FACTS), deck(random, MEMES)
    for number in range(1, count + 1):
        kind = random.choice(TYPES)
        data: dict[str, Any] = {"number": number}
        if kind == "coinToss":
            data["result"] = random.choice(("heads", "tails"))
        elif kind == "dieRoll":
            data["result"] = random.randint(1, 6)
        elif kind == "catFact":
            data["text"] = next(facts)
        else:
            meme = next(memes)
            data |= {"image": f"/demo/memes/{meme.name}.svg", "alt": meme.alt}
        yield Event(orjson.dumps(data).decode(), kind)


def deck(random: Random, cards: tuple[Card, ...]) -> Iterator[Card]:
    """Deal cards forever. No card is dealt again until all have been dealt."""
    while True:
        yield from random.sample(cards, len(cards))
