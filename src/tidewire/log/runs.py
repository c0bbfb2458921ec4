"""
Runs, as the log knows them: a producer whose output goes to a topic, from its start to its one end.

Rule 1: a run is a record, named by its topic and its key. Of the runs of a topic, at most one is open.
Rule 2: its start and its stop are a record and a `hub.run` event each. What is between them is output.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from .entries import Record

# The states of a run. All but the first are ends.
RUNNING, DONE, FAILED, CANCELLED, LOST = "running", "done", "failed", "cancelled", "lost"

# Seconds for which the record of a run is kept: while it is open, which is as good as forever, and then.
OPEN_LIFETIME = 100 * 365 * 86_400.0
STOPPED_LIFETIME = 86_400.0


class Run(NamedTuple):
    """
    One run. `node` is the name of the process that makes it, `dialect` that of the protocol of its output.

    `first` is the offset of the event that tells of its start: its output comes after that. `last` is the
    offset of what tells of its stop, 0 while it is open. Times are on the log's clock, in Unix seconds.
    """

    topic: str
    key: str
    id: str
    node: str
    dialect: str
    first: int
    started: float
    state: str = RUNNING
    reason: str = ""
    last: int = 0
    stopped: float = 0.0

    @property
    def open(self) -> bool:
        return self.state == RUNNING


class ItemCount(NamedTuple):
    """How many items of a run this process has stored, and the offset of the newest."""

    stored: int
    newest: int


def record_name(topic: str, key: str) -> str:
    # Neither has a control character, so names are unique.
    return f"{topic}\n{key}"


def topic_in(name: str) -> str:
    """Return the topic in the name of a run's record."""
    return name.partition("\n")[0]


def value_of(run: Run) -> str:
    """Return the value of the record of a run."""
    return orjson.dumps(run[2:]).decode()


def run_of(record: Record) -> Run:
    """Return the run that a record is of."""
    topic, _, key = record.name.partition("\n")
    return Run(topic, key, *orjson.loads(record.value))
