from __future__ import annotations

import gc
import os
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx2
import pytest
import trustme

from running_hub import RunningHub
from scripted import HOLD, RESET, Action, Request, Scripted, answer, chunked, single_bytes, stream
from support import free_port, wait_until
from tidewire import __version__
from tidewire.client.sync import (
    Comment,
    Event,
    Opened,
    Policy,
    Stop,
    Stream,
    Wait,
    connect,
    end,
    publish,
    publish_many,
)
from tidewire.errors import (
    InvalidInput,
    StreamRefused,
    TidewireError,
    TooLarge,
    TopicEnded,
    Unavailable,
    Unknown,
)
from tidewire.reconnect import Change

QUICK = Policy(retry=0.02, shortest=0.01, cap=0.05)


def follow(server: Scripted, path: str = "/", **options: Any) -> Stream:
    return connect(server.url + path, **{"reconnect": QUICK, **options})


def data(events: Iterator[Event]) -> list[str]:
    return [event.data for event in events]


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Start a function in a thread; call what is returned to wait for its end and get its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(10)
        assert not thread.is_alive(), "the thread hangs"
        return results[0]

    return result


# -- the request


def test_the_request() -> None:
    """CLIENTS A1, A2, A3, A13, E4."""
    with Scripted(stream(b"data: x\n\n")) as server, follow(server, "/a?b=c#fragment") as events:
        assert data(events) == ["x"]
    request = server.requests[0]
    assert (request.method, request.target, request.body) == ("GET", "/a?b=c", b"")
    assert request.get("Accept") == b"text/event-stream"
    assert request.get("Cache-Control") == b"no-cache"
    assert request.get("Accept-Encoding") == b"identity"
    assert request.get("Tidewire-Client") == f"python/{__version__}".encode()
    assert request.get("Last-Event-ID") is None


def test_the_id_goes_out_as_utf8_on_each_reconnection() -> None:
    """CLIENTS A4, A5."""

    def echo(request: Request) -> list[Action]:
        return stream(b"data: " + (request.get("Last-Event-ID") or b"none") + b"\n\n")

    with (
        Scripted(stream("id: …\ndata: first\n\n".encode()), echo, echo, echo) as server,
        follow(server) as events,
    ):
        assert data(events) == ["first", "…", "…", "…"]


def test_after_an_empty_id_the_header_is_gone() -> None:
    """CLIENTS A6, ATTACKS H04."""
    with Scripted(
        stream(b"id: 1\ndata: a\n\n"), stream(b"id\ndata: b\n\n"), stream(b"data: c\n\n")
    ) as server:
        with follow(server) as events:
            assert data(events) == ["a", "b", "c"]
    assert [request.get("Last-Event-ID") for request in server.requests] == [None, b"1", None, None]


@pytest.mark.parametrize("field", [b"id: \0", b"id: a\0", b"id: a\0b", b"id:\0a", b"id:  \0 "])
def test_an_id_with_nul_is_never_sent(field: bytes) -> None:
    """CLIENTS A7, ATTACKS H04."""
    with (
        Scripted(stream(field + b"\ndata: a\n\n"), stream(b"data: b\n\n")) as server,
        follow(server) as events,
    ):
        assert data(events) == ["a", "b"]
    assert server.requests[1].get("Last-Event-ID") is None


def test_an_id_without_data_is_sent() -> None:
    """CLIENTS A8, ATTACKS H04."""
    with Scripted(stream(b"id: 1337\n\n"), stream(b"data: a\n\n")) as server, follow(server) as events:
        assert data(events) == ["a"]
    assert server.requests[1].get("Last-Event-ID") == b"1337"


def test_the_id_of_an_unfinished_block_is_not_sent() -> None:
    """CLIENTS A9, D8, D9, D11, ATTACKS H04."""
    first = stream(b"id: 1\ndata: a\n\nid: 2\ndata: lost\n")
    second = stream("\ufeffdata: b\n\n".encode())
    with Scripted(first, second) as server, follow(server) as events:
        assert [(event.data, event.id) for event in events] == [("a", "1"), ("b", "1")]
    assert server.requests[1].get("Last-Event-ID") == b"1"


def test_a_given_id_is_sent_at_once() -> None:
    """CLIENTS A10."""
    with Scripted(stream(b"data: a\n\n")) as server, follow(server, last_event_id="é") as events:
        assert [event.id for event in events] == ["é"]
    assert server.requests[0].get("Last-Event-ID") == "é".encode()


