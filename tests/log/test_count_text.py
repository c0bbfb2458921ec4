"""What the processes of a log write about their streams, and read of each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tidewire.engines.sqlite.count_files import CountFiles
from tidewire.engines.sqlite.nodes import Nodes
from tidewire.log import count_text
from tidewire.log.count_text import Neighbour, encode
from tidewire.log.presence import Client, Counts, Held
from tidewire.topics import Selector

CLIENTS: dict[Client, int] = {("::1",): 4, ("https://id.example", "ada"): 2, ("", "::1"): 1}


def counts(*selectors: tuple[str, int, float], clients: dict[Client, int] | None = None) -> Counts:
    held = {Selector(terms.split()): Held(streams, since) for terms, streams, since in selectors}
    return Counts(held, clients or {}, accepts=True, drains=False)


def test_what_is_written_is_read() -> None:
    neighbour = Neighbour()
    strange = "a\u00e9\U0001f600\u0085"[:3]
    neighbour.update(
        encode(counts(("a", 3, 1.5), ("a b/*", 2, 1.25), ("**", 1, 2.0), (strange, 1, 9.0), clients=CLIENTS))[
            0
        ]
    )
    assert (neighbour.accepts, neighbour.drains) == (True, False)
    assert [neighbour.streams(topic) for topic in ("a", "b/1", "c", strange)] == [6, 3, 1, 2]
    assert neighbour.clients == CLIENTS
    assert neighbour.since("a", named=False) == 1.25
    assert neighbour.since("b/1", named=False) == 1.25
    assert neighbour.since("b/1", named=True) == math.inf
    assert neighbour.since(strange, named=True) == 9.0


def test_only_what_changed_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[tuple[str, ...]] = []

    class Counted(Selector):
        __slots__ = ()

        def __init__(self, terms: Any, limit: int = 100) -> None:
            super().__init__(terms, limit)
            parsed.append(self.terms)

    monkeypatch.setattr(count_text, "Selector", Counted)
    neighbour = Neighbour()
    many = [(f"t/{number}", 1, 1.0) for number in range(1000)]
    neighbour.update(encode(counts(*many))[0])
    assert len(parsed) == 1000
    neighbour.update(encode(counts(*many[:-1], ("t/0", 2, 1.0), ("new", 1, 2.0)))[0])
    assert parsed[1000:] == [("t/0",), ("new",)]
    assert [neighbour.streams(topic) for topic in ("t/0", "t/1", "t/999", "new")] == [2, 1, 0, 1]
    assert len(neighbour.selectors) == 1000
    neighbour.update(encode(counts())[0])
    assert neighbour.selectors == []
    assert neighbour.streams("t/1") == 0


def test_times_are_those_of_the_reader() -> None:
    """Two machines: what one of them calls 10 is 1,010 on the clock that both have, and 510 on the other."""
    text, _ = encode(counts(("a", 1, 10.0)), clock=1000.0)
    neighbour = Neighbour(clock=500.0)
    neighbour.update(text)
    assert neighbour.since("a", named=False) == 510.0


def test_it_is_bounded() -> None:
    topics = [("x" * 500 + str(number), 1, 1.0) for number in range(3000)]
    text, complete = encode(counts(*topics, clients={("192.0.2.1",): 2}))
    assert not complete
    neighbour = Neighbour()
    neighbour.update(text)
    assert (neighbour.accepts, neighbour.selectors, neighbour.clients) == (True, [], {("192.0.2.1",): 2})
    text, complete = encode(counts(clients={(str(number).zfill(60),): 1 for number in range(20_000)}))
    assert (text, complete) == (encode(counts())[0], False)


def test_too_many_topics_are_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(count_text, "MAX_BYTES", 100)
    files = CountFiles(Nodes(str(tmp_path / "log.db")))
    for _ in range(2):
        files.report(counts(("a", 3, 1.5)))
        assert not caplog.text
    for number in range(2):
        files.report(counts(*[(f"t/{n}", 1, 1.0) for n in range(20 + number)]))
    assert caplog.text.count("streams for too many topics") == 1


@pytest.mark.parametrize(
    "text", [b"{}", b"[1,2,3]", b"nonsense", b"", b"[true,false]\n[1,2,3]", b"[true,false]\n7"]
)
def test_text_of_others_is_refused(text: bytes) -> None:
    neighbour = Neighbour()
    neighbour.update(encode(counts(("a", 3, 1.5)))[0])
    with pytest.raises((ValueError, TypeError)):
        neighbour.update(text)
    assert neighbour.streams("a") == 3
