"""Every line that concerns a Python client has a test named after it."""

from __future__ import annotations

import re
from pathlib import Path

from support.client_lines import LINES, NOT_APPLICABLE

NAME = re.compile(r"^(?:async )?def test_((?:[A-F][0-9]+_)+)", re.MULTILINE)


def lines_tested() -> set[str]:
    files = Path(__file__).parent.rglob("test_*.py")
    names = [name for file in files for name in NAME.findall(file.read_text("utf-8"))]
    return {line for name in names for line in name.strip("_").split("_")}


def test_every_line_has_its_test() -> None:
    assert set(LINES) - set(NOT_APPLICABLE) - lines_tested() == set()


def test_every_test_has_its_line() -> None:
    assert lines_tested() - (set(LINES) - set(NOT_APPLICABLE)) == set()


def test_no_line_is_left_out() -> None:
    counts = {"A": 17, "B": 12, "C": 9, "D": 16, "E": 8, "F": 13}
    assert list(LINES) == [f"{part}{n}" for part, last in counts.items() for n in range(1, last + 1)]
    assert set(NOT_APPLICABLE) <= set(LINES)