def test_headers_go_with_every_request() -> None:
    """CLIENTS A11; the caller's own replace ours."""
    headers = {"X-Extra": "ü", "accept": "text/event-stream, */*"}
    with Scripted(stream(), stream()) as server, follow(server, headers=headers) as events:
        assert data(events) == []
    for request in server.requests:
        assert request.get("X-Extra") == "ü".encode()
        assert request.get("Accept") == b"text/event-stream, */*"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"url": "ftp://example.org/"}, "invalid_url"),
        ({"url": "/events"}, "invalid_url"),
        ({"url": "http://"}, "invalid_url"),
        ({"url": "http://example:port/"}, "invalid_url"),
        ({"last_event_id": "a\nb"}, "invalid_id"),
        ({"last_event_id": "a\0b"}, "invalid_id"),
        ({"last_event_id": "\ud800"}, "invalid_id"),
        ({"headers": {"Last-Event-ID": "1"}}, "invalid_id"),
        ({"headers": {"X-Key": "secret\n"}}, "invalid_header"),
        ({"headers": {"X Key": "secret"}}, "invalid_header"),
    ],
)
def test_what_is_wrong_is_said_before_any_io(options: dict[str, Any], code: str) -> None:
    """CLIENTS A17."""
    with pytest.raises(InvalidInput) as caught:
        connect(**{"url": "http://127.0.0.1:1/", **options})
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "target"),
    [
        ("", "/events?topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq&since=last%3A5"),
        ("/", "/events?topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq&since=last%3A5"),
        ("/hub/", "/hub/events?topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq&since=last%3A5"),
        ("/hub/events", "/hub/events?topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq&since=last%3A5"),
        ("/m%2Fn?v=1", "/m%2Fn/events?v=1&topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq&since=last%3A5"),
    ],
)
def test_topics_are_asked_of_the_hub(base: str, target: str) -> None:
    with Scripted() as server:
        assert data(follow(server, base, topics=["a/*", "https://e.x/?q"], since="last:5")) == []
    assert server.requests[0].target == target


def test_one_topic_may_be_given_as_it_is() -> None:
    with Scripted() as server:
        assert data(follow(server, topics="news")) == []
    assert server.requests[0].target == "/events?topic=news"


# -- accepting and refusing


@pytest.mark.parametrize(
    "content_type", ["text/event-stream;", "text/event-stream;charset=windows-1252", "TEXT/Event-Stream"]
)
def test_parameters_and_case_of_the_type_do_not_matter(content_type: str) -> None:
    """CLIENTS B2, B3, B4."""
    script = stream("data: ü\n\n".encode(), content_type=content_type)
    with Scripted(script) as server, follow(server) as events:
        assert data(events) == ["ü"]


@pytest.mark.parametrize("content_type", ["text/html", "x bogus", "text/event-streamer"])
def test_another_type_ends_it(content_type: str) -> None:
    """CLIENTS B5, ATTACKS H06."""
    with Scripted(stream(b"data: x\n\n", content_type=content_type)) as server:
        with pytest.raises(StreamRefused) as caught:
            next(follow(server))
    assert caught.value.code == "not_a_stream"
    assert content_type in caught.value.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "status", ["205 Reset Content", "299 Odd", "401 Unauthorized", "404 Not Found", "410 Gone"]
)
def test_other_answers_end_it(status: str) -> None:
    """CLIENTS B6."""
    with Scripted(answer(status, "Content-Type: text/event-stream", body=b"data: x\n\n")) as server:
        with pytest.raises(StreamRefused) as caught, follow(server):
            pass
    assert caught.value.status == int(status[:3])
    assert status in caught.value.detail
    assert len(server.requests) == 1


def test_a_problem_says_why() -> None:
    """CLIENTS B11."""
    body = b'{"status": 403, "code": "not_granted", "detail": "no grant for \'news\'"}'
    with Scripted(answer("403 Forbidden", "Content-Type: application/problem+json", body=body)) as server:
        with pytest.raises(StreamRefused, match="no grant for 'news'") as caught:
            next(follow(server))
    assert (caught.value.status, caught.value.code) == (403, "not_granted")


def test_after_an_error_the_iterator_is_at_its_end() -> None:
    with Scripted(answer("404 Not Found")) as server:
        events = follow(server)
        with pytest.raises(StreamRefused):
            next(events)
        assert data(events) == []
    assert len(server.requests) == 1


def test_204_ends_it_quietly_at_any_time() -> None:
    """CLIENTS B7."""
    with Scripted(stream(b"data: a\n\n")) as server, follow(server) as events:
        assert data(events) == ["a"]
        assert data(events) == []
    assert len(server.requests) == 2
    with Scripted() as server, follow(server) as events:
        assert data(events) == []


