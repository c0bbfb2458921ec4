"""
Streams as the inspector shows them: who, what, where they stand, how far behind; one's timeline; and
to which of them an event was written.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from heapq import nlargest
from typing import Any

from ..delivery.node import Node
from ..delivery.stream_states import StreamState
from ..delivery.timeline import Step
from ..errors import NotFound
from ..log.entries import Entry, Since
from ..position import Position
from ..topics import Selector
from .asking import EventWanted, StreamsWanted
from .outcomes import outcome_of
from .pacing import paced
from .topics import describe_event

EVERYTHING = Selector(["**"])


def states(node: Node, which: str) -> Iterator[StreamState]:
    """Yield the streams in a state; `slow` ones are open, too."""
    if which == "ended":
        yield from node.ended
        return
    for stream in node.states():
        if which == "open" or stream.state in ("behind", "paused"):
            yield stream


async def list_streams(node: Node, wanted: StreamsWanted) -> dict[str, Any]:
    """Return the streams that match, sorted, and how many there are."""
    found = []
    async for stream in paced(states(node, wanted.state)):
        if matches(stream, wanted):
            found.append(stream)
    await asyncio.sleep(0)
    shown = first_of(node, found, wanted)
    await asyncio.sleep(0)
    return {
        "streams": [describe_stream(node, stream) async for stream in paced(shown)],
        "matching": len(found),
        "known": len(node.ended) if wanted.state == "ended" else node.streams_open,
        "forgotten": node.ended.forgotten,
    }


def matches(stream: StreamState, wanted: StreamsWanted) -> bool:
    if wanted.topic is not None and not asks_for(stream, wanted.topic):
        return False
    if not wanted.text:
        return True
    if wanted.text == str(stream.number):
        return True
    sub = "" if stream.grant is None else stream.grant.sub
    texts = (sub, stream.client or "", stream.agent or "", *stream.selector.terms)
    return any(wanted.text in text.lower() for text in texts)


def asks_for(stream: StreamState, topic: str) -> bool:
    """Whether a stream asks for a topic. Its compiled patterns are not kept for that."""
    found = stream.selector.matches(topic)
    stream.selector.release_table()
    return found


def first_of(node: Node, found: list[StreamState], wanted: StreamsWanted) -> list[StreamState]:
    if wanted.sort == "newest":
        # Of streams that ended, those that ended last.
        return nlargest(wanted.limit, found, key=lambda item: (item.ended or 0.0, item.number))
    if wanted.sort == "oldest":
        return nlargest(wanted.limit, found, key=lambda item: -item.number)
    if wanted.sort == "events":
        return nlargest(wanted.limit, found, key=lambda item: item.events)
    return nlargest(wanted.limit, found, key=lambda item: behind(node, item) or 0)


def behind(node: Node, stream: StreamState) -> int | None:
    """Return how many entries of the log come after where a stream stands; None if that is not known."""
    if stream.offset is None or stream.resets != node.log.resets:
        return None
    return 0 if stream.state == "live" else max(0, node.window.head - stream.offset)


def describe_stream(node: Node, stream: StreamState) -> dict[str, Any]:
    now = node.loop.time()
    ended = stream.ended
    return {
        **describe_client(stream),
        "iss": (stream.grant.iss or None) if stream.grant is not None else None,
        "kind": "run" if stream.run is not None else "plain" if stream.plain else "normal",
        "way": "asgi" if stream.framing == "asgi" else "own",
        "position": spelled(node, stream.offset) if stream.resets == node.log.resets else None,
        "behind": behind(node, stream),
        "events": stream.events,
        "opened": wall(stream.opened, now),
        "seconds": round((now if ended is None else ended) - stream.opened, 3),
        "ended": None if ended is None else wall(ended, now),
        "reason": stream.reason or None,
    }


def describe_client(stream: StreamState) -> dict[str, Any]:
    return {
        "stream": stream.number,
        "sub": (stream.grant.sub or None) if stream.grant is not None else None,
        "address": stream.client,
        "agent": stream.agent,
        "topics": stream.selector.terms,
        "state": stream.state,
    }


def spelled(node: Node, offset: int | None) -> str | None:
    return None if offset is None else str(node.window.position(offset))


def wall(then: float, now: float) -> float:
    """Return a time of the loop's clock, on which it is `now`, in seconds since 1970."""
    return round(time.time() - (now - then), 3)


