"""
Where a client that attaches to a run begins, by what it brings.

| brings | run open | run over |
|---|---|---|
| nothing | from its start | nothing to stream |
| a position inside it | from there | the rest; nothing to stream if none is left |
| another or an older position | from its start | nothing to stream |

If what is to be streamed is trimmed, the stream is refused when it begins: 410.
"""

from __future__ import annotations

from ..log.entries import Since
from ..log.runs import Run
from ..log.window import Window
from ..position import Position


def attach_at(run: Run | None, claim: Since | Position, window: Window) -> int | None:
    """Return the offset after which the stream begins; None if there is nothing to stream."""
    if run is None:
        return None
    inside = is_inside(run, claim, window)
    if run.open:
        return inside or run.first
    return inside if inside is not None and not nothing_after(run, inside, window) else None


def stream_at(run: Run, claim: Since | Position, window: Window) -> int:
    """Return the offset after which the whole run is streamed, or its rest after a position inside it."""
    return is_inside(run, claim, window) or run.first


def is_inside(run: Run, claim: Since | Position, window: Window) -> int | None:
    if not isinstance(claim, Position) or window.life_of(claim.offset) != claim.life:
        return None
    return claim.offset if run.first <= claim.offset <= (run.last or window.head) else None


def nothing_after(run: Run, offset: int, window: Window) -> bool:
    """Whether a plain stream of the run has nothing to send after `offset`, as far as that is in memory."""
    if not window.holds(offset):
        return False
    return all(entry.is_control for entry in window.of_topics([run.topic], offset, run.last))
