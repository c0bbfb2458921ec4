"""
Judges a recording: whether the delivery contract was kept, as far as it can show.

    report = check(recorder.records, history)
    assert report.counts_as_run(1000) and report.ok, report

G1 to G8 are the rules of the contract: durable ack (G1), nothing invented (G2), order (G3), no hole at
the seam (G4), at least once, and once after dedupe (G5), explicit gap (G6), ids never reused (G7),
idempotent publish (G8). G23 is that of runs: whole and in order for every viewer, with one end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from .recorder import Delivered, Fault, Processed, Record
from .recording import Place, Recording
from .report import Report
from .runs import check_runs
from .walk import Walk

__all__ = ["Report", "check"]


def check(
    records: Sequence[Record],
    history: Iterable[tuple[str, str, str]] | None,
    *,
    trimmed_through: int = 0,
    retention_or_loss: bool = False,
    left: Collection[str] = (),
) -> Report:
    """
    Judge a recording.

    `history`: (id, topic, data) of every event in the log at the end; None if the log no longer
    exists. `trimmed_through`: the largest offset that retention trimmed. `retention_or_loss`: the
    engine's durability does not cover the faults that were tried, so acked events may be gone; each
    subscriber that missed them must have got a gap. `left`: subscribers that went away for good;
    all others must have everything that was acked before their last stream was closed, and every
    viewer of a run must have the run to its end.
    """
    report = Report(loss_allowed=retention_or_loss or history is None)
    recording = Recording(records, history, trimmed_through, report.loss_allowed)
    report.faults = sum(isinstance(record, Fault) for record in records)
    report.acked = len(recording.acks)
    check_log(recording, report)
    check_sources(recording, report)
    check_publishes(recording, report)
    check_real_time(recording, report)
    check_runs(recording, report, left)
    for subscriber, streams in recording.streams_of(None).items():
        walk = Walk(recording, report, subscriber)
        walk.follow(streams)
        if subscriber not in left:
            walk.finish(streams[-1][-1])
    for subscriber, processed in recording.processed.items():
        for id, count in Counter(record.id for record in processed).items():
            if count > 1:
                report.found("repeated_for_app", f"{subscriber}: {id} was processed {count} times")
    return report


def check_log(recording: Recording, report: Report) -> None:
    """Judge the log: it has everything acked or delivered (G1), in one order (G3)."""
    offsets = [recording.place(event.id)[1] for event in recording.history]
    if offsets != sorted(set(offsets)):
        report.found("reordered", "the offsets of the log do not only grow")
    for event in recording.events.values() if recording.read_back else ():
        offset = recording.place(event.id)[1]
        if event.id not in recording.kept and offset > recording.trimmed_through:
            after = not offsets or recording.dead(event.id) or offset > offsets[-1]
            where = "postfix" if after else "prefix" if offset < offsets[0] else "middle"
            how = "delivered" if recording.times(event.id) is None else "acked"
            report.found(f"lost_{where}", f"{event} was {how} but is not in the log")


def check_sources(recording: Recording, report: Report) -> None:
    """Judge that every event was published (G2), and only once (G8)."""
    attempts = recording.attempts()
    parts = recording.parts
    for event in recording.events.values():
        if not attempts[event.topic, event.data] and (event.topic, event.data) not in parts:
            report.found("invented", f"{event} was never published")
    texts = {data for _, data in [*attempts, *parts]}
    for record in recording.records:
        if (
            isinstance(record, (Delivered, Processed))
            and record.id not in recording.events
            and record.data not in texts
        ):
            report.found("invented", f"{record} was never published")
    for (topic, data), count in Counter((event.topic, event.data) for event in recording.history).items():
        if count > attempts[topic, data] > 0:
            report.found("doubled", f"{data!r} on {topic!r} is in the log {count} times")


def check_publishes(recording: Recording, report: Report) -> None:
    """Judge the ids: one for each publish (G8), and only ever one event for each (G7)."""
    owners: dict[str, str] = {}
    for name, acks in recording.acks.items():
        if len({ack.id for ack in acks}) > 1:
            report.found("doubled", f"publish {name} got the ids {', '.join(ack.id for ack in acks)}")
        for ack in acks:
            event, invoked = recording.events[ack.id], recording.invoked[name]
            other = owners.setdefault(ack.id, name)
            if (event.topic, event.data) != (invoked.topic, invoked.data) or (
                other != name and not ack.duplicate
            ):
                report.found("reused_ids", f"{ack.id} is publish {name}, but also {event} of publish {other}")
    for record in recording.records:
        if isinstance(record, (Delivered, Processed)) and record.id in recording.events:
            event = recording.events[record.id]
            topic = record.topic if isinstance(record, Delivered) else None
            if record.data != event.data or topic not in (None, event.topic):
                report.found("reused_ids", f"{record} has the id of {event}")


def check_real_time(recording: Recording, report: Report) -> None:
    """Judge that a publish that was acked before another was sent comes before it (G3)."""
    acked = sorted(
        (acks[0].order, recording.place(acks[0].id), name) for name, acks in recording.acks.items()
    )
    sent = sorted(
        (recording.invoked[name].order, recording.place(acks[0].id), name)
        for name, acks in recording.acks.items()
    )
    largest: tuple[Place, str] = ((-1, 0), "")
    done = iter(acked)
    upcoming = next(done, None)
    for order, place, name in sent:
        while upcoming is not None and upcoming[0] < order:
            largest = max(largest, (upcoming[1], upcoming[2]))
            upcoming = next(done, None)
        if place < largest[0]:
            report.found(
                "reordered", f"publish {name} is before {largest[1]}, which was acked before {name} was sent"
            )