@pytest.mark.parametrize(
    "status", ["408 Timeout", "425 Early", "429 Many", "500 Oops", "502 Bad", "503 Full"]
)
def test_what_passes_is_survived(status: str) -> None:
    """CLIENTS B8, ATTACKS H06."""
    later = answer(status)
    with Scripted(later, later, stream(b"data: a\n\n")) as server, follow(server) as events:
        assert data(events) == ["a"]


def test_retry_after_is_obeyed() -> None:
    waits: list[Change] = []
    refusal = answer("503 Full", "Retry-After: 1")
    with (
        Scripted(refusal, stream(b"data: a\n\n")) as server,
        follow(server, on_change=waits.append) as events,
    ):
        assert next(events).data == "a"
    assert isinstance(waits[0], Wait)
    assert 1 <= waits[0].seconds < 1.1


def test_network_errors_are_survived() -> None:
    """CLIENTS B9."""
    changes: list[Change] = []
    events = connect(f"http://127.0.0.1:{free_port()}/", reconnect=QUICK, on_change=changes.append)
    result = in_thread(lambda: data(events))
    wait_until(lambda: len(changes) >= 3)
    events.close()
    assert result() == []
    assert all(isinstance(change, Wait) and "connection refused" in change.reason for change in changes)


def test_a_reset_before_the_answer_is_survived() -> None:
    with Scripted([RESET], [b"HTTP/1.1 200 OK\r\nConte"], stream(b"data: a\n\n")) as server:
        with follow(server) as events:
            assert data(events) == ["a"]
    assert len(server.requests) == 4


def test_attempts_may_be_limited() -> None:
    """CLIENTS D15."""
    with pytest.raises(Unavailable, match="connection refused") as caught:
        next(connect(f"http://127.0.0.1:{free_port()}/", reconnect=Policy(retry=0.01, attempts=3)))
    assert caught.value.code == "unreachable"


# -- redirects


def redirect(status: str, location: str) -> list[Action]:
    return answer(status, f"Location: {location}")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_followed_each_time_from_the_first_url(status: str) -> None:
    """CLIENTS C1, C2, C7."""
    with Scripted(stream(b"id: 1\ndata: a\n\n"), stream(b"data: b\n\n")) as there:
        moved = redirect(status, there.url + "/there")
        with Scripted(moved, moved, answer("204 No Content")) as server, follow(server) as events:
            assert data(events) == ["a", "b"]
            assert events.url == server.url + "/"
    assert [request.target for request in there.requests] == ["/there", "/there"]
    assert there.requests[1].get("Last-Event-ID") == b"1"
    assert there.requests[1].get("Accept") == b"text/event-stream"
    assert len(server.requests) == 3


def test_a_redirect_to_204_is_the_end() -> None:
    """CLIENTS C4."""
    with Scripted() as there, Scripted(redirect("302 Found", there.url)) as server:
        assert data(follow(server)) == []


@pytest.mark.parametrize(
    "headers", [[], ["Location: "], ["Location: http://x:port/"], ["Location: ftp://x/"]]
)
def test_a_redirect_that_leads_nowhere_ends_it(headers: list[str]) -> None:
    """CLIENTS C5."""
    with Scripted(*[answer("301 Moved", *headers)] * 30) as server:
        with pytest.raises(StreamRefused):
            next(follow(server))
    assert len(server.requests) <= 21


def test_a_circle_of_redirects_ends_it() -> None:
    """CLIENTS C9."""
    with Scripted(*[redirect("302 Found", "/again")] * 30) as server:
        with pytest.raises(StreamRefused, match="20 redirects"):
            next(follow(server))
    assert len(server.requests) == 21


SECRETS = {"Authorization": "Bearer t", "X-Api-Key": "k", "Cookie": "session=s"}


def secrets_in(request: Request) -> list[bytes | None]:
    return [request.get(name) for name in SECRETS]


def test_credentials_stay_within_the_origin() -> None:
    """CLIENTS C6."""
    with Scripted(stream(b"data: a\n\n"), stream(b"data: b\n\n")) as there:
        within = redirect("307 Temporary", "/b")
        across = redirect("307 Temporary", there.url)
        with (
            Scripted(within, stream(b"data: c\n\n"), across) as server,
            follow(server, headers=SECRETS) as events,
        ):
            assert data(islice(events, 2)) == ["c", "a"]
    assert [secrets_in(request) for request in server.requests] == [[b"Bearer t", b"k", b"session=s"]] * 3
    assert secrets_in(there.requests[0]) == [None, None, None]


