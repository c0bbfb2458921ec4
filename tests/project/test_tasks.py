"""
Tasks under `asyncio.eager_task_factory`, where a task takes its first step within `create_task`.

The whole suite runs so in CI: `EAGER_TASKS=1 make test`.
"""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from support.processes import Process
from tidewire.delivery.tasks import start

SRC = Path(__file__).parents[2] / "src" / "tidewire"
EAGERLY = {"create_task", "ensure_future"}


def stored_tasks(source: str) -> list[int]:
    """Return the lines where the result of `create_task` or `ensure_future` is stored in an object."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and any(map(is_object, node.targets if isinstance(node, ast.Assign) else [node.target]))
        and any(map(starts_eagerly, ast.walk(node)))
    ]


def is_object(target: ast.AST) -> bool:
    return isinstance(target, ast.Attribute | ast.Subscript)


def starts_eagerly(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in EAGERLY


def test_no_task_that_may_be_over_is_stored() -> None:
    """An eager task may end before its creator stores it, and what the end changes is then overwritten."""
    found = {
        path.relative_to(SRC).as_posix(): lines
        for path in SRC.rglob("*.py")
        if (lines := stored_tasks(path.read_text("utf-8")))
    }
    assert not found, "use tidewire.delivery.tasks.start"


@pytest.mark.parametrize(
    "line", ["self.a = asyncio.create_task(b())", "a[b] = loop.create_task(c())", "a.b = ensure_future(c)"]
)
def test_a_planted_task_is_found(line: str) -> None:
    assert stored_tasks(line) == [1]


async def test_a_task_begins_after_it_is_started() -> None:
    loop = asyncio.get_running_loop()
    steps: list[str] = []

    async def work() -> int:
        steps.append("work")
        return 3

    before = loop.get_task_factory()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))
    try:
        task = start(work())
        steps.append("started")
        assert await task == 3
    finally:
        loop.set_task_factory(before)
    assert steps == ["started", "work"]


STREAM = """
import asyncio, sys
from tidewire import EventStreamResponse, Hub
from tidewire.event_stream import Decoder

async def main(eager):
    if eager:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    hub = Hub(per_process=True)
    for life in range(2):
        await hub.open()
        decoder, got = Decoder(), []

        async def send(message):
            got.extend(e.data for e in decoder.feed(message.get("body", b"")) if e.event == "message")

        scope = dict(type="http", method="GET", path="/", raw_path=b"/", query_string=b"", headers=[],
                     http_version="1.1")
        task = asyncio.create_task(hub.stream(scope, "a")(scope, asyncio.Event().wait, send))
        while not hub.subscribers("a"):
            await asyncio.sleep(0.01)
        for number in range(5):
            await hub.publish("a", str(number))
            await asyncio.sleep(0.01)
        while len(got) < 5:
            await asyncio.sleep(0.01)
        await hub.close()
        await task
        print(*got, flush=True)

asyncio.run(main(sys.argv[1] == "True"))
"""


@pytest.mark.parametrize("eager", [False, True] if sys.version_info >= (3, 12) else [False])
def test_a_stream_of_a_hub_that_is_opened_again(eager: bool) -> None:
    env: dict[str, Any] = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with Process([sys.executable, "-c", STREAM, str(eager)], env=env) as process:
        assert process.wait() == 0, process.output
        assert process.output == "0 1 2 3 4\n" * 2
