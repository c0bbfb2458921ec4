"""
JSON from publishers, read so that the numbers in an event's data stay what they are.

orjson reads a number that is neither a 64-bit integer nor exactly a float as the nearest float, without
a word: 18446744073709551616 would be stored as 1.8446744073709552e+19. Such numbers are rare, so a text is
searched for what they look like, and only then read again, twice as slowly, by the standard library, which
shows how each number is spelled. The spelling becomes an `orjson.Fragment`, which orjson writes as it is.

Rule 1: whether a number is kept as it is spelled depends on its spelling alone. So an event has the same
        data, and a key the same meaning, whatever else is in the same body.
Rule 2: only what orjson accepts is accepted.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import orjson

from ..errors import InvalidInput

# A float keeps any 15 digits. 17 characters are 16 digits and a point, or an integer that may have 64 bits.
LONG = re.compile(r"[0-9.]{17}|[0-9.]{16}[eE]|[eE]-[0-9]{3}")

# To search a text for those. In a text with its characters translated to one per kind this takes a tenth of
# the time of a regular expression.
KINDS = {"0": "0123456789.", "e": "eE", "-": "-"}
TO_KIND = bytes(next((ord(kind) for kind in KINDS if chr(code) in KINDS[kind]), 0) for code in range(256))
SIXTEEN, LONG_INTEGER, LONG_FLOAT, TINY = b"0" * 16, b"0" * 17, b"0" * 16 + b"e", b"0e-000"

# orjson reads it as 0.
NEGATIVE_ZERO = re.compile(rb"-0[,\]} \t\r\n]")


def read_json(text: bytes) -> Any:
    """
    Read a JSON text: an event, an array of events, or whatever a client sends instead.

    A number that Python cannot hold as orjson reads it is an `orjson.Fragment`. Raises `InvalidInput` if
    the text is not JSON.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise not_json(error) from None
    # Data that is text has no numbers, and most data is text.
    numbers = any(map(has_json_data, value)) if type(value) is list else has_json_data(value)
    return exact(value, text) if numbers and may_change(text) else value


def has_json_data(event: object) -> bool:
    """Return whether `event` is the JSON object of an event whose data is not text."""
    return type(event) is dict and type(event.get("data", "")) is not str


def may_change(text: bytes) -> bool:
    """Return whether something in `text` looks like a number that orjson would change."""
    kinds = text.translate(TO_KIND)
    if SIXTEEN in kinds and (LONG_INTEGER in kinds or LONG_FLOAT in kinds):
        return True
    # To look for one or two characters takes next to no time.
    if b"-" not in text:
        return False
    return (b"e-" in kinds and TINY in kinds) or (b"-0" in text and NEGATIVE_ZERO.search(text) is not None)


def exact(value: Any, text: bytes) -> Any:
    """Return `value`, which orjson read in `text`, with exact numbers. Raises `InvalidInput`."""
    # Floats of 17 digits are common, and many publishers spell them, and all else, as orjson does.
    with suppress(TypeError):  # nested too deeply for orjson as a whole; an event's data by itself may not be
        if orjson.dumps(value) == text:
            return value
    try:
        return DECODER.decode(text.decode())
    except RecursionError:
        raise InvalidInput("the data is nested too deeply", code="invalid_data") from None


def integer(text: str) -> int | orjson.Fragment:
    return orjson.Fragment(text) if len(text) > 18 or text == "-0" else int(text)


def real(text: str) -> float | orjson.Fragment:
    return orjson.Fragment(text) if LONG.search(text) else float(text)


# Making one takes longer than reading an event.
DECODER = json.JSONDecoder(parse_int=integer, parse_float=real)


def not_json(error: orjson.JSONDecodeError) -> InvalidInput:
    if "infinity" in error.msg:
        return InvalidInput("a number in this JSON is too large; send it as text", code="invalid_json")
    code = "invalid_utf8" if "UTF-8" in error.msg else "invalid_json"
    return InvalidInput(f"this is not JSON: {error.msg}", code=code)
