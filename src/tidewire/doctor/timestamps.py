"""
The times that events carry, in ids or data, by which it shows that something held them back.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from .blocks import Block

ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?")
# Seconds since 1970, with or without a fraction, or milliseconds.
UNIX = re.compile(r"(?<![\d.])1\d{9}(?:\.\d+|\d{3})?(?![\d.])")


def time_of(event: Block) -> float | None:
    """Return the first time in an event, in Unix seconds."""
    text = f"{event.data} {event.id or ''}"
    if found := ISO.search(text):
        try:
            at = datetime.fromisoformat(found[0])
        except ValueError:
            return None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if found := UNIX.search(text):
        digits = found[0]
        return int(digits) / 1000 if len(digits) == 13 and "." not in digits else float(digits)
    return None
