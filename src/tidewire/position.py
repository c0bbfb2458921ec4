"""
A position in a log, and its spelling as SSE `id:` and `Last-Event-ID`.

    aK3x9Q.1042           life, offset
    aK3x9Q.1042.f7Kq2Z    life, offset, check

The spelling is ASCII letters, digits and dots, at most 40 bytes: short and plain, so that a
cross-origin reconnect needs no preflight. Anything else is refused here, so no engine ever sees a
`$`, `>` or `0-0` that would mean something to it. A position is not a permission: on each request the
topics come from the URL and the grants from the token.
"""

from __future__ import annotations

import re
import secrets
import string
from base64 import b64encode
from typing import NamedTuple

from .errors import InvalidPosition

# The largest integer of SQLite, and of most other stores.
MAX_OFFSET = 2**63 - 1

# Canonical decimals only: each position has one spelling. `[0-9]`, since `\d` matches Arabic digits too.
# The longest match has 33 bytes; 40 are allowed.
SPELLING = re.compile(r"([A-Za-z0-9]{6})\.(0|[1-9][0-9]{0,18})(?:\.([A-Za-z0-9]{6}))?")

LIFE_LENGTH = CHECK_LENGTH = 6
ALPHABET = string.ascii_letters + string.digits


class Position(NamedTuple):
    """
    How far a reader has come: it has everything through `offset`.

    `offset` counts entries from 1 without holes; 0 is before the first. `life` is 6 characters that
    identify the life of the log in which the entry was written. `check` is 6 characters that identify
    the entry itself, on engines that can lose their newest entries unnoticed; else it is empty.
    Compare offsets only within one life; comparing two Positions as tuples means nothing.
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
    Read a position from its spelling. Raises `InvalidPosition` if `text` is not one.

    The error does not repeat the text, which comes from a header that anyone can set.
    """
    # fullmatch, because `$` would allow a final newline.
    found = SPELLING.fullmatch(text)
    if found is None:
        raise InvalidPosition("not a position: expected life.offset or life.offset.check")
    life, digits, check = found.groups("")
    offset = int(digits)
    if offset > MAX_OFFSET:
        raise InvalidPosition("the offset of this position is larger than that of any log")
    return Position(life, offset, check)


def new_life() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(LIFE_LENGTH))


def new_checks(count: int) -> list[str]:
    """Return the checks of as many entries: with two characters, a failover would often reuse an id."""
    # Choosing each character would cost more than all the rest of an entry. Six of Base64 have 4.5 bytes.
    text = b64encode(secrets.token_bytes(5 * count), b"Aa").decode()
    return [text[index : index + CHECK_LENGTH] for index in range(0, CHECK_LENGTH * count, CHECK_LENGTH)]
