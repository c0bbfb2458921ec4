"""The benchmarks run: the smallest load, so that they never rot. What they measure is not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import systems
from benchmarks.run import MEASURES, is_complete
from benchmarks.stores import STORES
from benchmarks.table import BEGIN, END, PAGE, Row, write_into

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the figures come from /proc")


def benchmarks(*options: str) -> list[list[str]]:
    """Run `python -m benchmarks` and return the cells of its table, header first."""
    command = [sys.executable, "-m", "benchmarks", "--quick", *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [line[2:-2].split(" | ") for line in run.stdout.splitlines() if line.startswith("|")]


@pytest.mark.slow
def test_the_table_has_every_measure_and_every_bar() -> None:
    # Nodes have a test of their own, since they take as long as all others.
    measured = ",".join(measure for measure in MEASURES if measure != "nodes")
    header, _, *rows = benchmarks("--only", "floor,takeover,portable", "--measures", measured)
    assert header == ["measure", "tidewire", "others in the same run", "bar", "measured", "met"]
    assert all(len(row) == len(header) for row in rows)
    measures = [row[0] for row in rows if row[0]]
    texts = ["one event at a time", "pipelined", "lines in one body", "idle connection", "longest step"]
    for text in [*texts, "distinct selectors"]:
        assert any(text in measure for measure in measures), text
    judged = [row[5] for row in rows if row[3]]
    assert len(judged) >= 12
    assert set(judged) <= {"yes", "**no**"}


@pytest.mark.slow
def test_nodes_are_measured_beside_a_bare_loop() -> None:
    stores = [store for store in STORES if not store.why_not]
    if not stores:
        pytest.skip("; ".join(store.why_not for store in STORES))
    _, _, *rows = benchmarks("--measures", "nodes")
    for store in stores:
        assert sum(store.name in row[0] and "the bare loop" in row[2] for row in rows) == 3
        assert any(row[3] == f"{store.name} <= 1.1 x memory" for row in rows)


@pytest.mark.slow
def test_two_checkouts_are_measured_beside_each_other() -> None:
    header, _, *rows = benchmarks("--against", str(ROOT))
    assert header[-2:] == ["ratio, median of the starts", "least and most"]
    measures = ["a delivery, memory", "an event of a resume, memory", "a delivery, disk", "a publish, disk"]
    for measure in [*measures, "an event of a resume, disk"]:
        assert any(row[0].startswith(measure) for row in rows), measure
    assert all(float(row[3]) > 0 for row in rows)


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--against", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert f"{tmp_path} has no src/tidewire" in run.stderr


def test_only_a_table_that_leaves_nothing_out_is_complete() -> None:
    decoders = [Row("decoder, CPU per event", "1 us")]
    assert is_complete(systems.ALL, MEASURES, decoders)
    assert not is_complete(systems.ALL[1:], MEASURES, decoders)
    assert not is_complete(systems.ALL, MEASURES[1:], decoders)
    assert not is_complete(systems.ALL, MEASURES, [])


def test_a_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}| old |{END}\n\nafter\n", "utf-8")
    for text in ("| new |", "| newer |"):
        write_into(page, text)
        assert page.read_text("utf-8") == f"before\n\n{BEGIN}{text}{END}\n\nafter\n"


def test_the_page_has_the_markers() -> None:
    text = PAGE.read_text("utf-8")
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert text.index(BEGIN) < text.index(END)


def test_the_steps_are_measured_beside_each_other() -> None:
    header, _, *rows = benchmarks("--steps", "--only", "a queue each,one log,floor")
    assert [row[0] for row in rows] == ["a queue each", "one log", "floor"]
    assert all(len(row) == len(header) for row in rows)
