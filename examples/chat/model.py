"""Stands in for a language model: always the same answers, word by word. MODEL_PAUSE is seconds per word."""

import asyncio
import os
from collections.abc import AsyncIterator

PAUSE = float(os.environ.get("MODEL_PAUSE", "0.12"))

SHORT = """\
The Moon pulls on the sea. It pulls hardest on the water that is nearest to it, less on the Earth itself, \
and least on the water on the far side. So the sea rises in two bulges: one towards the Moon, and one on the \
other side.

The Earth turns beneath them once a day. That is why most coasts have two high tides a day, each about \
12 hours and 25 minutes after the last: the Moon has moved on in the meantime.

The Sun pulls too, a little less than half as hard. When both pull in one line, at new moon and full moon, \
the tide is highest. Sailors call that a spring tide, in every season."""

LONG = "\n\n".join(f"Wave {number} comes in, breaks, and runs back down the sand." for number in range(1, 51))


def text(question: str) -> str:
    return LONG if "long" in question.lower() else SHORT


async def tokens(question: str) -> AsyncIterator[str]:
    for count, word in enumerate(text(question).split(" ")):
        if count == 20 and "fail" in question.lower():
            raise RuntimeError("the model is overloaded")  # users do not see this text
        await asyncio.sleep(PAUSE)
        yield f" {word}" if count else word
