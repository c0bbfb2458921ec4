"""
What the doctor says: one finding for each fault, with what to do about it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

# An error loses events, or is a stream that a browser does not take. A warning costs something.
Level = Literal["error", "warning"]


class Finding(NamedTuple):
    level: Level
    code: str
    """A name that stays the same from version to version."""
    what: str
    advice: str


def error(code: str, what: str, advice: str) -> Finding:
    return Finding("error", code, what, advice)


def warning(code: str, what: str, advice: str) -> Finding:
    return Finding("warning", code, what, advice)


def counted(number: int, word: str) -> str:
    """Return `1 event` or `2 events`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