# -- one stream


async def show_stream(node: Node, number: int) -> dict[str, Any]:
    """Return a stream with its timeline. Raises `NotFound`."""
    stream = await find_stream(node, number)
    now, steps = node.loop.time(), stream.timeline.steps
    # Before the log was replaced, offsets were those of another log.
    resets = [index for index, step in enumerate(steps) if step.kind == "reset"]
    valid = 0 if not resets else resets[-1]
    valid = valid if stream.resets == node.log.resets else len(steps)
    opened = {
        # A position may be judged just before its stream is counted as open.
        "time": wall(min([stream.opened, *(step.time for step in steps[:1])]), now),
        "step": "opened",
        "position": None,
        "detail": as_asked(stream.brought),
        "count": 1,
    }
    return {
        **describe_stream(node, stream),
        "steps": [
            opened,
            *(describe_step(node, step, now, index >= valid) for index, step in enumerate(steps)),
        ],
        "forgotten": stream.timeline.forgotten,
    }


async def find_stream(node: Node, number: int) -> StreamState:
    for which in ("open", "ended"):
        async for stream in paced(states(node, which)):
            if stream.number == number:
                return stream
    raise no_such_stream()


def no_such_stream() -> NotFound:
    return NotFound("no stream with this number is known to this process", code="no_such_stream")


def describe_step(node: Node, step: Step, now: float, valid: bool) -> dict[str, Any]:
    detail = step.detail
    if step.kind == "gap" and valid:
        detail = f"{step.detail} {node.window.position(step.stood)}"
    return {
        "time": wall(step.time, now),
        "step": step.kind,
        "position": spelled(node, step.offset) if valid else None,
        "detail": detail or None,
        "count": step.times,
    }


def as_asked(brought: Since | Position | None) -> str | None:
    """Return what a client asked for, as in `since=`."""
    if brought is None or isinstance(brought, Position):
        return None if brought is None else str(brought)
    if brought.kind == "last":
        return f"last:{brought.value:.0f}"
    if brought.kind == "ago":
        return f"{brought.value:.0f}s"
    if brought.kind == "at":
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(brought.value))
    return brought.kind


# -- one event


async def show_event(node: Node, wanted: EventWanted) -> dict[str, Any]:
    """Return an event and what became of it at each stream. Raises `NotFound`, and `Unavailable`."""
    entry = await find_entry(node, wanted.position)
    outcomes: Counter[str] = Counter()
    asked: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    # Found by the index: compiling the patterns of ten thousand streams would take seconds.
    matching = {id(cohort.selector) for cohort in node.rounds.cohorts.matching(entry.topic)}
    for which in ("open", "ended"):
        async for stream in paced(states(node, which)):
            if which == "open":
                asked_for = id(stream.selector) in matching
            else:
                asked_for = asks_for(stream, entry.topic)
            outcome = outcome_of(entry, stream, node.log.resets, asked_for=asked_for)
            outcomes[outcome] += 1
            shown = asked if asked_for else others
            if wanted.outcome in (None, outcome) and len(shown) < wanted.limit:
                shown.append({**describe_client(stream), "outcome": outcome})
    return {
        "event": describe_event(entry, node.settings.inspect_data),
        "outcomes": outcomes,
        "streams": [*asked, *others][: wanted.limit],
        "matching": outcomes.total() if wanted.outcome is None else outcomes[wanted.outcome],
        "forgotten": node.ended.forgotten,
    }


async def find_entry(node: Node, position: Position) -> Entry:
    entry = node.window.entry(position.offset)
    if entry is None and position.offset > 0:
        with node.reader.turns.account(object()) as account:
            page = await node.reader.page(account, position.offset - 1, 1, EVERYTHING)
        entry = next(iter(page.entries), None)
    if entry is None or entry.position != position or not EVERYTHING.matches(entry.topic):
        raise NotFound("the log does not keep an event with this id", code="no_such_event")
    return entry
