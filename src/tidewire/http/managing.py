"""
What admins may do with a running hub: revoke tokens, see which streams and runs there are, cancel a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..delivery.node import Node
from ..errors import InvalidInput
from ..log.json_text import read_json
from ..log.runs import Run

FIELDS = {"jti", "sub", "iss", "until"}
# Open streams described in one step of the event loop: 1 ms.
IN_ONE_STEP = 250
# Runs that are listed: a million may be known.
MOST_RUNS = 1_000


def read_revocation(body: bytes) -> dict[str, Any]:
    """Return the arguments of `Hub.revoke` in the body of a request. Raises `InvalidInput`."""
    fields = read_json(body)
    if not isinstance(fields, Mapping):
        raise InvalidInput("a revocation is a JSON object with jti, or with sub and iss", code="invalid_json")
    if unknown := sorted(str(name) for name in fields.keys() - FIELDS):
        raise InvalidInput(f"unknown field {unknown[0][:40]!r}", code="invalid_json")
    until = fields.get("until")
    if until is not None and (isinstance(until, bool) or not isinstance(until, int | float)):
        raise InvalidInput("until must be a time in seconds since 1970", code="invalid_until")
    return {name: fields.get(name) for name in FIELDS}


async def list_streams(node: Node) -> list[dict[str, Any]]:
    """Describe the open streams of a node; other work goes on in between."""
    found = []
    for count, stream in enumerate(node.streams(), 1):
        fields = stream._asdict()
        for name in ("sub", "iss"):
            fields[name] = fields[name] or None
        fields["position"] = None if stream.position is None else str(stream.position)
        found.append(fields)
        if not count % IN_ONE_STEP:
            await asyncio.sleep(0)
    return found


def list_runs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Describe the open runs, and after them those that are over, the newest first: MOST_RUNS in all."""
    newest_first = runs[::-1]
    found = sorted(newest_first, key=lambda run: not run.open)
    return [describe_run(run) for run in found[:MOST_RUNS]]


def describe_run(run: Run) -> dict[str, Any]:
    return {
        "topic": run.topic,
        "key": run.key,
        "run": run.id,
        "state": run.state,
        "reason": run.reason or None,
        "dialect": run.dialect or None,
        "started": as_time(run.started),
        "stopped": None if run.open else as_time(run.stopped),
    }


def as_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
