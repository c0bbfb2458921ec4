"""
What a dialect is: it spells the output of a run for the client that reads it.

A dialect has no state: a run may be ended by another process than the one that makes it. What must be
remembered from item to item is in its `Speaker`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

import orjson

from ...data import Encoder
from ...http.asgi import Headers
from ...log.runs import Run

# The type and the data of an event.
Spelled = tuple[str, str]

INCOMPLETE = "The answer could not be completed."


class Speaker(Protocol):
    """Spells the output of one run."""

    def item(self, item: Any) -> Iterator[Spelled]:
        """Spell what the producer yielded. Raises `InvalidInput` if it cannot be spelled."""

    def last(self) -> Iterator[Spelled]:
        """
        Spell what comes once the producer has returned, before the closing events.

        Raises `EOFError` if the answer is not whole. The run fails then.
        """


class Dialect(Protocol):
    """`name` is kept with each run; `headers` are added to the responses that stream it."""

    name: str
    headers: ClassVar[Headers]

    def speaker(self, run: Run, encoder: Encoder | None) -> Speaker:
        """Return what spells the output of `run`; `encoder` is that of the hub."""

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        """Spell the end of `run`, in its `state`."""


def part(fields: Mapping[str, Any]) -> Spelled:
    return "message", orjson.dumps(fields).decode()
