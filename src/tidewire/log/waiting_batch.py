"""
What an engine keeps of each publish until it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import TidewireError
from .entries import Draft, Receipt
from .judging import Result

Answer = asyncio.Future[list[Receipt]]


def resolve(answer: Answer, result: Result) -> None:
    if answer.done():
        return  # cancelled: the caller no longer waits
    if isinstance(result, TidewireError):
        answer.set_exception(result)
    else:
        answer.set_result(result)


class WaitingBatch(NamedTuple):
    """A batch that waits to be stored. It is not if its answer is done before its turn: nobody waits then."""

    drafts: Sequence[Draft]
    answer: Answer
    tell: Callable[[Answer, Result], object] = resolve
    """What is called with the answer and the result, on the event loop."""
