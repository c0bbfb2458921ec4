"""
A position in a log, and its spelling as SSE `id:` and `Last-Event-ID`.

    aK3x9Q.1042       life, offset
    aK3x9Q.1042.f7    life, offset, check

The spelling is ASCII letters, digits and dots, at most 40 bytes: short and plain, so that a
cross-origin reconnect needs no preflight. What is no position is refused here, so no engine ever
sees a `$`, `>` or `0-0` that would mean something to it. A position is not a permission: topics
come from the URL and rights from the token, each time.
"""

from __future__ import annotations

import re
import secrets
import string
from typing import NamedTuple

from .errors import InvalidPosition

# The largest integer of SQLite, and of most other stores.
MAX_OFFSET = 2**63 - 1

# Canonical decimals only: one position has one spelling. `[0-9]`, not `\d`, which takes Arabic digits.
# The longest match has 29 bytes of the 40 that are allowed.
SPELLING = re.compile(r"([A-Za-z0-9]{6})\.(0|[1-9][0-9]{0,18})(?:\.([A-Za-z0-9]{2}))?")


LIFE_LENGTH = 6


class Position(NamedTuple):
    """
    How far a reader has come: it has everything up to and including `offset`.

    `offset` counts entries from 1 without holes; 0 is before the first. `life` is 6 characters that
    name the span of the log in which the entry was written. `check` is 2 characters of that entry
    itself, from engines that can lose a tail unseen, and empty otherwise.
    Offsets may be compared within one life; the order of two Positions as tuples means nothing.
    """

    life: str
    offset: int
    check: str = ""

    def __str__(self) -> str:
        if self.check:
            return f"{self.life}.{self.offset}.{self.check}"
        return f"{self.life}.{self.offset}"


def parse_position(text: str) -> Position:
    """
    Read a spelled position. Raises InvalidPosition.

    The error does not repeat the text: it comes from a header that anybody can fill.
    """
    # fullmatch, because `$` would let a final newline pass.
    found = SPELLING.fullmatch(text)
    if found is None:
        raise InvalidPosition("this is no position: expected life.offset or life.offset.check")
    life, digits, check = found.groups("")
    offset = int(digits)
    if offset > MAX_OFFSET:
        raise InvalidPosition("the offset of this position is larger than any log's")
    return Position(life, offset, check)


def new_life() -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(LIFE_LENGTH))
