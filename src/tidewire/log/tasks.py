"""
Starting a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def start(work: Coroutine[Any, Any, T], context: Context | None = None) -> asyncio.Task[T]:
    """
    Start a task that takes its first step in the next step of the event loop, never before this returns.

    With `asyncio.eager_task_factory`, `create_task` takes that step itself. The task could end before
    the caller has stored it, and the program's code would run in the middle of a round.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop(), context=context)
