"""The first page of the documentation: its numbers were measured, and its animation can stand still."""

from __future__ import annotations

import re

from support.documents import ROOT, read

NUMBERS = re.compile(r"\*\*([\d.,]+)(?: (us|KiB))?\*\*")


def test_the_numbers_of_the_first_page_are_those_measured() -> None:
    measured = (ROOT / "docs/explanation/performance.md").read_text("utf-8")
    found = NUMBERS.findall("\n".join(read("docs/index.md").prose))
    assert len(found) == 3
    for number, unit in found:
        assert f"{number} {unit}".strip() in measured


def test_the_animation_says_what_it_shows_and_can_be_still() -> None:
    drawing = (ROOT / "docs/resume.svg").read_text("utf-8")
    assert "<title" in drawing
    assert "<desc" in drawing
    still = drawing.partition("@media (prefers-reduced-motion: no-preference)")[0]
    assert "animation" not in still
    assert "@keyframes" not in still
