"""
Tasks that work in the background, and those of a node.
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


class Tasks:
    """Keeps tasks alive until they are done; `cancel` ends those that are left."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        task = start(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
