"""
What an engine keeps of each publish until it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import TidewireError
from .entries import Draft, Receipt
from .judging import Result


class WaitingBatch(NamedTuple):
    """A batch that waits to be stored. If its answer was cancelled, it is not stored."""

    drafts: Sequence[Draft]
    answer: asyncio.Future[list[Receipt]]


def resolve(answer: asyncio.Future[list[Receipt]], result: Result) -> None:
    if answer.done():
        return  # cancelled: the caller no longer waits
    if isinstance(result, TidewireError):
        answer.set_exception(result)
    else:
        answer.set_result(result)
