"""The clients with a real hub."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from support.clients import Client, data, in_thread
from support.running_hub import RunningHub
from tidewire.client.core.reconnect import Change
from tidewire.client.sync import End, Event, Gap, Opened, Policy, Resumed, Stop
from tidewire.errors import Reserved, TopicEnded


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningHub]:
    with RunningHub() as running:
        yield running


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic that no other test has."""
    return "t/" + re.sub(r"\W", "-", request.node.name)


def test_events_published_inside_the_with_block_arrive(client: Client, hub: RunningHub) -> None:
    with client.connect(hub.url, topics=["a/*", "b"]) as events:
        first = client.publish(hub.url, "a/1", {"n": 1}, event="tick")
        second = client.publish(hub.url, "b", "x\ny")
        received = list(islice(events, 2))
    assert [(event.topic, event.event, event.data) for event in received] == [
        ("a/1", "tick", '{"n":1}'),
        ("b", "message", "x\ny"),
    ]
    assert [event.id for event in received] == [first["id"], second["id"]]
    assert received[0].json() == {"n": 1}


def test_resuming_from_a_given_id(client: Client, hub: RunningHub, topic: str) -> None:
    receipts = [client.publish(hub.url, topic, str(n)) for n in range(5)]
    with client.connect(hub.url, topics=[topic], last_event_id=receipts[2]["id"]) as events:
        assert data(islice(events, 2)) == ["3", "4"]
    with client.connect(hub.url, topics=[topic], since="last:3") as events:
        assert data(islice(events, 3)) == ["2", "3", "4"]


def test_many_events_by_many_requests(client: Client, hub: RunningHub) -> None:
    with client.connect(hub.url, topics=["bulk/**"]) as events:
        lines = [{"topic": f"bulk/{n % 7}", "data": str(n)} for n in range(2500)]
        receipts = list(client.publish_many(hub.url, lines))
        assert data(islice(events, 2500)) == [str(n) for n in range(2500)]
    assert [receipts[0]["lines"][0], receipts[-1]["lines"][1]] == [1, 2500]


def test_a_key_is_stored_once(client: Client, hub: RunningHub, topic: str) -> None:
    first = client.publish(hub.url, topic, "x", key="k")
    assert client.publish(hub.url, topic, "x", key="k") == {**first, "duplicate": True}


def test_an_ended_topic_ends_the_iterator_at_once(client: Client, hub: RunningHub, topic: str) -> None:
    changes: list[Change] = []
    with client.connect(hub.url, topics=[topic], on_change=changes.append) as events:
        client.publish(hub.url, topic, "last words")
        client.end(hub.url, topic, reason="sold out")
        first, last, *rest = events
    assert first.data == "last words"
    assert isinstance(last, End)
    assert (last.event, last.topic, last.reason) == ("hub.end", topic, "sold out")
    assert rest == []
    assert [type(change) for change in changes] == [Opened, Resumed, Stop]  # and no request for a 204
    with pytest.raises(TopicEnded):
        client.publish(hub.url, topic, "too late")


def test_the_end_of_one_topic_does_not_end_the_stream(client: Client, hub: RunningHub, topic: str) -> None:
    with client.connect(hub.url, topics=[topic, topic + "/b"]) as events:
        client.end(hub.url, topic)
        client.publish(hub.url, topic + "/b", "x")
        client.end(hub.url, topic + "/b")
        assert [(type(event), event.topic) for event in events] == [
            (End, topic),
            (Event, topic + "/b"),
            (End, topic + "/b"),
        ]


def test_a_pattern_does_not_end(client: Client, hub: RunningHub, topic: str) -> None:
    with client.connect(hub.url, topics=[topic, topic + "/*"]) as events:
        client.end(hub.url, topic)
        client.end(hub.url, topic + "/a")
        client.publish(hub.url, topic + "/b", "x")
        assert [type(event) for event in islice(events, 3)] == [End, End, Event]


def test_a_topic_that_ended_before_ends_the_stream(client: Client, hub: RunningHub, topic: str) -> None:
    client.publish(hub.url, topic, "x")
    client.end(hub.url, topic)
    with client.connect(hub.url, topics=topic, since="start") as events:
        assert [type(event) for event in events] == [Event, End]
    with client.connect(hub.url, topics=topic) as events:
        assert list(events) == []


