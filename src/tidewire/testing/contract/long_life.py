"""A long random life: batches with keys and ends, trims, readers and crashes, compared with a small model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from ...errors import KeyConflict, TidewireError, TopicEnded
from ...log.entries import Draft
from ...topics import Selector
from .log import Base, OpenLog, engine_test

TOPICS = ["a", "b", "a/b", "a/b/c", "b/c", "c", *(f"d/{number}" for number in range(14))]
SELECTORS = [None, *(Selector(terms) for terms in (["a"], ["b", "c"], ["a/*"], ["a/**", "c"], ["**"], ["d"]))]
KEY_AGE = 600
KEPT = 60


class LongLife(Base):
    seed: ClassVar[int] = 0

    @engine_test
    async def test_a_long_random_life(self) -> None:
        async with self.log(retention_entries=KEPT, key_age=KEY_AGE) as log:
            chance = random.Random(self.seed)
            model = Model(log.clock.now)
            for step in range(300):
                await self.live(log, model, chance)
                if self.lasting and step % 50 == 49:
                    await log.reopen(crash=chance.random() < 0.5)
            await log.until_floor(max(1, model.head - KEPT + 1))

    async def live(self, log: OpenLog, model: Model, chance: random.Random) -> None:
        """Take one step: publish, read, or let time pass."""
        kind = chance.random()
        if kind < 0.6:
            await publish(log, model, [draft(chance) for _ in range(chance.choice([1, 1, 2, 5]))])
        elif kind < 0.9:
            await log.page(
                chance.randint(0, log.sink.head), chance.choice([1, 3, 100]), chance.choice(SELECTORS)
            )
        elif self.clocked:
            log.clock.now += chance.choice([1, KEY_AGE / 3, KEY_AGE])
            model.now = log.clock.now


class Model:
    """What a log should answer: keys count first, then ends, and a refused batch leaves nothing."""

    def __init__(self, now: float) -> None:
        self.head = 0
        self.now = now
        self._keys: dict[tuple[str, str | None], tuple[Draft, int, float]] = {}
        self._ended: dict[str, int] = {}

    def append(self, drafts: Sequence[Draft]) -> list[tuple[int, bool]] | tuple[type[TidewireError], int]:
        keys, ended, head = dict(self._keys), dict(self._ended), self.head
        answers = []
        for index, draft in enumerate(drafts):
            held = keys.get((draft.topic, draft.key)) if draft.key else None
            if held and held[2] + KEY_AGE > self.now:
                if held[0] != draft:
                    return KeyConflict, index
                answers.append((held[1], True))
                continue
            if draft.topic in ended and not draft.end:
                return TopicEnded, index
            if draft.topic in ended:
                answers.append((ended[draft.topic], True))
                continue
            head += 1
            answers.append((head, False))
            if draft.end:
                ended[draft.topic] = head
            if draft.key:
                keys[draft.topic, draft.key] = (draft, head, self.now)
        self._keys, self._ended, self.head = keys, ended, head
        return answers


def draft(chance: random.Random) -> Draft:
    topic = chance.choice(TOPICS)
    if chance.random() < 0.01:
        return Draft(topic, "over", end=True)
    key = chance.choice(["k", "l"]) if chance.random() < 0.3 else None
    return Draft(topic, chance.choice("xy") if key else str(chance.random()), key=key)


async def publish(log: OpenLog, model: Model, drafts: list[Draft]) -> None:
    answer = model.append(drafts)
    if isinstance(answer, tuple):
        kind, index = answer
        assert await log.refused(kind, *drafts) == {"index": index}
    else:
        assert await log.put(*drafts) == answer
