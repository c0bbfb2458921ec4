"""
Judges the runs of a recording (G23).

Rule 1: the entries of a run are its items and its end. They are told by their data: see `Recorder.planned`.
Rule 2: the items in the log are the first ones that its producer yields, each once, in that order.
Rule 3: a run that was started has one end; nothing of it comes after that.
Rule 4: a viewer gets every entry of the run from where it began, once, and only then an end of its stream.
"""

from __future__ import annotations

from collections.abc import Collection

from ..log.runs import DONE
from .recorder import Closed, Delivered, Opened, Planned, Record
from .recording import Event, Part, Recording
from .report import Report

Entries = list[tuple[Event, Part]]


def check_runs(recording: Recording, report: Report, left: Collection[str]) -> None:
    """Judge every run and each of its viewers, but for what those who `left` did not wait for."""
    for run, plan in recording.plans.items():
        entries, viewers = recording.entries_of(run), recording.streams_of(run)
        if entries or viewers:
            report.runs += 1
            check_items(recording, report, plan, entries)
            check_ends(report, run, entries)
        for viewer, streams in viewers.items():
            view = View(recording, report, viewer, run)
            for stream in streams:
                view.follow(stream)
            if viewer not in left:
                view.finish()


def check_items(recording: Recording, report: Report, plan: Planned, entries: Entries) -> None:
    numbers = [part.number for _, part in entries if not part.state]
    # Retention may have taken the first ones.
    first = numbers[0] if numbers and recording.trimmed_through else 0
    if numbers != list(range(first, first + len(numbers))):
        report.found("broken_runs", f"run {plan.run} has the items {numbers}")
    done = any(part.state == DONE for _, part in entries)
    if done and first + len(numbers) < len(plan.items):
        report.found("broken_runs", f"run {plan.run} is done with {len(numbers)} of {len(plan.items)} items")


def check_ends(report: Report, run: str, entries: Entries) -> None:
    ends = [at for at, (_, part) in enumerate(entries) if part.state]
    if not ends:
        report.found("unended_runs", f"run {run} has no end")
        return
    for event, part in entries[ends[0] + 1 :]:
        kind = "second_ends" if part.state else "items_after_end"
        report.found(kind, f"run {run}: {event} came after {entries[ends[0]][0]}")


class View:
    """Follows one viewer of a run through its streams, one after another."""

    def __init__(self, recording: Recording, report: Report, viewer: str, run: str) -> None:
        self._recording = recording
        self._report = report
        self._name = f"{viewer}, which views run {run}"
        self._run = run
        self._entries = recording.entries_of(run)
        self._indexes = {event.id: index for index, (event, _) in enumerate(self._entries)}
        self._seen: set[str] = set()
        # The index of the last entry that it had; -1 is before the first.
        self._at = -1

    def follow(self, stream: list[Record]) -> None:
        for record in stream:
            match record:
                case Opened():
                    self._at = self._indexes.get(record.position or "", -1)
                case Delivered():
                    self._deliver(record)
                case Closed():
                    if record.properly and not self._has_end:
                        self._report.found("false_ends", f"{self._name}: {record.stream} ended properly")

    def finish(self) -> None:
        """Judge whether it has everything."""
        self._skip(len(self._entries))

    @property
    def _has_end(self) -> bool:
        return any(part.state and event.id in self._seen for event, part in self._entries)

    def _deliver(self, event: Delivered) -> None:
        index = self._indexes.get(event.id)
        if index is None:
            if event.id in self._recording.events:
                self._report.found("invented", f"{self._name}: {event} is not of this run")
            return
        again = event.id in self._seen
        self._seen.add(event.id)
        if again:
            self._report.repeated_on_wire += 1
        if index <= self._at:
            kind = "repeated_wrongly" if again else "reordered"
            self._report.found(kind, f"{self._name}: {event.id} came late")
            return
        self._skip(index)
        self._at = index

    def _skip(self, index: int) -> None:
        """It goes on at this index: it should have had all before."""
        for event, _ in self._entries[self._at + 1 : index]:
            self._report.found("short_views", f"{self._name}: {event.id} did not come")
