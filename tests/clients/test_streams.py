"""SSE clients of others read a normal and a plain stream, through silence, gaps and restarts (G20)."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from support.client_matrix import BOTH, STREAMS
from support.client_scenarios import (
    Case,
    ToTheEnd,
    be_over_at_a_restart,
    has_all_of_fifteen,
    meet_a_gap,
    read_to_the_end,
    survive_two_restarts,
    was_over_at_a_restart,
    was_read_to_the_end,
    was_told_of_the_gap,
)
from support.foreign_clients import Programs, Results, Server

CASES = [Case(client, stream) for client in STREAMS for stream in BOTH]
RESUMING = [case for case in CASES if case.stream in case.client.resumes]
# It asks again once after a proper end, and raises an error if the server is not back.
ASKS_ONCE = ("aiohttp-sse-client", "normal")
OTHERS = {
    signal.SIGTERM: [
        case for case in CASES if case not in RESUMING and (case.client.package, case.stream) != ASKS_ONCE
    ],
    signal.SIGKILL: [case for case in CASES if case not in RESUMING],
}


def id_of(value: object) -> str:
    return value.id if isinstance(value, Case) else getattr(value, "name", str(value))


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs("streams") as programs:
        yield programs


@pytest.fixture(scope="module")
def read(server: Server, programs: Programs) -> ToTheEnd:
    return read_to_the_end(server, CASES, programs.open)


@pytest.mark.parametrize("case", CASES, ids=id_of)
def test_a_stream_is_read_exactly_to_its_end(read: ToTheEnd, case: Case) -> None:
    was_read_to_the_end(read, case)


@pytest.fixture(scope="module")
def gaps(server: Server, programs: Programs) -> Results:
    return meet_a_gap(server, CASES, programs.open)


@pytest.mark.parametrize("case", CASES, ids=id_of)
def test_a_gap_is_told(gaps: Results, case: Case) -> None:
    was_told_of_the_gap(gaps, case)


@pytest.fixture(scope="module")
def resumed(server: Server, programs: Programs) -> Results:
    return survive_two_restarts(server, RESUMING, programs.open)


@pytest.mark.parametrize("case", RESUMING, ids=id_of)
def test_all_events_over_two_restarts(resumed: Results, case: Case) -> None:
    has_all_of_fifteen(resumed, case)


@pytest.fixture(scope="module")
def others(server: Server, programs: Programs) -> dict[signal.Signals, Results]:
    return {
        number: be_over_at_a_restart(server, cases, programs.open, number) for number, cases in OTHERS.items()
    }


@pytest.mark.parametrize(
    ("number", "case"), [(number, case) for number, cases in OTHERS.items() for case in cases], ids=id_of
)
def test_the_others_are_over_at_a_restart(
    others: dict[signal.Signals, Results], number: signal.Signals, case: Case
) -> None:
    was_over_at_a_restart(others[number], case)
