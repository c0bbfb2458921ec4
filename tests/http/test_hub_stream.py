"""`Hub.stream` as an ASGI response: what it sends first, and who sends the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from support.fakes import quiet, sample, virtual
from tidewire import Hub
from tidewire.delivery.subscriber import Subscriber
from tidewire.event_stream import Comment, Decoder, Event
from tidewire.http.admission import RETRY_SPREAD


class Client:
    """The client of one request, as an ASGI server shows it to a program."""

    def __init__(self, *, method: str = "GET", address: str = "203.0.113.7", **headers: str) -> None:
        self.scope = {
            "type": "http",
            "method": method,
            "http_version": "1.1",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()],
            "client": (address, 50_000),
        }
        self.sent: list[Any] = []
        self.left = asyncio.Event()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def ask(self, hub: Hub, *topics: str, **options: Any) -> asyncio.Task[None]:
        """Start the request. The task ends when the program is done with it."""
        response = hub.stream(self.scope, *topics, **options)
        return asyncio.ensure_future(response(self.scope, self.receive, self.send))

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def items(self) -> list[Event | Comment]:
        return Decoder(comments=True).feed(self.body)

    @property
    def ended(self) -> bool:
        return not self.sent[-1].get("more_body", False)


class Offer:
    """Our own server's offer of the socket; `taken` is whether it takes the stream over."""

    def __init__(self, taken: bool) -> None:
        self.taken = taken
        self.armed: tuple[bytes, Subscriber] | None = None
        self.stopping: list[Callable[[], object]] = []

    def arm(self, first: bytes, subscriber: Subscriber) -> None:
        self.armed = (first, subscriber)

    async def settled(self, timeout: float) -> bool:
        return self.taken

    def on_stopping(self, callback: Callable[[], object]) -> None:
        self.stopping.append(callback)


# -- the stream


@virtual
async def test_the_first_bytes_come_at_once_and_the_rest_until_the_client_leaves() -> None:
    async with (hub := Hub()).lifespan():
        client = Client()
        request = client.ask(hub, "news")
        await quiet()
        assert (client.status, client.headers[b"content-type"]) == (200, b"text/event-stream")
        assert len(client.sent) == 2
        start = await hub.head()
        assert client.items == [Comment("tidewire"), Event("{}", "hub.position", str(start))]
        receipt = await hub.publish("news", "hello")
        await quiet()
        assert client.items[2:] == [Event("hello", "message", str(receipt.position))]
        assert not client.ended
        client.left.set()
        await request
        assert hub.node.streams_open == 0


@virtual
async def test_a_head_request_opens_no_stream() -> None:
    async with (hub := Hub()).lifespan():
        client, other = Client(method="HEAD"), Client()
        await client.ask(hub, "news")
        other.ask(hub, "news")
        await quiet()
        assert (client.headers, client.body, client.ended) == (other.headers, b"", True)
        assert hub.node.streams_open == 1


@virtual
async def test_topics_that_have_ended_are_204_without_content() -> None:
    async with (hub := Hub()).lifespan():
        await hub.end("news")
        client = Client()
        await client.ask(hub, "news")
        assert (client.status, client.body, client.ended) == (204, b"", True)
        assert b"content-type" not in client.headers


# -- on our own server


@virtual
async def test_a_stream_that_is_taken_over_sends_only_its_first_bytes() -> None:
    async with (hub := Hub()).lifespan():
        client, offer = Client(), Offer(taken=True)
        client.scope["extensions"] = {"tidewire.stream": offer}
        await client.ask(hub, "news")
        assert offer.armed
        assert offer.armed[0] == client.body
        assert not client.ended
        assert offer.stopping == []


@virtual
async def test_a_stream_that_is_not_taken_over_drains_when_the_server_stops() -> None:
    async with (hub := Hub()).lifespan():
        client, offer = Client(), Offer(taken=False)
        client.scope["extensions"] = {"tidewire.stream": offer}
        request = client.ask(hub, "news")
        await quiet()
        await hub.publish("news", "hello")
        await quiet()
        assert isinstance(client.items[-1], Event)
        assert client.items[-1].data == "hello"
        (stopping,) = offer.stopping
        stopping()
        await request
        assert client.ended
        assert hub.node.draining


@virtual
async def test_what_is_to_be_done_after_a_stream_that_was_taken_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, done = Hub(), asyncio.Event()

    async def background() -> None:
        await asyncio.sleep(hub.settings.drain / 2)
        done.set()
        raise ValueError("after it")

    async with hub.lifespan():
        client, offer = Client(), Offer(taken=True)
        client.scope["extensions"] = {"tidewire.stream": offer}
        response = hub.stream(client.scope, "news")
        response.background = background
        await response(client.scope, client.receive, client.send)
        assert offer.armed
        subscriber = offer.armed[1]
        assert not done.is_set()
        subscriber.lost()
        subscriber.lost()
    # A hub that closes waits for it.
    assert done.is_set()
    assert caplog.messages == ["a background task of a stream failed"]


# -- refused