def test_on_change_reports_how_a_stream_is_resumed(client: Client, hub: RunningHub, topic: str) -> None:
    changes: list[Change] = []
    known = client.publish(hub.url, topic, "1")["id"]
    with client.connect(hub.url, topics=topic, last_event_id=known, on_change=changes.append) as events:
        client.publish(hub.url, topic, "2")
        assert next(events).data == "2"
        assert changes[1] == Resumed("complete", known)
        events.restart()
        client.publish(hub.url, topic, "3")
        assert next(events).data == "3"
    assert [type(change) for change in changes] == [Opened, Resumed] * 2


def test_history_is_read_page_by_page(client: Client, hub: RunningHub, topic: str) -> None:
    list(client.publish_many(hub.url, [{"topic": topic, "data": str(n), "event": "n"} for n in range(5)]))
    page = client.history(hub.url, topic, limit=3)
    assert [(event.data, event.event, event.topic) for event in page] == [
        (str(n), "n", topic) for n in range(3)
    ]
    assert (len(page), page.more, page.ended, page.gap) == (3, True, False, None)
    page = client.history(hub.url, topic, since=page.next)
    assert (data(page), page.more, page.next) == (["3", "4"], False, page.head)
    client.publish(hub.url, topic, "5")
    with client.connect(hub.url, topics=topic, last_event_id=page.next) as events:
        assert next(events).data == "5"


def test_history_has_the_end_of_a_topic(client: Client, hub: RunningHub, topic: str) -> None:
    client.publish(hub.url, topic, "x")
    client.end(hub.url, topic, reason="over")
    page = client.history(hub.url, topic)
    _, last = page
    assert isinstance(last, End)
    assert (last.reason, page.ended) == ("over", True)


def test_history_has_its_gap(client: Client, hub: RunningHub, topic: str) -> None:
    client.publish(hub.url, topic, "x")
    page = client.history(hub.url, [topic], since="ABCDEF.1")
    assert isinstance(page.gap, Gap)
    assert (page.gap.reason, page.gap.requested, page.gap.topics) == ("foreign", "ABCDEF.1", [topic])


def test_a_batch_is_stored_all_or_none(client: Client, hub: RunningHub, topic: str) -> None:
    batch = [{"topic": topic, "data": str(n)} for n in range(3)]
    receipts = list(client.publish_many(hub.url, batch, atomic=True))
    assert [receipt["duplicate"] for receipt in receipts] == [False] * 3
    with pytest.raises(Reserved) as caught:
        list(
            client.publish_many(
                hub.url, [*batch, {"topic": topic, "data": "x", "event": "hub.x"}], atomic=True
            )
        )
    assert caught.value.members["index"] == 3
    page = client.history(hub.url, topic)
    assert [event.id for event in page] == [receipt["id"] for receipt in receipts]


def test_streams_that_end_often_lose_nothing(client: Client) -> None:
    """Streams of at most a second, while events are published."""
    changes: list[Change] = []
    with RunningHub(max_age=1, max_age_portable=1) as hub:
        with client.connect(hub.url, topics=["t"], on_change=changes.append) as events:
            published = [str(n) for n in range(300)]

            def publisher() -> None:
                with client.publisher(hub.url) as publisher:
                    for each in published:
                        publisher.publish("t", each)
                        time.sleep(0.01)

            done = in_thread(publisher)
            assert data(islice(events, 300)) == published
            done()
    assert sum(isinstance(change, Opened) for change in changes) >= 2


def test_a_hub_that_lost_its_log_sends_a_gap(client: Client) -> None:
    with RunningHub() as hub:
        with client.connect(hub.url, topics=["t"], reconnect=Policy(retry=0.2)) as events:
            known = client.publish(hub.url, "t", "before")["id"]
            assert next(events).data == "before"
            hub.restart()
            gap = next(events)
            assert isinstance(gap, Gap)
            assert (gap.event, gap.reason, gap.requested, gap.topics) == ("hub.gap", "foreign", known, ["t"])
            assert (gap.oldest, gap.head) == (None, gap.id)
            client.publish(hub.url, "t", "after")
            assert next(events).data == "after"