def test_auth_of_the_callers_client_stays_within_the_origin_too() -> None:
    with Scripted(redirect("302 Found", "/again"), stream(b"data: a\n\n")) as there:
        away = redirect("302 Found", there.url)
        client = httpx2.Client(auth=("user", "secret"), headers={"X-Api-Key": "k"})
        with Scripted(redirect("302 Found", "/next"), away) as server, client:
            with follow(server, client=client) as events:
                assert next(events).data == "a"
    assert all(request.get("Authorization") and request.get("X-Api-Key") for request in server.requests)
    assert [secrets_in(request) for request in there.requests] == [[None] * 3] * 2


# -- end and reconnection


def test_a_stream_that_ends_is_asked_for_again() -> None:
    """CLIENTS D1, D2, D10."""
    changes: list[Change] = []
    scripts = [stream(b"id: 1\ndata: a\n\n"), chunked(b"id: 2\ndata: b\n\n"), stream(b"data: c\n\n")]
    with Scripted(*scripts) as server, follow(server, on_change=changes.append) as events:
        assert data(events) == ["a", "b", "c"]
    assert [type(change) for change in changes] == [Opened, Wait] * 3 + [Stop]
    reasons = {change.reason for change in changes if isinstance(change, Wait)}
    assert reasons == {"the server ended the stream"}


def test_a_body_that_is_cut_off_is_a_failure() -> None:
    changes: list[Change] = []
    cut = chunked(b"id: 1\ndata: a\n\n", end=False)
    with Scripted(cut, [*stream(b"data: b\n\n"), RESET]) as server:
        with follow(server, on_change=changes.append) as events:
            assert data(events)[:1] == ["a"]
    waits = [change for change in changes if isinstance(change, Wait)]
    assert [wait.failures for wait in waits] == [1, 2]
    assert "the connection broke" in waits[0].reason


def test_the_servers_retry_is_the_wait() -> None:
    """CLIENTS D4, D6."""
    changes: list[Change] = []
    with (
        Scripted(stream(b"retry: 200\ndata: a\n\n")) as server,
        follow(server, on_change=changes.append) as events,
    ):
        began = time.monotonic()
        assert data(events) == ["a"]
    assert time.monotonic() - began >= 0.2
    assert isinstance(changes[1], Wait)
    assert 0.2 <= changes[1].seconds <= 0.22


def test_without_reconnecting_the_end_is_the_end() -> None:
    with Scripted(stream(b"data: a\n\n")) as server, follow(server, reconnect=False) as events:
        assert data(events) == ["a"]
    assert len(server.requests) == 1
    with Scripted(chunked(b"data: a\n\n", end=False)) as server, follow(server, reconnect=False) as events:
        assert next(events).data == "a"
        with pytest.raises(Unavailable, match="the connection broke"):
            next(events)


def test_h08_silence_is_noticed_by_the_announced_heartbeat() -> None:
    """CLIENTS D13."""
    changes: list[Change] = []
    silent = stream(b"data: a\n\n", HOLD, headers=["Tidewire-Heartbeat: 0.1"])
    with (
        Scripted(silent, stream(b"data: b\n\n")) as server,
        follow(server, on_change=changes.append) as events,
    ):
        assert data(events) == ["a", "b"]
    assert changes[0] == Opened(server.url + "/", 0.25)
    assert isinstance(changes[1], Wait)
    assert changes[1].reason == "nothing came for 0.25 s"


def test_any_byte_is_a_sign_of_life() -> None:
    """CLIENTS D13: half a line is one too."""
    ticks = [threading.Event() for _ in range(10)]

    def tick() -> None:
        for each in ticks:
            time.sleep(0.1)
            each.set()

    script = [part for each in ticks for part in (b":", each)]
    with Scripted(stream(*script, b"\ndata: a\n\n")) as server, follow(server, silence=0.5) as events:
        in_thread(tick)
        assert next(events).data == "a"
    assert len(server.requests) == 1


def test_a_server_without_heartbeat_may_be_silent() -> None:
    changes: list[Change] = []
    with Scripted(stream(HOLD)) as server, follow(server, on_change=changes.append):
        assert changes == [Opened(server.url + "/", None)]


# -- reading bytes


def test_bytes_are_events_as_soon_as_they_are_there() -> None:
    """CLIENTS E2, E3: no length, no chunks, and the last byte is a CR."""
    read = threading.Event()
    script = stream(b"data: a\r\r", read, b"data: b\r\n\r\n", HOLD)
    with Scripted(script) as server, follow(server) as events:
        assert next(events).data == "a"
        read.set()
        assert next(events).data == "b"


def test_h05_how_bytes_are_cut_means_nothing() -> None:
    """CLIENTS E1, E7."""
    body = "\ufeffid: ü\r\ndata: é\u2028\r\ndata: \U0001f600\r\n\r\n".encode() + b"data: \xff\n\n"
    with Scripted(stream(*single_bytes(body))) as server, follow(server) as events:
        assert data(events) == ["é\u2028\n\U0001f600", "\ufffd"]
        assert events.last_event_id == "ü"


