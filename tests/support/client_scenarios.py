"""What each SSE client of others goes through, as a program or as a page."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

from support.client_matrix import DATASTAR, Client
from support.foreign_clients import TEXTS, Lines, Server
from support.waiting import wait_until

# Opens the URL of a stream with the client.
Open = Callable[[str], AbstractContextManager[Lines]]

CONTROL = {"normal": "", "plain": "&control=none"}


def publish(server: Server, client: Client, topic: str, texts: list[str]) -> None:
    for text in texts:
        # As JSON, but with the characters themselves on the wire.
        data = json.dumps({"text": text}, ensure_ascii=False)
        if client.package == DATASTAR:
            server.publish(topic, f"signals {data}", "datastar-merge-signals")
        else:
            server.publish(topic, data)


def texts_of(reader: Lines) -> list[str]:
    return [data["text"] for data in reader.own()]


def is_at_its_end(server: Server, client: Client, topic: str, reader: Lines) -> None:
    """Check what a client does at the end of a topic."""
    if client.at_end == "asks":
        wait_until(lambda: server.requests(topic, 204) > 2)
        assert not reader.is_over()
    else:
        assert reader.over() == ("error" if client.at_end == "raises" else "end")


def read_to_its_end(server: Server, client: Client, topic: str, stream: str, open: Open) -> None:
    publish(server, client, topic, TEXTS[:3])
    with open(f"{server.url}/hub/events/{topic}?since=start{CONTROL[stream]}") as reader:
        reader.wait_own(3)
        server.stay_silent()
        publish(server, client, topic, TEXTS[3:])
        reader.wait_own(len(TEXTS))
        assert texts_of(reader) == TEXTS
        server.end(topic)
        is_at_its_end(server, client, topic, reader)
        hubs = [event for event in reader.events() if event[0].startswith("hub.")]
    if stream == "plain" or client.package == DATASTAR:  # which drops what is not its own
        assert hubs == []
    else:
        # One that asks for ever without its last id gets them again.
        assert hubs[:2] == [("hub.position", {}), ("hub.end", {"topic": topic, "reason": "ended"})]


def meet_a_gap(server: Server, client: Client, topic: str, stream: str, open: Open) -> None:
    publish(server, client, topic, ["before"])
    with open(f"{server.url}/hub/events/{topic}?last_event_id=AAAAAA.5{CONTROL[stream]}") as reader:
        if stream == "plain":
            wait_until(lambda: server.requests(topic, 410))
            if "normal" not in client.resumes:
                assert reader.over() == "error"
            assert reader.own() == []
            return
        wait_until(lambda: reader.hubs("hub.gap") or reader.is_over())
        publish(server, client, topic, TEXTS)
        reader.wait_own(1 + len(TEXTS))
        assert [gap["reason"] for gap in reader.hubs("hub.gap")] == ["foreign"]
        assert texts_of(reader) == ["before", *TEXTS]


def survive_two_restarts(server: Server, client: Client, topic: str, stream: str, open: Open) -> None:
    """All of 15 events, each once and in order, over a SIGTERM and a SIGKILL of the server."""
    texts = [f"{number}: {text}" for number, text in enumerate(TEXTS * 3)][:15]
    publish(server, client, topic, texts[:5])
    with open(f"{server.url}/hub/events/{topic}?since=start{CONTROL[stream]}") as reader:
        reader.wait_own(5)
        server.restart(signal.SIGTERM)
        publish(server, client, topic, texts[5:10])
        reader.wait_own(10)
        server.restart(signal.SIGKILL)
        publish(server, client, topic, texts[10:])
        reader.wait_own(15)
        assert texts_of(reader) == texts


def be_over_at_a_restart(
    server: Server, client: Client, topic: str, stream: str, number: signal.Signals, open: Open
) -> None:
    """The program has the last id, and opens the stream again."""
    publish(server, client, topic, TEXTS)
    with open(f"{server.url}/hub/events/{topic}?since=start{CONTROL[stream]}") as reader:
        reader.wait_own(len(TEXTS))
        server.restart(number)
        over = reader.over()
        assert texts_of(reader) == TEXTS
    # A plain stream that is cut is not taken for one that has ended.
    assert over == "error" or stream == "normal"
