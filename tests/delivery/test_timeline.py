"""timeline: the steps of a stream, and how many are kept."""

from __future__ import annotations

from tidewire.delivery.timeline import MOST, Kind, Timeline


def timeline_of(*kinds: Kind) -> Timeline:
    timeline = Timeline()
    for count, kind in enumerate(kinds):
        timeline.note(float(count), kind, count)
    return timeline


def kinds_of(timeline: Timeline) -> list[tuple[str, int]]:
    return [(step.kind, step.times) for step in timeline.steps]


def test_steps_are_kept_in_order() -> None:
    timeline = timeline_of("judged", "live", "paused", "resumed", "live", "ended")
    assert [(step.kind, step.offset) for step in timeline.steps] == [
        ("judged", 0),
        ("live", 1),
        ("paused", 2),
        ("resumed", 3),
        ("live", 4),
        ("ended", 5),
    ]
    assert timeline.forgotten == 0


def test_steps_that_repeat_are_noted_once() -> None:
    turns: list[Kind] = ["live", "paused", "resumed"] * 500
    timeline = timeline_of("judged", *turns, "live", "ended")
    assert kinds_of(timeline) == [
        ("judged", 1),
        ("live", 500),
        ("paused", 500),
        ("resumed", 500),
        ("live", 1),
        ("ended", 1),
    ]
    assert [step.offset for step in timeline.steps[1:]] == [1498, 1499, 1500, 1501, 1502]
    assert timeline.forgotten == 0


def test_one_kind_that_repeats_is_noted_once() -> None:
    assert kinds_of(timeline_of("judged", "paused", "paused", "paused")) == [("judged", 1), ("paused", 3)]


def test_gaps_are_never_noted_as_one() -> None:
    """Each skipped other events."""
    turns: list[Kind] = ["gap", "live"] * 4
    assert kinds_of(timeline_of("judged", *turns)) == [("judged", 1), *[("gap", 1), ("live", 1)] * 4]


def test_the_first_step_and_the_newest_are_kept() -> None:
    turns: list[Kind] = ["gap", "live"] * 50
    timeline = timeline_of("judged", *turns)
    assert len(timeline.steps) == MOST + 1
    assert (timeline.steps[0].kind, timeline.steps[-1].offset) == ("judged", 100)
    assert [step.offset for step in timeline.steps[1:]] == list(range(101 - MOST, 101))
    assert timeline.forgotten == 100 - MOST