def test_a_page_that_claims_to_be_a_stream_gives_nothing() -> None:
    """CLIENTS E8."""
    with Scripted(stream(b"<html>\n\n<p>data: x</p>\n\n")) as server, follow(server) as events:
        assert data(events) == []


def test_compressed_all_the_same() -> None:
    """CLIENTS E4, ATTACKS H06: each event is there when it was flushed."""
    gzip = zlib.compressobj(wbits=31)
    parts = [gzip.compress(line) + gzip.flush(zlib.Z_SYNC_FLUSH) for line in (b"data: a\n\n", b"data: b\n\n")]
    read = threading.Event()
    script = stream(parts[0], read, parts[1], HOLD, headers=["Content-Encoding: gzip"])
    with Scripted(script) as server, follow(server) as events:
        assert next(events).data == "a"
        read.set()
        assert next(events).data == "b"


def test_an_unknown_coding_is_refused() -> None:
    with Scripted(stream(b"???", headers=["Content-Encoding: zorro"])) as server:
        with pytest.raises(StreamRefused, match="zorro"):
            next(follow(server))


def test_broken_compression_is_a_failure_like_others() -> None:
    with Scripted(stream(b"???", headers=["Content-Encoding: gzip"]), stream(b"data: a\n\n")) as server:
        assert data(follow(server)) == ["a"]


def test_h01_a_line_without_end_is_an_error_in_bounded_memory() -> None:
    """CLIENTS E5: the event before it is not lost, and nothing is asked for again."""
    mebibyte = b"x" * 1024 * 1024

    def flood(_: Request) -> Iterator[Action]:
        yield from stream(b"data: first\n\ndata: ")
        while True:
            yield mebibyte

    with Scripted(flood) as server, follow(server, limit=4 * len(mebibyte)) as events:
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


def test_comments_on_request() -> None:
    with Scripted(stream(b": one\n\ndata: a\n\n:two\n")) as server, follow(server, comments=True) as events:
        assert list(events) == [Comment("one"), Event("a", id=""), Comment("two")]


# -- what the hub says


def test_positions_move_the_id_and_are_no_events() -> None:
    script = stream(b"event: hub.position\nid: L.1\ndata:\n\nevent: hub.open\nid: L.2\ndata: {}\n\n")
    with Scripted(script) as server, follow(server) as events:
        assert data(events) == []
        assert events.last_event_id == "L.2"
    assert server.requests[1].get("Last-Event-ID") == b"L.2"


def test_the_rest_of_what_the_hub_says_is_events() -> None:
    types = ["hub.gap", "hub.end", "hub.auth", "hub.error", "open", "error"]
    script = stream(*[f"event: {type_}\ndata: {{}}\n\n".encode() for type_ in types])
    with Scripted(script) as server, follow(server) as events:
        assert [event.event for event in events] == types


def test_the_topic_of_an_event() -> None:
    with Scripted(stream(b"topic: a/b\ndata: x\n\ndata: y\n\n")) as server, follow(server) as events:
        assert [event.topic for event in events] == ["a/b", None]


# -- lifecycle


def test_the_stream_is_open_when_the_block_begins() -> None:
    changes: list[Change] = []
    with Scripted(stream(HOLD)) as server, follow(server, on_change=changes.append):
        assert isinstance(changes[0], Opened)


def test_no_connection_is_made_before_it_is_needed() -> None:
    with Scripted() as server:
        follow(server)
    assert server.requests == []


def test_the_last_event_id_is_that_of_the_newest_event_taken() -> None:
    with Scripted(stream(b"id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\n\n", HOLD)) as server:
        with follow(server, last_event_id="0") as events:
            ids = [events.last_event_id]
            for _ in range(2):
                next(events)
                ids.append(events.last_event_id)
    assert ids == ["0", "1", "2"]


def test_raw_bytes() -> None:
    scripts = [stream(b": hi\n\nid: 7\ndata: a\n\nda"), stream(b"data: b\n\n")]
    with Scripted(*scripts) as server, follow(server) as events:
        assert b"".join(events.raw()) == b": hi\n\nid: 7\ndata: a\n\ndadata: b\n\n"
        assert events.last_event_id == "7"
    assert server.requests[1].get("Last-Event-ID") == b"7"


def opened_then(changes: list[Change]) -> Callable[[], bool]:
    return lambda: any(isinstance(change, Opened) for change in changes)


