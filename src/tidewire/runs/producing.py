"""
Iterating a program's producer, and ending it when nobody wants the rest.

A producer that is asked to stop gets `CancelledError` where it is: at what it awaits, or at its `yield`. A
cancelled task alone would close a generator that is at a `yield`, and it would see `GeneratorExit`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from typing import Any

from ..http.generator import Failed, OwnThread, in_thread

# What a program passes to `Hub.run`: a callable that returns it, or the iterable itself.
Source = AsyncIterable[Any] | Iterable[Any]
Producer = Callable[[], Source] | Source


async def produce(producer: Producer, put: Callable[[Any], Awaitable[None] | None], name: str) -> None:
    """
    Pass each item of `producer` to `put`, one after the other, and wait for what it returns, if anything.

    `name` is for the log.

    Cancelling this cancels the producer. Raises what the producer raises, and `TypeError` if it is not one.
    """
    source = producer() if callable(producer) else producer
    iterator = iterator_of(source, name)
    while True:
        try:
            item = await anext(iterator)
        except StopAsyncIteration:
            return
        except Failed as failed:  # of a sync generator, in its thread
            raise failed.error from None
        try:
            if (room := put(item)) is not None:
                await room
        except BaseException as error:
            await throw(iterator, error)
            raise


def iterator_of(source: Any, name: str) -> AsyncIterator[Any]:
    if isinstance(source, AsyncIterable):
        return aiter(source)
    if not isinstance(source, Iterable) or isinstance(source, str | bytes | Mapping):
        if asyncio.iscoroutine(source):
            source.close()
        raise TypeError(f"a producer is a generator or returns one, not {type(source).__name__}")
    return in_thread(source, OwnThread(name))


async def throw(iterator: AsyncIterator[Any], error: BaseException) -> None:
    """Raise the error in a generator that is at its `yield`, and close it if it goes on."""
    if isinstance(iterator, AsyncGenerator):
        with contextlib.suppress(BaseException):
            await iterator.athrow(error)
            await iterator.aclose()
