"""
Where a client that attaches to a run begins, by what it brings.

| brings | run open | run over |
|---|---|---|
| nothing | from its start | nothing to stream |
| a position inside it, or `starting_after` | from there | the rest; nothing to stream if none is left |
| another or an older position | from its start | nothing to stream |

If what is to be streamed is trimmed, the stream is refused when it begins: 410.
"""

from __future__ import annotations

from ..delivery.node import Node
from ..errors import InvalidInput
from ..http.requests import Request
from ..log.entries import Since
from ..log.runs import Run
from ..log.window import Window
from ..position import Position
from ..topics import Selector
from .dialects.responses import number_in

# Items that are read from the log at a time.
IN_ONE_READ = 500


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


def read_starting_after(request: Request) -> int | None:
    """Return what a client of OpenAI's Responses brings. Raises `InvalidInput` if it is not a number."""
    text = request.one("starting_after")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidInput("starting_after must be a sequence_number", code="invalid_query")
    return int(text)


async def after_number(node: Node, run: Run, number: int) -> Position:
    """
    Return the position of the last item of a run whose `sequence_number` is not larger than `number`.

    Items are searched from the first, since a model's own numbers may leave some out. Raises `Unavailable`.
    """
    selector, found, after = Selector([run.topic]), run.first, run.first
    with node.reader.turns.account(run) as account:
        while after < (run.last or node.window.head):
            page = await node.reader.page(account, after, IN_ONE_READ, selector)
            for entry in page.entries:
                if run.last and entry.offset > run.last:
                    return node.window.position(found)
                its_number = number_in(entry.data)
                if its_number is not None and its_number > number:
                    return node.window.position(found)
                found = entry.offset if its_number is not None else found
            after = max(page.through, after + 1)
    return node.window.position(found)