@pytest.mark.parametrize("read", [list, lambda events: list(events.raw())], ids=["events", "raw"])
def test_close_from_another_thread_wakes_the_reader(read: Callable[[Stream], list[Any]]) -> None:
    """CLIENTS F6, F2, D14."""
    changes: list[Change] = []
    with Scripted(stream(HOLD)) as server:
        events = follow(server, on_change=changes.append)
        result = in_thread(lambda: read(events))
        wait_until(opened_then(changes))
        events.close()
        events.close()
        assert result() == []
        assert data(events) == []
    assert len(server.requests) == 1
    assert [type(change) for change in changes] == [Opened]


def test_close_wakes_a_reader_that_waits_to_reconnect() -> None:
    changes: list[Change] = []
    with Scripted(answer("503 Full", "Retry-After: 60")) as server:
        events = follow(server, on_change=changes.append)
        result = in_thread(lambda: data(events))
        wait_until(lambda: changes)
        events.close()
        assert result() == []
    assert len(server.requests) == 1


def test_close_wakes_a_reader_that_waits_for_the_head() -> None:
    with Scripted([HOLD]) as server:
        events = follow(server)
        result = in_thread(lambda: data(events))
        wait_until(lambda: server.requests)
        events.close()
        assert result() == []


def test_close_within_the_callback() -> None:
    """CLIENTS D14."""
    events: Stream

    def close(change: Change) -> None:
        if isinstance(change, Wait):
            events.close()

    with Scripted(stream(b"data: a\n\n")) as server:
        events = follow(server, on_change=close)
        assert data(events) == ["a"]
    assert len(server.requests) == 1


def test_leaving_the_block_ends_the_connection() -> None:
    """CLIENTS F7."""
    left = threading.Event()

    def script(_: Request) -> Iterator[Action]:
        yield from stream(b"data: a\n\n", HOLD)
        left.set()

    with Scripted(script) as server:
        with follow(server) as events:
            for event in events:
                assert event.data == "a"
                break
        assert left.wait(10)


def test_a_callers_client_stays_open() -> None:
    """CLIENTS F8."""
    with Scripted(stream(b"data: a\n\n"), answer("204 No"), stream(b"data: b\n\n")) as server:
        with httpx2.Client() as client:
            with follow(server, client=client) as events:
                assert data(events) == ["a"]
            with follow(server, client=client) as events:
                assert next(events).data == "b"


def test_a_server_in_the_process() -> None:
    """Any transport of httpx2 will do."""
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, content=b"data: a\n\n")
    )
    with httpx2.Client(transport=transport) as client:
        with connect("http://example.test/", client=client, reconnect=False) as events:
            assert data(events) == ["a"]


def test_the_way_to_this_machine_leads_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Scripted(stream(b"data: a\n\n")) as server, follow(server) as events:
        assert data(events) == ["a"]


def test_nothing_is_left_open() -> None:
    with Scripted(stream(b"data: a\n\n"), stream(b"data: b\n\n", HOLD)) as server:
        with follow(server) as events:
            next(events)
            next(events)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with follow(server) as events:
                assert data(events) == []
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before


# -- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def tls_client(authority: trustme.CA) -> httpx2.Client:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return httpx2.Client(verify=context)


def test_close_wakes_a_reader_behind_tls(authority: trustme.CA) -> None:
    changes: list[Change] = []
    script = stream(b"data: a\n\n", HOLD)
    with (
        Scripted(script, tls=tls_server(authority), host="localhost") as server,
        tls_client(authority) as client,
    ):
        events = follow(server, client=client, on_change=changes.append)
        assert next(events).data == "a"
        result = in_thread(lambda: data(events))
        events.close()
        assert result() == []
    assert [type(change) for change in changes] == [Opened]


def test_an_unknown_certificate_is_named(authority: trustme.CA) -> None:
    with Scripted(tls=tls_server(authority), host="localhost") as server:
        with pytest.raises(Unavailable, match="certificate: "):
            next(follow(server, reconnect=False))


# -- publishing

RECEIPT = b'{"id":"L.1","duplicate":false,"durability":"memory"}'


def test_publish() -> None:
    with Scripted(answer("200 OK", "Content-Type: application/json", body=RECEIPT)) as server:
        receipt = publish(
            server.url, "a b", {"n": 1}, event="tick", key="k", retry=500, headers={"X-Extra": "x"}
        )
    assert receipt == {"id": "L.1", "duplicate": False, "durability": "memory"}
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/events")
    assert request.body == b'{"topic":"a b","data":{"n":1},"event":"tick","key":"k","retry":500}'
    assert request.get("Content-Type") == b"application/json"
    assert request.get("X-Extra") == b"x"
    assert request.get("Tidewire-Client") == f"python/{__version__}".encode()


