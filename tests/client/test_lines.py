"""Each line of docs/reference/client-behaviour.md that applies to Python has a test named after it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.citations import expanded
from support.client_lines import BROWSER, LINES, PYTHON

TESTS = Path(__file__).parents[1]
NAME = re.compile(r"^(?:async )?def test_([A-F][0-9]\w*)", re.MULTILINE)


def lines_tested(folder: Path) -> set[str]:
    """Return the lines that tests are named after: `test_A1_to_A3_and_A13_…` are four."""
    names = [name for file in folder.rglob("test_*.py") for name in NAME.findall(file.read_text("utf-8"))]
    return {line for name in names for line in expanded(name.replace("_", " "))}


@pytest.mark.parametrize(("folder", "lines"), [("client", PYTHON), ("browser", BROWSER)])
def test_lines_and_tests_are_the_same(folder: str, lines: set[str]) -> None:
    assert lines_tested(TESTS / folder) == lines


def test_no_line_is_left_out() -> None:
    counts = {"A": 17, "B": 12, "C": 9, "D": 16, "E": 8, "F": 13}
    assert list(LINES) == [f"{part}{n}" for part, last in counts.items() for n in range(1, last + 1)]
