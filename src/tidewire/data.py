"""
Turning a program's data into the text of an event: the one encoder, for publishing, generators and clients.

Rule 1: what orjson writes by itself costs nothing more. Only what it refuses is looked at again.
Rule 2: nothing changes in silence. NaN and infinities, which orjson would write as null, are refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Set
from decimal import Decimal
from enum import Enum
from typing import Any

import orjson

from .errors import InvalidInput

# Turns an object of the program into what can be written; raises `TypeError` if it does not know it.
Encoder = Callable[[Any], Any]

OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
NUMBERS = "biuf"  # numpy's kinds of numbers that JSON has
WITHOUT_FLOATS = {str, int, bool, type(None)}


def as_text(data: Any, encoder: Encoder | None = None) -> str:
    """
    Return UTF-8 bytes as text, and anything else as JSON text.

    `encoder` is asked first about objects that are not JSON. Raises `InvalidInput` if something cannot be
    written, or if a number would not be the same in JSON.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError:
            raise InvalidInput(
                "the data is not UTF-8; send bytes as base64 text", code="invalid_utf8"
            ) from None
    try:
        text = orjson.dumps(data).decode()
    except TypeError:
        return _with_objects(data, encoder)
    if "null" in text and not is_finite(data):
        raise _not_finite()
    return text


def _with_objects(data: Any, encoder: Encoder | None) -> str:
    """Return `data` as JSON text, which has objects that orjson alone does not write."""
    written = [data]

    def write(value: Any) -> Any:
        written.append(plain(value, encoder))
        return written[-1]

    try:
        text = orjson.dumps(data, default=write, option=OPTIONS).decode()
    except TypeError as error:
        if isinstance(error.__cause__, InvalidInput):
            raise error.__cause__ from None
        raise InvalidInput(
            f"the data cannot be written as JSON: {error}; send it as text", code="invalid_data"
        ) from error.__cause__
    if "null" in text and not all(map(is_finite, written)):
        raise _not_finite()
    return text


def plain(value: Any, encoder: Encoder | None) -> Any:
    """Return what is written for an object that orjson does not know. Raises `TypeError` if nothing is."""
    if encoder is not None:
        try:
            return encoder(value)
        except TypeError:
            pass
    if hasattr(value, "model_dump"):  # a pydantic model
        return value.model_dump(mode="json")
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise _not_finite()
        return str(value)  # a number would lose digits in most readers
    if isinstance(value, Set):
        return in_order(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, float):
        return float(value)
    if hasattr(value, "tolist") and getattr(value, "dtype", None) is not None and value.dtype.kind in NUMBERS:
        return value.tolist()  # an array that is not contiguous
    raise TypeError


def in_order(values: Set[Any]) -> list[Any]:
    """Return the values of a set. In the same order each time, as far as they have one: keys compare data."""
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def is_finite(data: Any) -> bool:
    """Return whether all numbers in `data` are finite: orjson would write another one as null."""
    if isinstance(data, float):
        return math.isfinite(data)
    if isinstance(data, dict):
        # Nearly always all keys are text.
        inside: Iterable[Any] = data.values() if {*map(type, data)} == {str} else [*data, *data.values()]
    elif isinstance(data, (list, tuple)):
        inside = data
    elif dataclasses.is_dataclass(data):
        inside = [getattr(data, field.name) for field in dataclasses.fields(data)]
    elif isinstance(data, Enum):
        inside = [data.value]
    elif getattr(getattr(data, "dtype", None), "kind", "") == "f":
        values = data.tolist()
        inside = values if isinstance(values, list) else [values]
    else:
        return True
    # Most values are not looked into: a call for each would cost a publish with a null a tenth of its time.
    return all(is_finite(value) for value in inside if type(value) not in WITHOUT_FLOATS)


def _not_finite() -> InvalidInput:
    return InvalidInput("the data has NaN or an infinity, which JSON does not have", code="invalid_data")
