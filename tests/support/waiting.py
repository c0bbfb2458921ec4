"""
Waiting for a state, however busy the machine is.

Tests wait for states and counts, not for seconds: a deadline is there so that a test that would hang fails.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

POLL = 0.01

# Seconds that a state may take to come about. On a machine with time it is there at once.
PATIENCE = 60.0


def wait_until(predicate: Callable[[], T], timeout: float = PATIENCE) -> T:
    """Call `predicate` until what it returns is true, and return that; fail after `timeout` seconds.

    This one blocks its thread. A coroutine awaits `wait_until_async`.
    """
    deadline = time.monotonic() + timeout
    while not (result := predicate()):
        _check_deadline(deadline, predicate, timeout, result)
        time.sleep(POLL)
    return result


async def wait_until_async(predicate: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """The same while the event loop goes on. `predicate` may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        result = predicate()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        _check_deadline(deadline, predicate, timeout, result)
        await asyncio.sleep(POLL)


def _check_deadline(deadline: float, predicate: Callable[[], Any], timeout: float, last: object) -> None:
    if time.monotonic() > deadline:
        code = predicate.__code__ if inspect.isfunction(predicate) else None
        where = f"line {code.co_firstlineno} of {Path(code.co_filename).name}" if code else repr(predicate)
        raise AssertionError(f"still {last!r} after {timeout} s: {where}")
