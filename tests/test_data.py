"""`as_text`: what a program may give as data, wherever it gives it."""

from __future__ import annotations

import asyncio
import datetime
import math
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy
import pytest
from pydantic import BaseModel

from support.fakes import listen, quiet, virtual
from tidewire import Event, EventStreamResponse, Hub, encode
from tidewire.client.core.publishing import event_line, publish_body
from tidewire.data import as_text
from tidewire.errors import InvalidInput
from tidewire.http.generator import encode_item
from tidewire.log.drafts import draft_of
from tidewire.log.json_text import read_json


class Order(BaseModel):
    id: int
    price: Decimal
    at: datetime.date


@dataclass
class Point:
    x: float
    order: Order | None = None


class Colour(Enum):
    RED = "red"
    NAN = math.nan


class Unknown:
    def __init__(self, value: Any = 5) -> None:
        self.value = value


Pair = namedtuple("Pair", "a b")
ORDER = Order(id=7, price=Decimal("1.10"), at=datetime.date(2026, 1, 2))
ORDER_TEXT = '{"id":7,"price":"1.10","at":"2026-01-02"}'
ID = uuid.UUID(int=5)

DATA: dict[str, tuple[Any, str]] = {
    "a pydantic model": (ORDER, ORDER_TEXT),
    "models inside": ({"orders": [ORDER]}, f'{{"orders":[{ORDER_TEXT}]}}'),
    "a dataclass with a model": (Point(0.5, ORDER), f'{{"x":0.5,"order":{ORDER_TEXT}}}'),
    "Decimal": ([Decimal("1.10"), Decimal("1E+30")], '["1.10","1E+30"]'),
    "a set": ({"b", "a"}, '["a","b"]'),
    "a frozenset": (frozenset([2, 1]), "[1,2]"),
    "int keys": ({1: "a", 2: None}, '{"1":"a","2":null}'),
    "keys of other types": ({ID: 1, datetime.date(2026, 1, 2): 2}, f'{{"{ID}":1,"2026-01-02":2}}'),
    "UUID": (ID, f'"{ID}"'),
    "datetime": (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), '"2026-01-02T00:00:00+00:00"'),
    "an enum": (Colour.RED, '"red"'),
    "a named tuple": (Pair(1, {2}), "[1,[2]]"),
    "mappings": ([MappingProxyType({"a": 1}), OrderedDict(b=2)], '[{"a":1},{"b":2}]'),
    "null beside objects": ([None, Decimal(1), "null"], '[null,"1","null"]'),
}

BAD: dict[str, Any] = {
    "NaN": math.nan,
    "an infinity in a set": {math.inf},
    "NaN as a key": {math.nan: 1},
    "NaN beside objects": [ID, Decimal(1), {"a": (math.nan,)}],
    "NaN in a dataclass with a model": Point(math.nan, ORDER),
    "NaN in an enum": Colour.NAN,
    "a NaN Decimal": Decimal("NaN"),
    "an infinite Decimal": [Decimal("-Infinity")],
    "an unknown object": {"a": Unknown()},
    "a complex number": 1j,
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_is_taken(case: str) -> None:
    given, expected = DATA[case]
    assert as_text(given) == expected


@pytest.mark.parametrize("case", BAD)
def test_data_that_is_refused(case: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        as_text(BAD[case])
    assert refused.value.code == "invalid_data"


def test_numpy() -> None:
    given = {"a": numpy.float64(0.5), "b": numpy.int32(5), "c": numpy.bool_(True), "d": numpy.arange(3)}
    assert as_text(given) == '{"a":0.5,"b":5,"c":true,"d":[0,1,2]}'
    assert as_text(numpy.datetime64("2026-01-02T03:04:05")) == '"2026-01-02T03:04:05"'
    assert as_text(numpy.arange(9).reshape(3, 3)[:, 0]) == "[0,3,6]"  # not contiguous
    assert as_text(numpy.float16(0.5)) == "0.5"
    for bad in (numpy.float32("nan"), numpy.float64("inf"), [numpy.array([[1.0, math.nan]])]):
        with pytest.raises(InvalidInput, match="NaN"):
            as_text(bad)


# -- the hook


def hook(value: Any) -> Any:
    if isinstance(value, Unknown):
        return value.value
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError


def test_the_hook_is_asked_first_and_may_not_know() -> None:
    given = [Unknown(), Decimal("1.10"), {1}, Unknown({"a": Unknown()})]
    assert as_text(given, hook) == '[5,1.1,[1],{"a":5}]'


def test_what_the_hook_returns_is_checked_too() -> None:
    for bad in (Unknown(math.nan), [Unknown([math.inf])], Unknown(1j)):
        with pytest.raises(InvalidInput):
            as_text(bad, hook)


def test_what_the_hook_raises_is_the_cause() -> None:
    def broken(value: Any) -> Any:
        raise KeyError("x")

    with pytest.raises(InvalidInput) as refused:
        as_text(Unknown(), broken)
    assert isinstance(refused.value.__cause__, KeyError)


# -- everywhere

TAKERS: dict[str, Callable[[Any], str]] = {
    "an event": lambda data: encode(Event(data)).decode().removeprefix("data: ").rstrip("\n"),
    "a yielded event": lambda data: encode_item(Event(data)).decode().removeprefix("data: ").rstrip("\n"),
    "a yielded dict": lambda data: encode_item({"data": data}).decode().removeprefix("data: ").rstrip("\n"),
    "a client": lambda data: published(publish_body("a", data, None, None, None)),
    "a client's stream": lambda data: published(event_line({"topic": "a", "data": data})),
}


def published(body: bytes) -> str:
    return draft_of(read_json(body), max_event=10_000).data


@pytest.mark.parametrize("case", DATA)
@pytest.mark.parametrize("taker", TAKERS)
def test_it_is_the_same_everywhere(taker: str, case: str) -> None:
    given, expected = DATA[case]
    assert TAKERS[taker](given) == expected
    with pytest.raises(InvalidInput):
        TAKERS[taker](math.nan)


@virtual
async def test_the_hub_has_a_hook() -> None:
    hub = Hub(encoder=hook)
    async with hub.lifespan():
        wire = await listen(await hub.open(), "a")
        await hub.publish("a", {"x": Unknown()})
        await hub.publish_many(
            [{"topic": "a", "data": Unknown()}, {"topic": "a", "data": Decimal(2), "key": "k"}]
        )
        await quiet()
        assert [event.data for event in wire.everything[1:]] == ['{"x":5}', "5", "2.0"]


async def test_a_stream_from_a_generator_has_a_hook() -> None:
    class Own(EventStreamResponse):
        encoder = hook

    async def items() -> AsyncIterator[Any]:
        yield Event(Unknown())
        yield {"data": Unknown(6)}

    body = b""

    async def send(message: Any) -> None:
        nonlocal body
        body += message.get("body", b"")

    async def receive() -> Any:
        return await asyncio.Event().wait()

    scope: Any = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await Own(items())(scope, receive, send)
    assert b"data: 5\n\ndata: 6\n\n" in body
