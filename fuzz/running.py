"""What holds for every target: which errors are refusals, and how long one input may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from tidewire.errors import TidewireError

TARGETS = ("decoder", "positions", "topics", "publish_bodies", "tokens")

# Seconds of processor time for one input.
LIMIT = 0.05
# How often a slow input is tried again: the machine may have been busy.
TRIES = 3


def load(name: str) -> ModuleType:
    return import_module(f"fuzz.{name}")


def refused(work: Callable[[], object]) -> bool:
    """Do `work`. Return whether it was refused, as a client's fault; any other error is raised."""
    try:
        work()
    except TidewireError as error:
        if not 400 <= error.status < 500:
            raise
        return True
    return False


def run(check: Callable[[bytes], object], data: bytes) -> None:
    """Check one input, and that it does not take too long."""
    for _ in range(TRIES):
        began = time.process_time()
        check(data)
        took = time.process_time() - began
        if took <= LIMIT:
            return
    raise AssertionError(f"an input of {len(data)} bytes took {took:.3f} s: {data[:200]!r}")