@pytest.mark.parametrize(
    ("given", "sent"),
    [("x", b'"x"'), (b"\xc3\xbc", '"ü"'.encode()), (None, b"null"), ([1, "é"], '[1,"é"]'.encode())],
)
def test_what_data_may_be(given: Any, sent: bytes) -> None:
    with Scripted(answer("200 OK", body=RECEIPT)) as server:
        publish(server.url + "/hub", "t", given)
    assert server.requests[0].body == b'{"topic":"t","data":' + sent + b"}"
    assert server.requests[0].target == "/hub/events"


@pytest.mark.parametrize(
    ("given", "code"), [(b"\xff", "invalid_utf8"), ("\ud800", "invalid_data"), (object(), "invalid_data")]
)
def test_what_data_may_not_be(given: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        publish("http://127.0.0.1:1", "t", given)
    assert caught.value.code == code


def test_what_the_hub_says_is_raised() -> None:
    body = b'{"title":"TopicEnded","status":409,"code":"topic_ended","detail":"t has ended","stored":false}'
    with Scripted(answer("409 Conflict", body=body)) as server:
        with pytest.raises(TopicEnded, match="t has ended") as caught:
            publish(server.url, "t", "x")
    assert (caught.value.code, caught.value.status, caught.value.stored) == ("topic_ended", 409, False)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "stored"),
    [
        ("400 Bad", b'{"code":"invalid_topic","detail":"d"}', InvalidInput, "invalid_topic", False),
        ("503 No", b'{"code":"unknown","detail":"d","stored":"unknown"}', Unknown, "unknown", "unknown"),
        ("503 No", b'{"code":"unavailable","detail":"d","stored":false}', Unavailable, "unavailable", False),
        ("502 Bad Gateway", b"<html>", TidewireError, "internal", "unknown"),
        ("401 Who", b"", TidewireError, "internal", False),
        ("307 Elsewhere", b"", TidewireError, "redirected", False),
    ],
)
def test_every_refusal_has_its_kind(status: str, body: bytes, kind: type, code: str, stored: Any) -> None:
    with Scripted(answer(status, "Retry-After: 7", "Location: http://e.x/", body=body)) as server:
        with pytest.raises(kind) as caught:
            publish(server.url, "t", "x")
    error: Any = caught.value
    assert (error.code, error.stored, error.status, error.retry_after) == (code, stored, int(status[:3]), 7)


def test_no_hub_there() -> None:
    with pytest.raises(Unavailable, match="connection refused") as caught:
        publish(f"http://127.0.0.1:{free_port()}", "t", "x")
    assert (caught.value.code, caught.value.stored) == ("unreachable", False)


@pytest.mark.parametrize("script", [[], [RESET], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]])
def test_an_answer_that_is_lost_leaves_it_unknown(script: list[Action]) -> None:
    with Scripted(script) as server:
        with pytest.raises(Unknown) as caught:
            publish(server.url, "t", "x")
    assert (caught.value.code, caught.value.stored) == ("no_answer", "unknown")


def test_end() -> None:
    with Scripted(answer("200 OK", body=RECEIPT), answer("200 OK", body=RECEIPT)) as server:
        assert end(server.url, "a b?")["id"] == "L.1"
        end(server.url, "t", reason="over & out")
    assert [(request.method, request.target) for request in server.requests] == [
        ("DELETE", "/events?topic=a+b%3F"),
        ("DELETE", "/events?topic=t&reason=over+%26+out"),
    ]


def ingest(request: Request) -> list[Action]:
    """Take every line, and give two receipts."""
    lines = request.body.count(b"\n") + 1
    receipts = [
        b'{"lines":[1,%d],"first":"L.1"}' % (lines - 1),
        b'{"lines":[%d,%d],"last":"L.2"}' % (lines, lines),
    ]
    return answer("200 OK", body=b"\n".join([*receipts, b""]))


def test_publish_many_cuts_and_counts() -> None:
    events = [{"topic": "t", "data": str(n)} for n in range(2500)]
    with Scripted(ingest, ingest, ingest) as server:
        receipts = list(publish_many(server.url, events))
    assert [receipt["lines"] for receipt in receipts] == [
        [1, 999],
        [1000, 1000],
        [1001, 1999],
        [2000, 2000],
        [2001, 2499],
        [2500, 2500],
    ]
    assert all(request.get("Content-Type") == b"application/x-ndjson" for request in server.requests)
    lines = [line for request in server.requests for line in request.body.split(b"\n")]
    assert lines[1700] == b'{"topic":"t","data":"1700"}'
    assert len(lines) == 2500


def test_large_events_are_cut_by_size() -> None:
    with Scripted(ingest, ingest, ingest) as server:
        list(publish_many(server.url, [{"topic": "t", "data": "x" * 200_000}] * 12))
    assert [request.body.count(b"\n") + 1 for request in server.requests] == [5, 5, 2]


