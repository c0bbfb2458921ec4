"""
Whether an event was written to a stream: it follows from where the stream stood, and when.

No I/O, and nothing is recorded for it. *Written* means to the socket; nobody knows what a client has read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from ..delivery.stream_states import StreamState
from ..delivery.timeline import Step
from ..log.entries import Entry, Since
from ..log.window import Reason
from ..position import Position

Outcome = Literal[
    "written",
    "another_topic",
    "no_grant",
    "not_connected",
    "behind",
    "ended",
    "gap",
    "left_out",
    "unknown",
]


def outcome_of(entry: Entry, stream: StreamState, resets: int, *, asked_for: bool) -> Outcome:
    """
    Return what became of an entry of the log, which was replaced `resets` times, at a stream.

    `asked_for`: whether the stream's selector matches the topic of the entry.
    """
    if not asked_for:
        # A program may open a stream and check by itself who may have it; then no grant says so.
        terms = () if stream.grant is None else stream.grant.subscribe
        refused = stream.grant is not None and terms and not stream.grant.may_subscribe(entry.topic)
        return "no_grant" if refused else "another_topic"
    if (stream.plain and entry.is_control) or entry.offset > stream.last:
        return "left_out"
    if stream.resets != resets:
        return "unknown"
    if stream.offset is None or entry.offset > stream.offset:
        return "behind" if stream.ended is None else "ended"
    return passed(entry.offset, stream.timeline.steps, stream.timeline.forgotten, stream.brought)


def passed(offset: int, steps: Sequence[Step], forgotten: int, brought: Since | Position | None) -> Outcome:
    """Return what became of an offset that a stream has passed, by its steps."""
    # The first step is kept apart from the newest ones, if some between them are forgotten.
    newest = steps[1:] if forgotten else steps
    for step in reversed(newest):
        if step.kind == "reset":
            return "unknown"
        if step.kind == "gap" and step.offset is not None and step.stood < offset <= step.offset:
            return "gap"
        if step.offset is not None and offset > step.offset:
            return "written"
        if step.kind == "judged" and step is steps[0]:
            return before_its_start(offset, step, brought)
    return "unknown"


def before_its_start(offset: int, step: Step, brought: Since | Position | None) -> Outcome:
    """Return what became of an offset before the one that a stream started at."""
    if step.detail in GAPS and isinstance(brought, Position) and brought.offset < offset:
        return "gap"
    return "not_connected"


GAPS = get_args(Reason)
