"""The figures of the README are those of the table."""

from __future__ import annotations

import re

import pytest
from benchmarks.table import HEADER

from support.documents import read, tables

PAGE = "docs/explanation/performance.md"
ONE = "CPU per delivery, 1,000 subscribers, 100 bytes: one event at a time"


def section() -> str:
    lines = read("README.md").prose
    return " ".join(lines[lines.index("## How fast") : lines.index("## Documentation")])


@pytest.mark.parametrize(
    ("measure", "system", "said"),
    [
        (ONE, "takeover", "one delivery costs the server {} of CPU"),
        (ONE, "Nchan", "Nchan (an nginx module in C) needs {}"),
        (ONE, "sse-starlette", "sse-starlette {}"),
        ("server memory per idle connection", "takeover", "An idle connection costs {}"),
        ("events acked from disk, 32 connections", "", "{} events a second are acknowledged from disk"),
    ],
)
def test_a_figure_of_the_readme(measure: str, system: str, said: str) -> None:
    rows = [row for table in tables(PAGE, *HEADER) for row in table]
    ((_, ours, others, *_),) = [row for row in rows if row[0].startswith(measure)]
    found = re.search(rf"(?:^|, ){system} ?([0-9.,]+(?: us| KiB)?)", f"{ours}, {others}")
    assert found, measure
    assert said.format(found[1]) in section()
