"""The fixtures of the pytest plugin, as pytest loads them in a project that has Tidewire installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.documents import blocks

ROOT = Path(__file__).parents[2]

TEST_OF_THE_EXAMPLE = """
from examples.foreign import app


async def test_the_example(sse_client):
    async with sse_client(app) as c:
        async with c.sse("/ticks") as events:
            first = await events.next(timeout=5)
            second = await events.next(timeout=5)
        async with c.sse("/ticks") as again:
            assert (await again.next(timeout=5)).data == "0"
    assert [(event.id, event.event, event.data) for event in (first, second)] == [
        ("0", "tick", "0"),
        ("1", "tick", "1"),
    ]
"""


def run_pytest(folder: Path, text: str) -> str:
    (folder / "test_a_program.py").write_text(text)
    options = ["-q", "-c", "/dev/null", "--rootdir", folder, "-o", "asyncio_mode=auto", "-W", "error"]
    options += ["-o", "asyncio_default_fixture_loop_scope=function", "-o", f"pythonpath={ROOT}"]
    options += ["-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, folder]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_endless_stream_of_a_program_that_has_nothing_of_ours(tmp_path: Path) -> None:
    assert "1 passed" in run_pytest(tmp_path, TEST_OF_THE_EXAMPLE)


def test_the_program_of_the_page(tmp_path: Path) -> None:
    (block,) = [
        block
        for block in blocks("python", "docs/how-to/testing.md")
        if block.section == "a-program-that-has-nothing-of-tidewire"
    ]
    assert "1 passed" in run_pytest(tmp_path, block.text)
