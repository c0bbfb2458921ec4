"""
The blocks of a stream, with everything that is in them: a decoder shows only what is an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .seen import Piece

Fields = tuple[tuple[str, str], ...]


class Block(NamedTuple):
    """What stands between two empty lines. It was complete `at` seconds after the request."""

    at: float
    fields: Fields
    """The names and values of its lines; the name of a comment is empty."""

    def last(self, name: str) -> str | None:
        return next((value for found, value in reversed(self.fields) if found == name), None)

    @property
    def data(self) -> str | None:
        """The data of the event, or None if it has none and so is no event."""
        lines = [value for name, value in self.fields if name == "data"]
        return "\n".join(lines) if lines else None

    @property
    def type(self) -> str:
        return self.last("event") or "message"

    @property
    def id(self) -> str | None:
        found = self.last("id")
        return None if found is None or "\0" in found else found


class Blocks(NamedTuple):
    """The complete blocks of a stream, and when bytes arrived that end in the middle of one."""

    found: list[Block]
    cuts: list[float]

    @property
    def events(self) -> list[Block]:
        return [block for block in self.found if block.data is not None]


def blocks_of(pieces: Iterable[Piece]) -> Blocks:
    """Split a stream ("9.2.6 Interpreting an event stream")."""
    found: list[Block] = []
    cuts: list[float] = []
    fields: list[tuple[str, str]] = []
    rest = b""
    for at, data in pieces:
        # A CR at the end may be half of a line end.
        text, held = (data[:-1], b"\r") if data.endswith(b"\r") else (data, b"")
        *lines, rest = (rest + text).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest += held
        for line in lines:
            if line:
                fields.append(field_of(line.decode("utf-8", "replace").removeprefix("\ufeff")))
            elif fields:
                found.append(Block(at, tuple(fields)))
                fields = []
        if rest or fields:
            cuts.append(at)
    return Blocks(found, cuts)


def field_of(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")
