"""How the clients read the bytes (lines E of docs/reference/client-behaviour.md) and a hub's own events."""

from __future__ import annotations

import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import islice

import pytest

from support.clients import Client, data, follow
from support.scripted import HOLD, Action, Request, Scripted, single_bytes, stream
from tidewire.client.sync import Comment, End, Event, Gap
from tidewire.errors import StreamRefused, TooLarge

# -- reading bytes


def test_E2_E3_events_are_yielded_as_soon_as_their_bytes_arrive(client: Client) -> None:
    """No length, no chunks, and the last byte is a CR."""
    read = threading.Event()
    script = stream(b"data: a\r\r", read, b"data: b\r\n\r\n", HOLD)
    with Scripted(script) as server, follow(client, server) as events:
        assert next(events).data == "a"
        read.set()
        assert next(events).data == "b"


def test_E1_E7_h05_how_bytes_are_split_does_not_matter(client: Client) -> None:
    body = "\ufeffid: ü\r\ndata: é\u2028\r\ndata: \U0001f600\r\n\r\n".encode() + b"data: \xff\n\n"
    with Scripted(stream(*single_bytes(body))) as server, follow(client, server) as events:
        assert data(events) == ["é\u2028\n\U0001f600", "\ufffd"]
        assert events.last_event_id == "ü"


def test_E8_an_html_page_that_claims_to_be_a_stream_yields_nothing(client: Client) -> None:
    with Scripted(stream(b"<html>\n\n<p>data: x</p>\n\n")) as server, follow(client, server) as events:
        assert data(events) == []


def test_E4_a_compressed_stream_is_decoded(client: Client) -> None:
    """Attack H06: each event is yielded when it was flushed."""
    gzip = zlib.compressobj(wbits=31)
    parts = [gzip.compress(line) + gzip.flush(zlib.Z_SYNC_FLUSH) for line in (b"data: a\n\n", b"data: b\n\n")]
    read = threading.Event()
    script = stream(parts[0], read, parts[1], HOLD, headers=["Content-Encoding: gzip"])
    with Scripted(script) as server, follow(client, server) as events:
        assert next(events).data == "a"
        read.set()
        assert next(events).data == "b"


def test_an_unknown_coding_is_refused(client: Client) -> None:
    with Scripted(stream(b"???", headers=["Content-Encoding: zorro"])) as server:
        with pytest.raises(StreamRefused, match="zorro"):
            next(follow(client, server))


def test_broken_compression_is_an_ordinary_failure(client: Client) -> None:
    with Scripted(stream(b"???", headers=["Content-Encoding: gzip"]), stream(b"data: a\n\n")) as server:
        assert data(follow(client, server)) == ["a"]


def test_E5_h01_an_endless_line_is_an_error_in_bounded_memory(client: Client) -> None:
    """The event before it is yielded, and there is no second request."""
    mebibyte = b"x" * 1024 * 1024

    def flood(_: Request) -> Iterator[Action]:
        yield from stream(b"data: first\n\ndata: ")
        while True:
            yield mebibyte

    with Scripted(flood) as server, follow(client, server, limit=4 * len(mebibyte)) as events:
        assert next(events).data == "first"
        tracemalloc.start()
        with pytest.raises(TooLarge) as caught:
            next(events)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert data(events) == []
    assert caught.value.code == "event_too_large"
    assert peak < 16 * len(mebibyte)
    assert len(server.requests) == 1


def test_comments_on_request(client: Client) -> None:
    with (
        Scripted(stream(b": one\n\ndata: a\n\n:two\n")) as server,
        follow(client, server, comments=True) as events,
    ):
        assert list(events) == [Comment("one"), Event("a", id=""), Comment("two")]


# -- hub events


def test_positions_move_the_id_and_are_not_yielded(client: Client) -> None:
    script = stream(b"event: hub.position\nid: L.1\ndata:\n\nevent: hub.open\nid: L.2\ndata: {}\n\n")
    with Scripted(script) as server, follow(client, server) as events:
        assert data(events) == []
        assert events.last_event_id == "L.2"
    assert server.requests[1].get("Last-Event-ID") == b"L.2"


def test_other_hub_events_are_yielded(client: Client) -> None:
    types = ["hub.gap", "hub.end", "hub.error", "hub.new", "open", "error"]
    script = stream(*[f"event: {type_}\ndata: {{}}\n\n".encode() for type_ in types])
    with Scripted(script) as server, follow(client, server) as events:
        assert [event.event for event in events] == types