def test_the_line_that_is_refused_is_named() -> None:
    refusal = b'{"lines":[1,4]}\n{"line":5,"code":"invalid_topic","detail":"no topic","stored":false}\n'
    with Scripted(ingest, answer("200 OK", body=refusal)) as server:
        receipts = publish_many(server.url, (b'{"topic":"t"}' for _ in range(2000)))
        assert [next(receipts)["lines"] for _ in range(3)] == [[1, 999], [1000, 1000], [1001, 1004]]
        with pytest.raises(InvalidInput, match="line 1005: no topic") as caught:
            next(receipts)
    assert (caught.value.code, caught.value.members["line"]) == ("invalid_topic", 1005)


def test_receipts_that_are_missing_are_an_error() -> None:
    with Scripted(answer("200 OK", body=b'{"lines":[1,2]}\n')) as server:
        receipts = publish_many(server.url, [b"{}"] * 3)
        assert next(receipts)["lines"] == [1, 2]
        with pytest.raises(Unknown, match="line 3"):
            next(receipts)


# -- with a real hub


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningHub]:
    with RunningHub() as running:
        yield running


def test_what_is_published_after_the_with_line_arrives(hub: RunningHub) -> None:
    with connect(hub.url, topics=["a/*", "b"]) as events:
        ids = [publish(hub.url, "a/1", {"n": 1}, event="tick")["id"], publish(hub.url, "b", "x\ny")["id"]]
        received = list(islice(events, 2))
    assert [(event.topic, event.event, event.data) for event in received] == [
        ("a/1", "tick", '{"n":1}'),
        ("b", "message", "x\ny"),
    ]
    assert [event.id for event in received] == ids
    assert received[0].json() == {"n": 1}


def test_resuming_by_hand(hub: RunningHub) -> None:
    receipts = [publish(hub.url, "resumed", str(n)) for n in range(5)]
    with connect(hub.url, topics=["resumed"], last_event_id=receipts[2]["id"]) as events:
        assert data(islice(events, 2)) == ["3", "4"]
    with connect(hub.url, topics=["resumed"], since="last:3") as events:
        assert data(islice(events, 3)) == ["2", "3", "4"]


def test_many_events_by_many_requests(hub: RunningHub) -> None:
    with connect(hub.url, topics=["bulk/**"]) as events:
        lines = [{"topic": f"bulk/{n % 7}", "data": str(n)} for n in range(2500)]
        receipts = list(publish_many(hub.url, lines))
        assert data(islice(events, 2500)) == [str(n) for n in range(2500)]
    assert [receipts[0]["lines"][0], receipts[-1]["lines"][1]] == [1, 2500]


def test_a_key_is_stored_once(hub: RunningHub) -> None:
    first = publish(hub.url, "keyed", "x", key="k")
    assert publish(hub.url, "keyed", "x", key="k") == {**first, "duplicate": True}


def test_an_ended_topic_ends_the_iterator(hub: RunningHub) -> None:
    with connect(hub.url, topics=["ending"]) as events:
        publish(hub.url, "ending", "last words")
        end(hub.url, "ending", reason="sold out")
        first, last, *rest = events
    assert first.data == "last words"
    assert (last.event, last.json()) == ("hub.end", {"topic": "ending", "reason": "sold out"})
    assert rest == []
    with pytest.raises(TopicEnded):
        publish(hub.url, "ending", "too late")


def test_streams_that_end_all_the_time_lose_nothing() -> None:
    """Streams of at most a second, and a publisher that goes on meanwhile."""
    changes: list[Change] = []
    with RunningHub(max_age=1, max_age_portable=1) as hub:
        with connect(hub.url, topics=["t"], on_change=changes.append) as events:
            published = [str(n) for n in range(300)]

            def publisher() -> None:
                with httpx2.Client() as client:
                    for each in published:
                        publish(hub.url, "t", each, client=client)
                        time.sleep(0.01)

            done = in_thread(publisher)
            assert data(islice(events, 300)) == published
            done()
    assert sum(isinstance(change, Opened) for change in changes) >= 2


def test_a_hub_that_forgot_everything_says_so() -> None:
    with RunningHub() as hub:
        with connect(hub.url, topics=["t"], reconnect=Policy(retry=0.2)) as events:
            known = publish(hub.url, "t", "before")["id"]
            assert next(events).data == "before"
            hub.restart()
            gap = next(events)
            assert (gap.event, gap.json()["reason"], gap.json()["requested"]) == ("hub.gap", "foreign", known)
            publish(hub.url, "t", "after")
            assert next(events).data == "after"
