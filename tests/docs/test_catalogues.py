"""
What tests and comments cite by a number is on a page: promises, faults, attacks, lines of client behaviour.

A citation says which page is meant: `attack C07`. A bare number is enough for a promise, since no other
catalogue has a G, and in a folder that cites only one kind.
"""

from __future__ import annotations

import re
from functools import cache

import pytest
from faults.catalogue import ALL

from support.citations import Citation, citations
from support.client_lines import LINES
from support.documents import ROOT, tables

PROMISES = "docs/reference/delivery-promises.md"
FAULTS = "docs/reference/faults.md"
ATTACKS = "docs/reference/attacks.md"

PROGRAMS = [path for top in ("src", "tests", "faults", "benchmarks") for path in ROOT.glob(f"{top}/**/*.py")]

# They show how rows are cited; that makes them no tests of a row.
EXAMPLES = ("tests/docs/", "tests/support/citations.py")


def numbers(page: str, *header: str) -> list[str]:
    """Return the first cells of all tables with this header."""
    return [row[0] for table in tables(page, *header) for row in table]


CATALOGUES = {
    "promise": numbers(PROMISES, "no.", "promise", "what would break it", "tried by"),
    "fault": [
        *numbers(FAULTS, "no.", "fault", "tier", "needs", "must also hold"),
        *numbers(FAULTS, "no.", "what", "where"),
    ],
    "attack": numbers(ATTACKS, "no.", "input", "answer"),
    "line": list(LINES),
}


@cache
def cited() -> dict[Citation, str]:
    """Return all citations, with a file that has each."""
    found: dict[Citation, str] = {}
    for path in PROGRAMS:
        place = path.relative_to(ROOT).as_posix()
        if not place.startswith(EXAMPLES):
            found |= dict.fromkeys(citations(place, path.read_text("utf-8")), place)
    return found


def test_what_is_cited_is_on_its_page() -> None:
    for (kind, number), place in cited().items():
        assert kind, f"{place}: is {number} a fault, an attack or a line?"
        assert number in CATALOGUES[kind], f"{place}: there is no {kind} {number}"


@pytest.mark.parametrize("kind", ["promise", "attack"])
def test_what_is_on_a_page_has_a_test(kind: str) -> None:
    assert {number for found, number in cited() if found == kind} == set(CATALOGUES[kind])


@pytest.mark.parametrize("kind", ["promise", "attack", "line"])
def test_numbers_are_in_order(kind: str) -> None:
    found = CATALOGUES[kind]
    assert found == sorted(set(found), key=lambda number: (number[0], int(number[1:])))


def test_the_faults_are_those_of_the_suite() -> None:
    (rows,) = tables(FAULTS, "no.", "fault", "tier", "needs", "must also hold")
    said = [(no, title, tier, re.findall(r"`([^`]+)`", needs)) for no, title, tier, needs, _ in rows]
    assert said == [(fault.id, fault.title, fault.tier, list(fault.needs)) for fault in ALL]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Attacks A06 to A08."""', [("attack", "A06"), ("attack", "A07"), ("attack", "A08")]),
        ("x = 1  # line D6: and fault F21", [("line", "D6"), ("fault", "F21")]),
        ("# G11 and F10", [("promise", "G11"), ("", "F10")]),
        ("# U+0085, %E9, B1.5, aB12, B123", []),
        ("def test_a01_a02_types(): ...", [("attack", "A01"), ("attack", "A02")]),
        ("def test_a06_to_a08_data(): ...", [("attack", "A06"), ("attack", "A07"), ("attack", "A08")]),
        ("def test_D13_h08_silence(): ...", [("attack", "H08")]),
    ],
)
def test_citations_are_found(source: str, found: list[tuple[str, str]]) -> None:
    assert list(citations("tests/x.py", source)) == found
