"""
Every event loop starts its tasks eagerly (Python 3.12): `EAGER_TASKS=1 make test`.

A folder of its own: the children of the tests import it from their PYTHONPATH, as Python starts.
"""

import asyncio
from typing import Any


class Factory:
    """`asyncio.eager_task_factory`, which refuses what uvloop gives it on Python 3.13.0."""

    # By these anyio knows it. The tasks of anyio's own groups cannot start eagerly.
    __code__ = asyncio.eager_task_factory.__code__
    __closure__ = asyncio.eager_task_factory.__closure__

    def __call__(self, loop: Any, work: Any, **options: Any) -> Any:
        return asyncio.Task(work, loop=loop, **{**options, "eager_start": not is_hypercorns(work)})


def is_hypercorns(work: Any) -> bool:
    """Whether this is Hypercorn's call of an app. It has to be lazy: if the app answered at once, Hypercorn's
    stream would not have its queue yet.
    """
    frame = getattr(work, "cr_frame", None)
    return frame is not None and frame.f_globals.get("__name__") == "hypercorn.asyncio.task_group"


factory = Factory()


def eager(new_loop: Any) -> Any:
    def make(*args: Any, **options: Any) -> Any:
        loop = new_loop(*args, **options)
        loop.set_task_factory(factory)
        return loop

    return make


original = asyncio.BaseEventLoop.__init__


def init(loop: Any, *args: Any, **options: Any) -> None:
    original(loop, *args, **options)
    loop._task_factory = factory


asyncio.BaseEventLoop.__init__ = init  # type: ignore[method-assign]

try:
    import uvloop
except ImportError:
    pass
else:
    uvloop.new_event_loop = eager(uvloop.new_event_loop)
