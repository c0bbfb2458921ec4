"""The checker finds every breach of the delivery contract in a recording, and nothing in a good one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tidewire.testing.checker import Report, check
from tidewire.testing.recorder import Recorder

Log = list[tuple[str, str, str]]


class Scene:
    """A small run: ten events on one topic, all acked, and what subscribers got of them."""

    def __init__(self, count: int = 10, life: str = "aaaaaa") -> None:
        self.recorder = Recorder()
        self.log: Log = []
        for _ in range(count):
            self.publish(life)

    def publish(self, life: str = "aaaaaa", topic: str = "a", offset: int = 0) -> str:
        number = len(self.log) + 1
        id = f"{life}.{offset or number}"
        self.recorder.invoked(str(number), topic, f"data {number}")
        self.recorder.ok(str(number), id, False, "disk")
        self.log.append((id, topic, f"data {number}"))
        return id

    def open(self, position: str | None = "aaaaaa.0", stream: str = "s1", topics: Any = ("a",)) -> None:
        self.recorder.opened(stream, "reader", topics, position)

    def deliver(self, first: int, last: int, stream: str = "s1") -> None:
        for id, topic, data in self.log[first - 1 : last]:
            self.recorder.delivered(stream, id, topic, data)

    def gap(self, reason: str, requested: str | None, id: str, stream: str = "s1") -> None:
        body = {"reason": reason, "requested": requested, "oldest": None, "head": "x", "topics": ["a"]}
        self.recorder.gap(stream, id, body)

    def check(self, log: Log | None = None, **options: Any) -> Report:
        return check(self.recorder.records, self.log if log is None else log, **options)


def found(report: Report) -> dict[str, int]:
    """Return the counts that are not 0, except those that every run has."""
    return {name: n for name, n in report.counts().items() if n and name not in ("acked", "faults")}


def test_a_run_without_a_fault() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 4)
    scene.recorder.closed("s1")
    scene.open("aaaaaa.4", "s2")
    scene.deliver(5, 10, "s2")
    report = scene.check()
    assert report.ok
    assert found(report) == {}
    assert report.acked == 10
    assert "kept" in str(report)


def test_a_run_counts_only_with_a_fault_and_enough_publishes() -> None:
    scene = Scene()
    assert not scene.check().counts_as_run(10)
    scene.recorder.fault("kill -9")
    assert scene.check().counts_as_run(10)
    assert not scene.check().counts_as_run(11)


@pytest.mark.parametrize(
    ("kept", "name"),
    [(slice(3, None), "lost_prefix"), (slice(0, 7), "lost_postfix")],
)
def test_lost_at_an_end(kept: slice, name: str) -> None:
    scene = Scene()
    report = scene.check(scene.log[kept])
    assert found(report) == {name: 3}
    assert report.lost == 3
    assert not report.ok
    assert "is not in the log" in str(report)


def test_lost_in_the_middle() -> None:
    scene = Scene()
    assert found(scene.check(scene.log[:3] + scene.log[5:])) == {"lost_middle": 2}


def test_delivered_and_then_lost() -> None:
    scene = Scene()
    scene.recorder.invoked("x", "a", "crashed")
    scene.open()
    scene.deliver(1, 10)
    scene.recorder.delivered("s1", "aaaaaa.11", "a", "crashed")
    scene.recorder.unknown("x")
    assert found(scene.check()) == {"lost_postfix": 1}


def test_trimmed_events_are_not_lost() -> None:
    scene = Scene()
    assert scene.check(scene.log[3:], trimmed_through=3).ok


def test_loss_that_is_allowed_is_counted() -> None:
    scene = Scene()
    report = scene.check(scene.log[:7], retention_or_loss=True)
    assert report.ok
    assert report.lost == 3


def test_without_a_log_the_streams_are_judged() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 10)
    assert check(scene.recorder.records, None).ok
    scene.open(stream="s2")
    scene.deliver(1, 9, "s2")
    assert check(scene.recorder.records, None).unsound_gaps == 1


def test_invented() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 10)
    scene.recorder.delivered("s1", "aaaaaa.11", "a", "of nobody")
    assert found(scene.check()) == {"invented": 1, "lost_postfix": 1}


def test_a_refused_publish_is_not_in_the_log() -> None:
    scene = Scene()
    scene.recorder.invoked("x", "a", "refused")
    scene.recorder.refused("x")
    scene.log.append(("aaaaaa.11", "a", "refused"))
    assert found(scene.check()) == {"invented": 1}
    scene.recorder.invoked("x", "a", "refused")
    scene.recorder.unknown("x")
    assert scene.check().ok


def test_an_event_that_was_not_asked_for() -> None:
    """Promise G9."""
    scene = Scene()
    other = scene.publish(topic="b")
    scene.open()
    scene.deliver(1, 11)
    assert other
    assert found(scene.check()) == {"invented": 1}


def test_line_ends_make_no_difference() -> None:
    scene = Scene(0)
    scene.recorder.invoked("1", "a", "x\r\ny\rz")
    scene.recorder.ok("1", "aaaaaa.1")
    scene.open()
    scene.recorder.delivered("s1", "aaaaaa.1", None, "x\ny\nz")
    assert scene.check([("aaaaaa.1", "a", "x\r\ny\rz")]).ok


def test_long_data_is_compared_whole() -> None:
    scene = Scene(0)
    scene.recorder.invoked("1", "a", "x" * 1000)
    scene.recorder.ok("1", "aaaaaa.1")
    assert scene.check([("aaaaaa.1", "a", "x" * 1000)]).ok
    assert not scene.check([("aaaaaa.1", "a", "x" * 999 + "y")]).ok


def test_repeated_after_a_resume_from_the_last_processed_id() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 6)
    scene.open("aaaaaa.4", "s2")
    scene.deliver(5, 10, "s2")
    report = scene.check()
    assert report.ok
    assert found(report) == {"repeated_on_wire": 2}


def test_repeated_in_one_stream() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 6)
    scene.deliver(5, 10)
    assert found(scene.check()) == {"repeated_on_wire": 2, "repeated_wrongly": 2}


def test_repeated_from_before_the_resume() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 6)
    scene.open("aaaaaa.6", "s2")
    scene.deliver(6, 10, "s2")
    assert found(scene.check()) == {"repeated_on_wire": 1, "repeated_wrongly": 1}


def test_repeated_for_the_program() -> None:
    scene = Scene()
    for id, _, data in [*scene.log, scene.log[2]]:
        scene.recorder.processed("reader", id, data)
    assert found(scene.check()) == {"repeated_for_app": 1}


def test_delivered_but_never_processed() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 10)
    for id, _, data in scene.log[:-1]:
        scene.recorder.processed("reader", id, data)
    assert found(scene.check()) == {"unsound_gaps": 1}


def test_reordered() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 8)
    scene.deliver(10, 10)
    scene.deliver(9, 9)
    assert found(scene.check()) == {"reordered": 1, "unsound_gaps": 1}


def test_acked_before_another_was_sent_but_ordered_after_it() -> None:
    scene = Scene(0)
    scene.recorder.invoked("A", "a", "first")
    scene.recorder.ok("A", "aaaaaa.2")
    scene.recorder.invoked("B", "a", "second")
    scene.recorder.ok("B", "aaaaaa.1")
    assert found(scene.check([("aaaaaa.1", "a", "second"), ("aaaaaa.2", "a", "first")])) == {"reordered": 1}


def test_concurrent_publishes_may_have_any_order() -> None:
    scene = Scene(0)
    scene.recorder.invoked("A", "a", "first")
    scene.recorder.invoked("B", "a", "second")
    scene.recorder.ok("A", "aaaaaa.2")
    scene.recorder.ok("B", "aaaaaa.1")
    assert scene.check([("aaaaaa.1", "a", "second"), ("aaaaaa.2", "a", "first")]).ok


def test_one_id_for_two_publishes() -> None:
    scene = Scene()
    scene.recorder.invoked("x", "a", "another")
    scene.recorder.ok("x", "aaaaaa.10")
    assert found(scene.check()) == {"reused_ids": 1}


def test_one_id_for_two_events() -> None:
    scene = Scene()
    scene.recorder.opened("s1", "reader", ["a"], "aaaaaa.9")
    scene.recorder.delivered("s1", "aaaaaa.10", "a", "data 9")
    assert scene.check().reused_ids == 1


def test_a_retried_publish_counts_once() -> None:
    scene = Scene()
    for _ in range(2):
        scene.recorder.invoked("x", "a", "retried")
        scene.recorder.unknown("x")
    scene.recorder.invoked("x", "a", "retried")
    scene.recorder.ok("x", "aaaaaa.11", True)
    scene.log.append(("aaaaaa.11", "a", "retried"))
    assert scene.check().ok
    assert scene.check().acked == 11


def test_a_retried_publish_with_two_ids() -> None:
    scene = Scene()
    scene.recorder.invoked("10", "a", "data 10")
    scene.recorder.ok("10", "aaaaaa.11")
    scene.log.append(("aaaaaa.11", "a", "data 10"))
    assert scene.check().doubled == 2  # its answers differ, and the log has it twice


def test_a_hole() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 3)
    scene.deliver(6, 10)
    report = scene.check()
    assert found(report) == {"unsound_gaps": 2}
    assert "aaaaaa.4 on 'a' did not come between aaaaaa.3 and aaaaaa.6" in str(report)


def test_a_hole_at_the_seam() -> None:
    scene = Scene()
    scene.open("aaaaaa.2")
    scene.deliver(4, 10)
    assert found(scene.check()) == {"unsound_gaps": 1}


def test_a_hole_between_two_streams() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 3)
    scene.open("aaaaaa.5", "s2")
    scene.deliver(6, 10, "s2")
    assert found(scene.check()) == {"unsound_gaps": 2}


def test_an_event_missing_at_the_end() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 9)
    assert found(scene.check()) == {"unsound_gaps": 1}
    assert scene.check(left=["reader"]).ok


def test_events_acked_after_the_close_are_not_owed() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 10)
    scene.recorder.closed("s1")
    scene.publish()
    assert scene.check().ok


def test_events_of_other_topics_are_not_holes() -> None:
    scene = Scene()
    scene.publish(topic="b/1")
    scene.publish()
    scene.open()
    scene.deliver(1, 10)
    scene.deliver(12, 12)
    assert scene.check().ok
    scene.open("aaaaaa.10", "s2", ["a", "b/*"])
    scene.deliver(12, 12, "s2")
    assert scene.check().unsound_gaps == 1


def test_a_new_stream_is_owed_what_was_sent_after_it_was_opened() -> None:
    scene = Scene()
    scene.open(None)
    scene.publish()
    assert found(scene.check()) == {"unsound_gaps": 1}
    scene.deliver(11, 11)
    assert scene.check().ok


def test_a_new_stream_is_owed_what_comes_after_its_position() -> None:
    scene = Scene()
    scene.open(None)
    scene.recorder.positioned("s1", "aaaaaa.8")
    scene.deliver(10, 10)
    assert found(scene.check()) == {"unsound_gaps": 1}


def test_a_stream_from_the_start_is_owed_everything_kept() -> None:
    scene = Scene()
    scene.open("start")
    scene.deliver(4, 10)
    assert found(scene.check()) == {"unsound_gaps": 3}
    assert scene.check(scene.log[3:], trimmed_through=3).ok


def test_a_gap_that_covers_everything_trimmed() -> None:
    scene = Scene()
    scene.open("aaaaaa.2")
    scene.gap("trimmed", "aaaaaa.2", "aaaaaa.5")
    scene.deliver(6, 10)
    assert scene.check(scene.log[5:], trimmed_through=5).ok


def test_a_gap_that_covers_less_than_is_missing() -> None:
    scene = Scene()
    scene.open("aaaaaa.2")
    scene.gap("trimmed", "aaaaaa.2", "aaaaaa.5")
    scene.deliver(7, 10)
    assert found(scene.check(scene.log[5:], trimmed_through=5)) == {"unsound_gaps": 1}


def test_a_gap_in_the_middle_that_starts_too_late() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 3)
    scene.gap("trimmed", "aaaaaa.4", "aaaaaa.5")
    scene.deliver(6, 10)
    assert found(scene.check(scene.log[5:], trimmed_through=5)) == {"unsound_gaps": 1}


@pytest.mark.parametrize("reason", ["trimmed", "foreign", "future"])
def test_a_needless_gap(reason: str) -> None:
    scene = Scene()
    scene.open("aaaaaa.4")
    scene.gap(reason, "aaaaaa.4", "aaaaaa.4")
    scene.deliver(5, 10)
    assert found(scene.check()) == {"needless_gaps": 1}


def test_a_gap_for_events_still_in_the_log_is_needless() -> None:
    scene = Scene()
    scene.open("aaaaaa.4")
    scene.gap("trimmed", "aaaaaa.4", "aaaaaa.7")
    scene.deliver(8, 10)
    assert scene.check().needless_gaps == 1


def test_a_position_that_cannot_be_read_is_owed_a_gap() -> None:
    scene = Scene()
    scene.open("nonsense")
    scene.gap("invalid", None, "aaaaaa.10")
    assert scene.check().ok


def test_a_position_of_an_unknown_log_is_owed_a_gap() -> None:
    scene = Scene()
    scene.open("zzzzzz.4")
    scene.gap("foreign", "zzzzzz.4", "aaaaaa.0")
    scene.deliver(1, 10)
    assert scene.check().ok


def restored(scene: Scene) -> Log:
    """The log went back to offset 7, and three events were published in its next life."""
    log = scene.log[:7]
    for offset in (8, 9, 10):
        scene.publish("bbbbbb", offset=offset)
    return log + scene.log[-3:]


def test_a_log_that_went_back_with_a_gap() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 10)
    log = restored(scene)
    scene.open("aaaaaa.10", "s2")
    scene.gap("foreign", "aaaaaa.10", "aaaaaa.7", "s2")
    scene.deliver(11, 13, "s2")
    assert scene.check(log, retention_or_loss=True).ok
    assert found(scene.check(log)) == {"lost_postfix": 3}


def test_a_log_that_went_back_without_a_gap() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 10)
    log = restored(scene)
    scene.open("aaaaaa.10", "s2")
    scene.deliver(11, 13, "s2")
    assert scene.check(log, retention_or_loss=True).unsound_gaps > 0


def test_a_subscriber_that_missed_only_lost_events_needs_no_gap() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 5)
    log = restored(scene)
    scene.open("aaaaaa.5", "s2")
    scene.deliver(6, 7, "s2")
    scene.deliver(11, 13, "s2")
    assert scene.check(log, retention_or_loss=True).ok


def test_repeats_of_older_events_after_a_foreign_gap() -> None:
    scene = Scene()
    scene.open()
    scene.deliver(1, 10)
    log = restored(scene)
    scene.open("aaaaaa.10", "s2")
    scene.gap("foreign", "aaaaaa.10", "aaaaaa.3", "s2")
    scene.deliver(4, 7, "s2")
    scene.deliver(11, 13, "s2")
    assert scene.check(log, retention_or_loss=True).ok


def test_a_memory_log_after_a_restart() -> None:
    scene = Scene(5)
    scene.open()
    scene.deliver(1, 5)
    for offset in (1, 2):
        scene.publish("bbbbbb", offset=offset)
    scene.open("aaaaaa.5", "s2")
    scene.gap("foreign", "aaaaaa.5", "bbbbbb.0", "s2")
    scene.deliver(6, 7, "s2")
    assert scene.check(scene.log[5:], retention_or_loss=True).ok


def test_runs_of_several_processes_are_merged(tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    first.invoked("A", "a", "x" * 100)
    second.opened("s1", "reader", ["a"], "aaaaaa.0")
    first.ok("A", "aaaaaa.1", False, "disk")
    second.delivered("s1", "aaaaaa.1", None, "x" * 100)
    second.gap("s1", "aaaaaa.1", {"reason": "invalid"})
    second.fault("kill -9")
    first.save(tmp_path / "first")
    second.save(tmp_path / "second")
    merged = Recorder.load(tmp_path / "first", tmp_path / "second")
    kinds = [type(record).__name__ for record in merged.records]
    assert kinds == ["Invoked", "Opened", "Ok", "Delivered", "Gap", "Fault"]
    assert sorted(merged.records, key=str) == sorted(first.records + second.records, key=str)
    assert check(merged.records, [("aaaaaa.1", "a", "x" * 100)]).ok


def test_a_loaded_run_can_be_continued(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.invoked("A", "a", "x")
    recorder.save(tmp_path / "run")
    later = Recorder.load(tmp_path / "run")
    later.ok("A", "aaaaaa.1")
    assert later.records[0].order < later.records[1].order


def test_any_thread_may_record() -> None:
    recorder = Recorder()

    def record(name: str) -> None:
        for number in range(500):
            recorder.invoked(f"{name} {number}", "a", "x")

    threads = [threading.Thread(target=record, args=[name]) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    orders = [record.order for record in recorder.records]
    assert len(orders) == 2000
    assert orders == sorted(set(orders))
