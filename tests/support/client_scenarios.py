"""
What the SSE clients of others go through, as programs or as pages.

All clients go through a scenario at the same time, on one server: each has a topic of its own.
"""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import NamedTuple, Self

from support.client_matrix import DATASTAR, Client
from support.foreign_clients import TEXTS, Kept, Lines, Results, Server, is_installed, wait_each

# Opens the URL of a stream with a client.
Open = Callable[[Client, str], Lines]

CONTROL = {"normal": "", "plain": "&control=none"}

FIFTEEN = [f"{number}: {text}" for number, text in enumerate(TEXTS * 3)][:15]


class Case(NamedTuple):
    """A client and the stream that it reads, `normal` or `plain`."""

    client: Client
    stream: str

    @property
    def id(self) -> str:
        return f"{self.client.id}-{self.stream}"


def texts_of(reader: Lines) -> list[str]:
    return [data["text"] for data in reader.own()]


class Streams:
    """An open stream for each case, with events in it before it opens."""

    def __init__(
        self, server: Server, cases: Iterable[Case], open: Open, texts: list[str], query: str = "since=start"
    ) -> None:
        self._server = server
        self.topics = {case: uuid.uuid4().hex for case in cases if is_installed(case.client)}
        self._readers: dict[Case, Lines] = {}
        self._stack = ExitStack()
        self.publish(texts)
        with self._stack:
            for case, topic in self.topics.items():
                url = f"{server.url}/hub/events/{topic}?{query}{CONTROL[case.stream]}"
                self._readers[case] = self._stack.enter_context(open(case.client, url))
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.end()

    def publish(self, texts: list[str]) -> None:
        for case, topic in self.topics.items():
            for text in texts:
                # As JSON, but with the characters themselves on the wire.
                data = json.dumps({"text": text}, ensure_ascii=False)
                if case.client.package == DATASTAR:
                    self._server.publish(topic, f"signals {data}", "datastar-merge-signals")
                else:
                    self._server.publish(topic, data)

    def end(self) -> None:
        for topic in self.topics.values():
            self._server.end(topic)

    def answers(self, case: Case) -> list[int]:
        return self._server.answers(self.topics[case])

    def wait(self, enough: Callable[[Case, Lines], object]) -> None:
        cases = {id(reader): case for case, reader in self._readers.items()}
        wait_each(self._readers.values(), lambda reader: enough(cases[id(reader)], reader))

    def wait_own(self, count: int) -> None:
        """Wait until each has this many events of the publisher."""
        self.wait(lambda case, reader: reader.count_own() >= count)

    def wait_over(self) -> None:
        self.wait(lambda case, reader: False)

    def kept(self) -> Results:
        return Results(
            {
                case: Kept(reader, self.topics[case], self.answers(case))
                for case, reader in self._readers.items()
            }
        )


class ToTheEnd(NamedTuple):
    """What had been read before the topics were ended, and afterwards."""

    before: Results
    after: Results


def read_to_the_end(server: Server, cases: Iterable[Case], open: Open) -> ToTheEnd:
    with Streams(server, cases, open, TEXTS[:3]) as streams:
        streams.wait_own(3)
        server.stay_silent()
        streams.publish(TEXTS[3:])
        streams.wait_own(len(TEXTS))
        before = streams.kept()
        streams.end()
        streams.wait(lambda case, _: streams.answers(case).count(204) > 2)
        return ToTheEnd(before, streams.kept())


def was_read_to_the_end(results: ToTheEnd, case: Case) -> None:
    client, read = case.client, results.after[case]
    assert texts_of(results.before[case]) == TEXTS
    if client.at_end == "asks":
        assert read.answers.count(204) > 2
        assert not read.is_over()
    else:
        assert read.over() == ("error" if client.at_end == "raises" else "end")
    hubs = [event for event in read.events() if event[0].startswith("hub.")]
    if case.stream == "plain" or client.package == DATASTAR:  # which drops what is not its own
        assert hubs == []
    else:
        # A stream that is silent while others are not gets its position again.
        position, end = ("hub.position", {}), ("hub.end", {"topic": read.topic, "reason": "ended"})
        assert hubs[0] == position
        # One that asks for ever without its last id gets the end again.
        assert next(event for event in hubs if event != position) == end


def meet_a_gap(server: Server, cases: Iterable[Case], open: Open) -> Results:
    """Bring a position of a log that the server never had."""
    with Streams(server, cases, open, ["before"], "last_event_id=AAAAAA.5") as streams:

        def judged(case: Case, reader: Lines) -> object:
            if case.stream == "normal":
                return "hub.gap" in reader.types()
            return 410 in streams.answers(case) and "normal" in case.client.resumes

        streams.wait(judged)
        streams.publish(TEXTS)
        streams.wait(lambda case, reader: case.stream == "plain" or reader.count_own() > len(TEXTS))
        return streams.kept()


def was_told_of_the_gap(results: Results, case: Case) -> None:
    read = results[case]
    if case.stream == "plain":
        assert 410 in read.answers
        assert read.own() == []
        if "normal" not in case.client.resumes:
            assert read.over() == "error"
    else:
        assert [gap["reason"] for gap in read.hubs("hub.gap")] == ["foreign"]
        assert texts_of(read) == ["before", *TEXTS]


def survive_two_restarts(server: Server, cases: Iterable[Case], open: Open) -> Results:
    """Publish 15 events, with a SIGTERM and a SIGKILL of the server between them."""
    with Streams(server, cases, open, FIFTEEN[:5]) as streams:
        streams.wait_own(5)
        server.restart(signal.SIGTERM)
        streams.publish(FIFTEEN[5:10])
        streams.wait_own(10)
        server.restart(signal.SIGKILL)
        streams.publish(FIFTEEN[10:])
        streams.wait_own(15)
        return streams.kept()


def has_all_of_fifteen(results: Results, case: Case) -> None:
    """Check that it has each event once and in order."""
    assert texts_of(results[case]) == FIFTEEN


def be_over_at_a_restart(
    server: Server, cases: Iterable[Case], open: Open, number: signal.Signals
) -> Results:
    with Streams(server, cases, open, TEXTS) as streams:
        streams.wait_own(len(TEXTS))
        server.restart(number)
        streams.wait_over()
        return streams.kept()


def was_over_at_a_restart(results: Results, case: Case) -> None:
    """Check that the program has the last id, with which it may open the stream again."""
    read = results[case]
    assert texts_of(read) == TEXTS
    # A plain stream that is cut is not taken for one that has ended.
    assert read.over() == "error" or case.stream == "normal"