@pytest.mark.parametrize(
    ("headers", "topics", "since", "status", "code"),
    [
        ({}, [], None, 400, "missing_topic"),
        ({}, ["news"], "yesterday", 400, "invalid_since"),
        ({"last_event_id": "x" * 10_000}, ["news"], None, 431, "head_too_large"),
    ],
    ids=["topic", "since", "last-event-id"],
)
@virtual
async def test_what_cannot_be_asked_for_is_a_problem(
    headers: Any, topics: Any, since: Any, status: int, code: str
) -> None:
    async with (hub := Hub()).lifespan():
        client = Client(**headers)
        await client.ask(hub, *topics, since=since)
        assert (client.status, client.ended) == (status, True)
        assert client.headers[b"content-type"] == b"application/problem+json"
        assert orjson.loads(client.body)["code"] == code
        assert sample(hub.node, "refused_requests_total", code=code) == 1


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ("lastEventId={}", 1),
        ("Last-Event-ID={}", 1),
        ("lastEventID=x&last_event_id={}", 1),
    ],
)
@virtual
async def test_a_program_resumes_by_query_too(query: str, start: int) -> None:
    async with (hub := Hub()).lifespan():
        ids = [(await hub.publish("news", str(number))).position for number in range(3)]
        client, other = Client(), Client()
        client.scope["query_string"] = query.format(ids[start]).encode()
        client.ask(hub, "news")
        await quiet()
        assert [item.data for item in client.items if isinstance(item, Event)] == ["2"]
        other.scope["query_string"] = b"lasteventid=" + str(ids[start]).encode()
        await other.ask(hub, "news")
        assert (other.status, orjson.loads(other.body)["code"]) == (400, "invalid_query")


@pytest.mark.parametrize("name", ["*", "**", "a*", "", "x\n", "x" * 600, "\ud800"])
@virtual
async def test_what_a_client_puts_into_a_topic_never_becomes_a_pattern(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Attack C12."""
    async with (hub := Hub()).lifespan():
        client = Client()
        with caplog.at_level(logging.WARNING, "tidewire"):
            await client.ask(hub, "announcements", "rooms/" + name if name else "")
        assert (client.status, client.ended) == (404, True)
        assert orjson.loads(client.body)["code"] == "no_such_topic"
        (line,) = caplog.messages
        assert "patterns=" in line
        assert len(line) < 300
        assert "\n" not in line
        assert hub.node.streams_open == 0


@pytest.mark.parametrize("topic", ["$sys", "/.well-known/x"])
@virtual
async def test_a_reserved_name_is_not_a_topic_of_a_program(topic: str) -> None:
    async with (hub := Hub()).lifespan():
        client = Client()
        await client.ask(hub, topic)
        assert (client.status, orjson.loads(client.body)["code"]) == (404, "no_such_topic")


@virtual
async def test_patterns_are_said_as_such() -> None:
    async with (hub := Hub()).lifespan():
        client, bad = Client(), Client()
        client.ask(hub, "news", patterns=["rooms/*"])
        await quiet()
        for topic in ("news", "rooms/a", "other"):
            await hub.publish(topic, "x")
        await quiet()
        assert [item.topic for item in client.items[2:] if isinstance(item, Event)] == ["news", "rooms/a"]
        await bad.ask(hub, patterns=["a*"])
        assert (bad.status, orjson.loads(bad.body)["code"]) == (400, "invalid_pattern")
        with pytest.raises(TypeError, match="a list of patterns"):
            hub.stream(Client().scope, patterns="rooms/*")


async def refused(hub: Hub, code: str, status: int) -> None:
    """Check that one more stream is refused: a native EventSource so that it tries again."""
    native, ours = Client(), Client(tidewire_client="test")
    await native.ask(hub, "news")
    await ours.ask(hub, "news")
    assert (native.status, native.headers[b"content-type"], native.ended) == (200, b"text/event-stream", True)
    decoder = Decoder(comments=True)
    assert decoder.feed(native.body) == [Comment(code)]
    assert decoder.retry
    wait = int(ours.headers[b"retry-after"])
    assert wait * 1000 <= decoder.retry <= (wait + RETRY_SPREAD) * 1000
    assert (ours.status, ours.ended, orjson.loads(ours.body)["code"]) == (status, True, code)
    assert sample(hub.node, "refused_requests_total", code=code) == 2


@virtual
async def test_streams_beyond_the_limit_of_the_node_are_refused() -> None:
    async with (hub := Hub(max_streams=1)).lifespan():
        client = Client(address="198.51.100.1")
        request = client.ask(hub, "news")
        await quiet()
        await refused(hub, "full", 503)
        client.left.set()
        await request
        again = Client()
        again.ask(hub, "news")
        await quiet()
        assert len(again.items) == 2


@virtual
async def test_streams_beyond_the_limit_of_an_address_are_refused() -> None:
    async with (hub := Hub(max_streams_per_address=1)).lifespan():
        Client().ask(hub, "news")
        await quiet()
        await refused(hub, "too_many_streams", 429)
        other = Client(address="198.51.100.1")
        other.ask(hub, "news")
        await quiet()
        assert len(other.items) == 2


@virtual
async def test_streams_are_refused_during_a_drain() -> None:
    async with (hub := Hub()).lifespan():
        await hub.drain()
        await refused(hub, "draining", 503)
