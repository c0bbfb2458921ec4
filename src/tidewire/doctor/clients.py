"""
What clients of others would make of the first blocks of a stream.

Four ways to read blocks cover the clients of docs/reference/clients.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import orjson

from .blocks import Block
from .findings import counted

FIRST = 10


class Reading(NamedTuple):
    """How far a kind of client gets with the first blocks."""

    client: str
    messages: int
    problem: str | None


def readings(blocks: Sequence[Block]) -> list[Reading]:
    return [read(blocks[:FIRST]) for read in (standard, fetch_event_source, python_sdks, json_readers)]


def standard(blocks: Sequence[Block]) -> Reading:
    """EventSource, eventsource-parser and others that keep to the standard."""
    named = sorted({block.type for block in blocks if block.data is not None} - {"message"})
    problem = f"onmessage does not get {', '.join(named)}: use addEventListener" if named else None
    return Reading("EventSource and what keeps to the standard", count(blocks, is_event), problem)


def fetch_event_source(blocks: Sequence[Block]) -> Reading:
    """Its parser hands over each block at its end, even one that has only a comment."""
    empty = count(blocks, lambda block: block.data is None)
    problem = f"onmessage gets {counted(empty, 'message')} without data" if empty else None
    return Reading("@microsoft/fetch-event-source", len(blocks), problem)


def python_sdks(blocks: Sequence[Block]) -> Reading:
    """The decoders of `openai` and `anthropic`: a block without data is an event, if anything else is set."""
    last_id = None
    messages = 0
    for number, block in enumerate(blocks, 1):
        last_id = block.last("id") or last_id
        retry = (block.last("retry") or "").isdigit()
        if block.data is None and not (block.last("event") or last_id or retry):
            continue
        if not is_json(block.data or ""):
            why = "has no data" if block.data is None else "is not JSON"
            return Reading("openai and anthropic for Python", messages, f"fails: block {number} {why}")
        messages += 1
    return Reading("openai and anthropic for Python", messages, None)


def json_readers(blocks: Sequence[Block]) -> Reading:
    """`openai`, `ai` and `@ag-ui/client` of npm: the data of each event is JSON."""
    name = "openai, ai and @ag-ui/client for JavaScript"
    messages = 0
    for number, block in enumerate(blocks, 1):
        if block.data is None:
            continue
        if not is_json(block.data):
            return Reading(name, messages, f"fails: block {number} is not JSON")
        messages += 1
    return Reading(name, messages, None)


def is_event(block: Block) -> bool:
    return block.data is not None


def is_json(text: str) -> bool:
    if text.startswith("[DONE]"):
        return True
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def count(blocks: Sequence[Block], wanted: Callable[[Block], bool]) -> int:
    return sum(map(wanted, blocks))
