"""
What transactions of the program have published: rows of the table `outbox`. Any node moves them into the log.

Rule 1: rows are moved in the order of their ids. A row that is visible was inserted after every row whose
        transaction had committed before that, and those are visible too and have smaller ids. So A comes
        before B if A had committed when B was published.
Rule 2: rows are deleted in the transaction that stores their events, so each is stored once, whatever dies.
Rule 3: a row that can never be stored is deleted and logged. One that cannot be stored now stays.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...errors import TidewireError, TooMany
from ...event_stream import is_traceparent
from ...log.drafts import draft
from ...log.entries import Draft
from ...log.judging import Result
from .link import Connection
from .settling import rows

logger = logging.getLogger("tidewire")

# Rows moved in one step.
STEP = 1_000
# The bytes of their data, or one larger row.
STEP_BYTES = 4 * 1024 * 1024

WAITING = f"""
SELECT id, topic, data, event, retry, key, traceparent, newest FROM (
  SELECT *, max(id) OVER () AS newest, sum(length(data)) OVER (ORDER BY id) AS size,
    row_number() OVER (ORDER BY id) AS number
  FROM (SELECT * FROM tidewire.outbox ORDER BY id LIMIT {STEP + 1}) AS oldest
) AS waiting WHERE number <= {STEP} AND (size <= {STEP_BYTES} OR number = 1) ORDER BY id
"""


class Waiting(NamedTuple):
    """A row of the outbox. What it holds may not be an event: any program may have written it."""

    id: int
    draft: Draft | TidewireError


async def waiting_in(connection: Connection, max_event: int) -> tuple[list[Waiting], bool]:
    """Return the oldest rows of the outbox, as far as they are committed, and whether there are more."""
    found = await rows(connection, WAITING)
    more = bool(found) and found[-1][0] < found[-1][-1]
    return [waiting_of(row[:-1], max_event) for row in found], more


def waiting_of(row: Sequence[Any], max_event: int) -> Waiting:
    id, topic, data, event, retry, key, trace = row
    try:
        item = draft(topic, data, event=event, retry=retry, key=key, max_event=max_event)
    except TidewireError as error:
        return Waiting(id, error)
    return Waiting(id, item._replace(traceparent=trace if trace and is_traceparent(trace) else None))


def done_with(waiting: Sequence[Waiting], results: Sequence[Result]) -> list[int]:
    """Return the ids of those that leave the outbox; `results` are the answers to those that are events."""
    answers = iter(results)
    done = []
    for id, item in waiting:
        answer = item if isinstance(item, TidewireError) else next(answers)
        if isinstance(answer, TooMany):
            continue
        if isinstance(answer, TidewireError):
            logger.error("an event of a transaction cannot be stored, and is dropped: %s", answer.detail)
        done.append(id)
    return done