def test_the_topic_of_an_event(client: Client) -> None:
    with Scripted(stream(b"topic: a/b\ndata: x\n\ndata: y\n\n")) as server, follow(client, server) as events:
        assert [event.topic for event in events] == ["a/b", None]


def test_E5_large_events_arrive(client: Client) -> None:
    """5 MiB in one event, and 10 MiB in two chunks with a character cut in half between them."""
    small, large = b"x" * 5 * 1024 * 1024, "\U0001f600".encode() * (10 * 1024 * 1024 // 4)
    middle = len(large) // 2 + 1
    script = stream(b"data: %b\n\ndata: " % small, large[:middle], large[middle:], b"\n\n", HOLD)
    with Scripted(script) as server, follow(client, server) as events:
        assert next(events).data == small.decode()
        assert next(events).data == large.decode()


def test_E5_the_limit_is_per_event_and_can_be_set(client: Client) -> None:
    """Comments and unknown fields do not count."""
    noise = b"".join(b":%b\nx: %b\n" % (b"c" * 900, b"u" * 900) for _ in range(50))
    script = stream(noise + b"data: %b\n" % (b"a" * 900), noise + b"\n")
    with Scripted(script) as server, follow(client, server, limit=1000) as events:
        assert data(events) == ["a" * 900]
    with (
        Scripted(stream(b"data: %b\n\n" % (b"a" * 1001))) as server,
        follow(client, server, limit=1000) as events,
    ):
        with pytest.raises(TooLarge):
            next(events)


def test_E6_many_lines_many_events_and_one_byte_at_a_time(client: Client) -> None:
    lines = b"data: x\n" * 10_000
    events_in_one = b"".join(b"data: %d\n\n" % n for n in range(2000))
    script = stream(lines + b"\n", events_in_one, *single_bytes(b"data: " + b"y" * 4096 + b"\n\n"))
    with Scripted(script) as server, follow(client, server) as events:
        assert next(events).data == "\n".join(["x"] * 10_000)
        assert data(islice(events, 2000)) == [str(n) for n in range(2000)]
        assert next(events).data == "y" * 4096


def test_gaps_and_ends_have_their_fields(client: Client) -> None:
    gap = b'{"reason":"trimmed","requested":"L.1","oldest":"L.5","head":"L.9","topics":["a","b/*"]}'
    script = stream(
        b"event: hub.gap\nid: L.4\ndata: %b\n\n" % gap,
        b'event: hub.end\nid: L.6\ndata: {"topic":"a","reason":"sold out"}\n\n',
        b"event: hub.gap\ndata: ?\n\nevent: hub.end\ndata: []\n\n",
    )
    with Scripted(script) as server, follow(client, server) as events:
        first, second, third, fourth = events
    assert isinstance(first, Gap)
    assert (first.id, first.reason, first.requested) == ("L.4", "trimmed", "L.1")
    assert (first.oldest, first.head, first.topics) == ("L.5", "L.9", ["a", "b/*"])
    assert isinstance(second, End)
    assert (second.id, second.topic, second.reason) == ("L.6", "a", "sold out")
    assert isinstance(third, Gap)
    assert (third.reason, third.requested, third.topics) == ("", None, [])
    assert isinstance(fourth, End)
    assert (fourth.reason, fourth.topic) == ("", None)


AUTH = b'data: a\n\nevent: hub.auth\ndata: {"reason":"expired"}\n\n'
# A hub sends nothing after that. If a server does, it is ignored.
MORE = b"data: late\n\n"


def test_an_expired_token_is_an_error(client: Client) -> None:
    with Scripted(stream(AUTH + MORE, HOLD)) as server, follow(client, server) as events:
        assert next(events).data == "a"
        with pytest.raises(StreamRefused, match="expired") as caught:
            next(events)
        assert data(events) == []
    assert (caught.value.status, caught.value.code) == (401, "token_ended")
    assert len(server.requests) == 1


def test_a_kick_forbids_nothing(client: Client) -> None:
    kicked = AUTH.replace(b"expired", b"logged out")
    with Scripted(stream(kicked), stream(b"data: b\n\n", HOLD)) as server:
        with follow(client, server) as events:
            assert data(islice(events, 2)) == ["a", "b"]


def test_a_function_for_headers_is_asked_for_a_new_token(client: Client) -> None:
    tokens = iter(["old", "new"])
    with Scripted(stream(AUTH), stream(b"data: b\n\n", HOLD)) as server:
        with follow(client, server, headers=lambda: {"Authorization": next(tokens)}) as events:
            assert data(islice(events, 2)) == ["a", "b"]
    assert [request.get("Authorization") for request in server.requests] == [b"old", b"new"]
