"""
Topics and patterns with parts that users chose.

    topic("users", name)            # users/ada
    pattern("users", name, REST)    # users/ada/**

An f-string would let a user named `*` or `a/b` reach the topics of others.
"""

from __future__ import annotations

from enum import Enum

from .errors import InvalidInput
from .topics import check_publish_topic, check_term


class Rest(Enum):
    """The `**` of a pattern. It is not a str, so no user can be called it."""

    REST = "**"


REST = Rest.REST
"""The last part of a `pattern`: all levels below."""


def topic(*parts: str) -> str:
    """
    Return the topic whose levels are `parts`.

    Raises `InvalidInput` (`invalid_topic`) if a part is empty or has a `/` or a `*`, or the topic is
    not valid, and `Reserved` if it belongs to the hub.
    """
    return check_publish_topic("/".join(map(check_part, parts)))


def pattern(*parts: str | Rest) -> str:
    """
    Return the pattern whose levels are `parts`; the last may be `REST`, for all levels below.

    Raises as `topic`, and `InvalidInput` (`invalid_pattern`) if `REST` is not the last part.
    """
    levels = [part.value if isinstance(part, Rest) else check_part(part) for part in parts]
    return check_term("/".join(levels))


def check_part(part: str) -> str:
    if not isinstance(part, str):
        raise TypeError(f"a part of a topic must be a str, not {type(part).__name__}")
    if not part or "/" in part or "*" in part:
        raise InvalidInput(
            "a part of a topic must not be empty and must not have a `/` or a `*`", code="invalid_topic"
        )
    return part
