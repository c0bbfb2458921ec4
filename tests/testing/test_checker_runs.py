"""The checker finds every breach of promise G23 in a recording of runs, and nothing in a good one."""

from __future__ import annotations

from pathlib import Path

from tidewire.testing.checker import Report, check
from tidewire.testing.recorder import Recorder, end_of

Log = list[tuple[str, str, str]]

ITEMS = [f"r token {number}" for number in range(5)]


class Scene:
    """One run of five items: what the log has of it, and what a viewer got."""

    def __init__(self, *texts: str) -> None:
        self.recorder = Recorder()
        self.recorder.planned("r", "chat", ITEMS)
        self.log: Log = []
        for text in texts or [*ITEMS, end_of("r", "done")]:
            self.store(text)

    def store(self, text: str) -> None:
        self.log.append((f"aaaaaa.{len(self.log) + 1}", "chat", text))

    def view(self, first: int, last: int, stream: str = "s1", position: str | None = None) -> None:
        """Open a stream of the run, which shows these entries."""
        self.recorder.opened(stream, "viewer", ["chat"], position, "r")
        self.deliver(first, last, stream)

    def deliver(self, first: int, last: int, stream: str = "s1") -> None:
        for id, topic, data in self.log[first - 1 : last]:
            self.recorder.delivered(stream, id, topic, data)

    def check(self, *left: str) -> Report:
        return check(self.recorder.records, self.log, left=left)


def found(report: Report) -> dict[str, int]:
    return {name: n for name, n in report.counts().items() if n and name not in ("acked", "runs", "faults")}


def test_a_run_that_is_whole() -> None:
    scene = Scene()
    scene.view(1, 6)
    scene.recorder.closed("s1", properly=True)
    assert found(scene.check()) == {}


def test_a_viewer_that_reconnects() -> None:
    scene = Scene()
    scene.view(1, 3)
    scene.recorder.closed("s1")
    scene.view(4, 6, "s2", "aaaaaa.3")
    assert found(scene.check()) == {}


def test_a_viewer_that_begins_again() -> None:
    scene = Scene()
    scene.view(1, 3)
    scene.view(1, 6, "s2", "aaaaaa.99")
    assert found(scene.check()) == {"repeated_on_wire": 3}


def test_a_viewer_whose_first_position_is_inside_the_run() -> None:
    scene = Scene()
    scene.view(4, 6, position="aaaaaa.3")
    assert found(scene.check()) == {}


def test_a_run_that_was_never_started() -> None:
    recorder = Recorder()
    recorder.planned("r", "chat", ITEMS)
    assert found(check(recorder.records, [])) == {}


def test_a_run_that_was_lost_in_the_middle() -> None:
    scene = Scene(*ITEMS[:2], end_of("r", "lost"))
    scene.view(1, 3)
    assert found(scene.check()) == {}


def test_an_item_is_missing_in_the_log() -> None:
    assert found(Scene(*ITEMS[:2], *ITEMS[3:], end_of("r", "failed")).check()) == {"broken_runs": 1}


def test_items_have_another_order_in_the_log() -> None:
    assert found(Scene(ITEMS[1], ITEMS[0], end_of("r", "lost")).check()) == {"broken_runs": 1}


def test_an_item_is_twice_in_the_log() -> None:
    scene = Scene(ITEMS[0], *ITEMS, end_of("r", "done"))
    assert found(scene.check()) == {"broken_runs": 1, "doubled": 1}


def test_an_item_that_the_producer_does_not_yield() -> None:
    scene = Scene(ITEMS[0], "another", end_of("r", "lost"))
    assert found(scene.check()) == {"invented": 1}


def test_a_run_that_is_done_too_early() -> None:
    scene = Scene(*ITEMS[:4], end_of("r", "done"))
    report = scene.check()
    assert found(report) == {"broken_runs": 1}
    assert "run r is done with 4 of 5 items" in str(report)


def test_retention_took_the_first_items() -> None:
    scene = Scene()
    kept = scene.log[2:]
    assert check(scene.recorder.records, kept, trimmed_through=2).ok
    assert found(check(scene.recorder.records, kept)) == {"broken_runs": 2}


def test_a_run_without_an_end() -> None:
    assert found(Scene(*ITEMS).check()) == {"unended_runs": 1}


def test_a_run_of_which_there_is_nothing_but_a_stream() -> None:
    scene = Scene()
    scene.log = []
    scene.recorder.opened("s1", "viewer", ["chat"], None, "r")
    assert found(scene.check()) == {"unended_runs": 1}


def test_two_ends() -> None:
    scene = Scene(*ITEMS[:3], end_of("r", "lost"), end_of("r", "cancelled"))
    assert found(scene.check()) == {"second_ends": 1}


def test_the_same_end_twice() -> None:
    assert found(Scene(*ITEMS, end_of("r", "done"), end_of("r", "done")).check()) == {"second_ends": 1}


def test_an_item_after_the_end() -> None:
    assert found(Scene(*ITEMS[:3], end_of("r", "lost"), ITEMS[3]).check()) == {"items_after_end": 1}


def test_a_hole_in_a_view() -> None:
    scene = Scene()
    scene.view(1, 2)
    scene.deliver(4, 6)
    report = scene.check()
    assert found(report) == {"short_views": 1}
    assert "viewer, which views run r: aaaaaa.3 did not come" in str(report)


def test_a_hole_between_two_streams_of_a_viewer() -> None:
    scene = Scene()
    scene.view(1, 3)
    scene.view(5, 6, "s2", "aaaaaa.3")
    assert found(scene.check()) == {"short_views": 1}


def test_a_view_without_the_start() -> None:
    scene = Scene()
    scene.view(2, 6)
    assert found(scene.check()) == {"short_views": 1}


def test_a_view_without_the_end() -> None:
    scene = Scene()
    scene.view(1, 5)
    assert found(scene.check()) == {"short_views": 1}
    assert scene.check("viewer").ok


def test_a_stream_that_ends_properly_in_the_middle() -> None:
    scene = Scene()
    scene.view(1, 3)
    scene.recorder.closed("s1", properly=True)
    scene.view(4, 6, "s2", "aaaaaa.3")
    assert found(scene.check()) == {"false_ends": 1}


def test_a_view_in_another_order() -> None:
    scene = Scene()
    scene.view(1, 4)
    scene.deliver(6, 6)
    scene.deliver(5, 5)
    assert found(scene.check()) == {"short_views": 1, "reordered": 1}


def test_an_item_comes_twice_in_a_stream() -> None:
    scene = Scene()
    scene.view(1, 3)
    scene.deliver(3, 6)
    assert found(scene.check()) == {"repeated_on_wire": 1, "repeated_wrongly": 1}


def test_an_item_of_another_run() -> None:
    scene = Scene()
    scene.recorder.planned("other", "chat", ["other token"])
    scene.store("other token")
    scene.store(end_of("other", "done"))
    scene.view(1, 6)
    assert found(scene.check()) == {}
    scene.deliver(7, 7)
    assert found(scene.check()) == {"invented": 1}


def test_another_end_than_the_log_has() -> None:
    scene = Scene()
    scene.view(1, 5)
    scene.recorder.delivered("s1", "aaaaaa.6", "chat", end_of("r", "lost"))
    assert found(scene.check()) == {"reused_ids": 1}


def test_runs_are_saved(tmp_path: Path) -> None:
    scene = Scene()
    scene.view(1, 6)
    scene.recorder.closed("s1", properly=True)
    scene.recorder.save(tmp_path / "recording")
    loaded = Recorder.load(tmp_path / "recording")
    assert loaded.records == scene.recorder.records
