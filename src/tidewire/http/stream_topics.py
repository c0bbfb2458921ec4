"""
The topics and patterns of a stream that a program asks for, on behalf of its client.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..errors import InvalidInput, NotFound, Reserved
from ..topics import check_publish_topic

logger = logging.getLogger("tidewire")


def check_stream_topics(topics: Iterable[str], caller: str) -> None:
    """
    Raise `NotFound` for what is not a topic: the program made it of what its client sent.

    `caller` is what the program called, for the log.
    """
    for topic in topics:
        try:
            check_publish_topic(topic)
        except (InvalidInput, Reserved) as error:
            logger.warning(
                "%s got %.100r, which is not a topic: %s (pass a pattern as patterns=[...])",
                caller,
                topic,
                error.detail,
            )
            raise NotFound("there is no such topic", code="no_such_topic") from None


def patterns_of(patterns: Iterable[str], caller: str) -> Iterable[str]:
    """Return the patterns. Raises `TypeError` for a str: it is an iterable of str, and each `*` a pattern."""
    if isinstance(patterns, str):
        raise TypeError(f"pass a list of patterns to {caller}, not a str")
    return patterns
