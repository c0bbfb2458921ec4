"""The benchmarks run: the smallest load, so that they never rot. What they measure is not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the figures come from /proc")


def benchmarks(*options: str) -> list[list[str]]:
    """Run `python -m benchmarks` and return the cells of its table, header first."""
    command = [sys.executable, "-m", "benchmarks", "--quick", *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [line[2:-2].split(" | ") for line in run.stdout.splitlines() if line.startswith("|")]


def test_the_table_has_every_measure_and_every_bar() -> None:
    header, _, *rows = benchmarks("--only", "floor,takeover,portable")
    assert header == ["measure", "tidewire", "others in the same run", "bar", "measured", "met"]
    assert all(len(row) == len(header) for row in rows)
    measures = [row[0] for row in rows if row[0]]
    for text in ["one event at a time", "pipelined", "lines in one body", "idle connection", "longest step"]:
        assert any(text in measure for measure in measures), text
    judged = [row[5] for row in rows if row[3]]
    assert len(judged) >= 9
    assert set(judged) <= {"yes", "**no**"}


def test_the_steps_are_measured_beside_each_other() -> None:
    header, _, *rows = benchmarks("--steps", "--only", "a queue each,one log,floor")
    assert [row[0] for row in rows] == ["a queue each", "one log", "floor"]
    assert all(len(row) == len(header) for row in rows)
