"""
The fault suite: its smoke tier, and that it can fail.

F26 and F27 are tests/delivery/test_model.py and tests/test_event_stream.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from faults.catalogue import ALL
from faults.scenario import Context, Fault, Result, at_most, present
from faults.table import Row, judge
from faults.wire import Chunked, Got, Malformed, Native, Strict

from tidewire.testing.checker import Report

ROOT = Path(__file__).parents[2]
SMOKE = [fault.id for fault in ALL if fault.tier == "smoke"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="the faults need Linux")


@linux
@pytest.mark.parametrize("name", SMOKE)
def test_the_smoke_tier_is_met(name: str) -> None:
    command = [sys.executable, "-m", "faults", "--tier", "smoke", "--only", name]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode == 2:
        pytest.skip(run.stderr.strip().splitlines()[-1])
    assert run.returncode == 0, run.stderr + run.stdout


def test_the_smoke_tier_has_the_faults_of_every_test_run() -> None:
    wanted = "F1 F3 F10 F12 F14 F15 F16 F18 F21 F23 F25 F29 F31"
    assert set(wanted.split()) <= set(SMOKE)


# -- runs that do not count, and bars that are not met


def judged(tmp_path: Path, result: Result, least_acked: int | None = None) -> Row:
    fault = Fault("F0", "nothing", "smoke", lambda context: result, least_acked=least_acked)
    context = Context("smoke", tmp_path, "memory", None, print)
    return judge(fault, context, result)


def test_a_run_with_a_fault_and_enough_acked_is_met(tmp_path: Path) -> None:
    row = judged(tmp_path, Result(1, "kill", acked=1000, reports=[Report(acked=1000, faults=1)]))
    assert row.met
    assert row.cells()[-1] == "yes"


def test_a_run_without_a_fault_does_not_count(tmp_path: Path) -> None:
    row = judged(tmp_path, Result(0, "kills", acked=1000))
    assert not row.met
    assert "no fault happened" in row.cells()[-1]


def test_a_run_with_too_few_acked_does_not_count(tmp_path: Path) -> None:
    result = Result(1, "kill", acked=99)
    assert "99 acked" in judged(tmp_path, result).cells()[-1]
    assert judged(tmp_path, result, least_acked=0).met


@pytest.mark.parametrize(
    "count", ["lost_middle", "invented", "repeated_for_app", "unsound_gaps", "reused_ids"]
)
def test_a_failure_that_the_checker_counts_is_not_met(tmp_path: Path, count: str) -> None:
    report = Report(acked=1000, faults=1, **{count: 1})
    row = judged(tmp_path, Result(1, "kill", acked=1000, reports=[Report(), report]))
    assert not row.met
    assert f"{count} 1" in row.cells()[-1]


def test_a_needless_gap_may_be_allowed(tmp_path: Path) -> None:
    result = Result(1, "kill", acked=1000, reports=[Report(needless_gaps=1)])
    assert not judged(tmp_path, result).met
    result.needless_allowed = True
    assert judged(tmp_path, result).met


def test_a_bar_that_is_missed_is_not_met(tmp_path: Path) -> None:
    row = judged(tmp_path, Result(1, "kill", acked=1000, bars=[at_most("recovery", 3.0, 2.0)]))
    assert not row.met
    assert "recovery <= 2 s: 3 s" in row.cells()[-1]


def test_missing_needs_are_named() -> None:
    fault = Fault(
        "F0", "nothing", "smoke", lambda context: Result(1, ""), needs=["no-such-program", sys.executable]
    )
    assert fault.missing() == ["no-such-program"]
    assert present(sys.executable)


# -- the readers


def test_strict_accepts_what_a_hub_writes() -> None:
    reader = Strict()
    assert reader.feed(b"retry: 2000\n: tidewire\nevent: hub.position\nid: aaaaaa.0\ndata: {}\n") == []
    got = reader.feed(b"\nid: aaaaaa.1\ntopic: a\ndata: x\ndata: y\n\n")
    assert got == [Got("aaaaaa.0", "hub.position", "{}"), Got("aaaaaa.1", "message", "x\ny", "a")]
    assert reader.retry == 2.0


@pytest.mark.parametrize(
    "block",
    [
        b"data: no id\n\n",
        b"id:aaaaaa.1\ndata: no space\n\n",
        b"id: aaaaaa.1\r\ndata: a carriage return\n\n",
        b"id: aaaaaa.1\nevent: too late\ndata: x\n\n",
        b"id: aaaaaa.1\n\n",
        b"event: message of nobody\n\n",
    ],
)
def test_strict_accepts_nothing_else(block: bytes) -> None:
    with pytest.raises(Malformed):
        Strict().feed(block)


def test_native_accepts_any_stream() -> None:
    reader = Native()
    assert reader.feed(b": hi\r\nid: 1\ndata:x\ndata: y\nunknown: z\n\n") == [Got("1", "message", "x\ny")]
    assert reader.feed(b"id: 2\n\n") == []
    assert reader.last_event_id == "2"


def test_chunks_are_decoded_wherever_they_are_cut() -> None:
    body = b"5\r\nhello\r\n1\r\n \r\n0\r\n\r\n"
    for cut in range(len(body)):
        chunked = Chunked()
        assert chunked.feed(body[:cut]) + chunked.feed(body[cut:]) == b"hello "
        assert chunked.ended
    with pytest.raises(Malformed):
        Chunked().feed(b"5\r\nhelloo\r\n")
