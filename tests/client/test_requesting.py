"""
What the clients send, which answers they accept, and how they follow redirects.

docs/reference/client-behaviour.md, lines A, B and C.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from support.clients import QUICK, Client, Stream, data, follow, in_thread
from support.ports import free_port
from support.scripted import HOLD, RESET, Action, Request, Scripted, answer, stream
from support.waiting import wait_until
from tidewire import __version__
from tidewire.client.core.reconnect import Change
from tidewire.client.sync import Opened, Policy, Stop, Timeouts, Wait
from tidewire.errors import InvalidInput, StreamRefused, Unavailable

# -- the request


def test_A1_A2_A3_A13_E4_the_request(client: Client) -> None:
    with Scripted(stream(b"data: x\n\n")) as server, follow(client, server, "/a?b=c#fragment") as events:
        assert data(events) == ["x"]
    request = server.requests[0]
    assert (request.method, request.target, request.body) == ("GET", "/a?b=c", b"")
    assert request.get("Accept") == b"text/event-stream"
    assert request.get("Cache-Control") == b"no-cache"
    assert request.get("Accept-Encoding") == b"identity"
    assert request.get("Tidewire-Client") == f"python/{__version__}".encode()
    assert request.get("Last-Event-ID") is None


def test_another_http_client_is_refused_by_name(client: Client) -> None:
    httpx = pytest.importorskip("httpx")
    with client.http() as right:
        wanted = f"httpx2.{type(right).__name__}"
    others = {
        "httpx.Client": httpx.Client,
        "httpx.AsyncClient": httpx.AsyncClient,
        "httpx2.Client": httpx2.Client,
        "httpx2.AsyncClient": httpx2.AsyncClient,
    }
    del others[wanted]
    for name, kind in others.items():
        for use in (
            lambda other: client.connect("http://127.0.0.1:9", client=other),
            lambda other: client.publish("http://127.0.0.1:9", "a", "b", client=other),
            lambda other: client.history("http://127.0.0.1:9", "a", client=other),
        ):
            with pytest.raises(TypeError, match=re.escape(f"client must be an {wanted}; this is {name}")):
                use(kind())


def test_A4_A5_the_id_is_sent_as_utf8_on_each_reconnection(client: Client) -> None:

    def echo(request: Request) -> list[Action]:
        return stream(b"data: " + (request.get("Last-Event-ID") or b"none") + b"\n\n")

    with (
        Scripted(stream("id: …\ndata: first\n\n".encode()), echo, echo, echo) as server,
        follow(client, server) as events,
    ):
        assert data(events) == ["first", "…", "…", "…"]


def test_A6_after_an_empty_id_there_is_no_header(client: Client) -> None:
    """Attack H04."""
    with Scripted(
        stream(b"id: 1\ndata: a\n\n"), stream(b"id\ndata: b\n\n"), stream(b"data: c\n\n")
    ) as server:
        with follow(client, server) as events:
            assert data(events) == ["a", "b", "c"]
    assert [request.get("Last-Event-ID") for request in server.requests] == [None, b"1", None, None]


@pytest.mark.parametrize("field", [b"id: \0", b"id: a\0", b"id: a\0b", b"id:\0a", b"id:  \0 "])
def test_A7_an_id_with_nul_is_never_sent(client: Client, field: bytes) -> None:
    """Attack H04."""
    with (
        Scripted(stream(field + b"\ndata: a\n\n"), stream(b"data: b\n\n")) as server,
        follow(client, server) as events,
    ):
        assert data(events) == ["a", "b"]
    assert server.requests[1].get("Last-Event-ID") is None


def test_A8_an_id_without_data_is_sent(client: Client) -> None:
    """Attack H04."""
    with (
        Scripted(stream(b"id: 1337\n\n"), stream(b"data: a\n\n")) as server,
        follow(client, server) as events,
    ):
        assert data(events) == ["a"]
    assert server.requests[1].get("Last-Event-ID") == b"1337"


def test_A9_D8_D9_D11_the_id_of_an_unfinished_block_is_not_sent(client: Client) -> None:
    """Attack H04."""
    first = stream(b"id: 1\ndata: a\n\nid: 2\ndata: lost\n")
    second = stream("\ufeffdata: b\n\n".encode())
    with Scripted(first, second) as server, follow(client, server) as events:
        assert [(event.data, event.id) for event in events] == [("a", "1"), ("b", "1")]
    assert server.requests[1].get("Last-Event-ID") == b"1"


def test_A10_a_given_id_is_sent_at_once(client: Client) -> None:
    with Scripted(stream(b"data: a\n\n")) as server, follow(client, server, last_event_id="é") as events:
        assert [event.id for event in events] == ["é"]
    assert server.requests[0].get("Last-Event-ID") == "é".encode()


def test_A11_headers_are_sent_with_every_request(client: Client) -> None:
    """The caller's headers replace ours."""
    headers = {"X-Extra": "ü", "accept": "text/event-stream, */*"}
    with Scripted(stream(), stream()) as server, follow(client, server, headers=headers) as events:
        assert data(events) == []
    for request in server.requests:
        assert request.get("X-Extra") == "ü".encode()
        assert request.get("Accept") == b"text/event-stream, */*"


def test_A12_method_and_body_are_the_same_for_every_request(client: Client) -> None:
    options = {"method": "REPORT", "body": "ü\r\n", "headers": {"Content-Type": "text/x"}}
    with Scripted(stream(b"id: 1\ndata: a\n\n"), stream(b"data: b\n\n")) as server:
        with follow(client, server, **options) as events:
            assert data(events) == ["a", "b"]
    for request in server.requests:
        assert (request.method, request.body) == ("REPORT", "ü\r\n".encode())
        assert request.get("Content-Type") == b"text/x"
    assert server.requests[1].get("Last-Event-ID") == b"1"


def test_a_body_is_posted_as_json_and_not_sent_twice_by_default(client: Client) -> None:
    with Scripted(stream(b"data: a\n\n")) as server:
        assert data(client.connect(server.url, body={"stream": True})) == ["a"]
    (request,) = server.requests
    assert (request.method, request.body) == ("POST", b'{"stream":true}')
    assert request.get("Content-Type") == b"application/json"


def test_until_a_stream_is_open_even_a_post_is_retried(client: Client) -> None:
    """As for a busy model: 429, then the stream, and no reconnection after its end."""
    policy = Policy(retry=0.02, reconnect=False, attempts=3)
    with Scripted(answer("429 Busy"), answer("503 Busy"), stream(b"data: a\n\n")) as server:
        assert data(follow(client, server, body={}, reconnect=policy)) == ["a"]
    assert len(server.requests) == 3
    with Scripted(*[answer("429 Busy")] * 3) as server, pytest.raises(StreamRefused) as caught:
        next(follow(client, server, body={}, reconnect=policy))
    assert caught.value.status == 429


def test_A14_a_password_in_the_url_is_sent_as_basic(client: Client) -> None:
    def challenge(request: Request) -> list[Action]:
        return stream(b"data: a\n\n") if request.get("Authorization") else answer("401 Who")

    with Scripted(challenge) as server:
        url = server.url.replace("http://", "http://user:pass@")
        assert data(client.connect(url, reconnect=False)) == ["a"]
    assert server.requests[0].get("Authorization") == b"Basic dXNlcjpwYXNz"


def test_A16_a_function_for_headers_is_called_before_each_request(client: Client) -> None:
    tokens = iter("abc")
    with Scripted(answer("503 Full"), stream(), stream()) as server:
        source = lambda: {"Authorization": f"Bearer {next(tokens, '-')}"}  # noqa: E731
        assert data(follow(client, server, headers=source)) == []
    sent = [request.get("Authorization") for request in server.requests[:3]]
    assert sent == [b"Bearer a", b"Bearer b", b"Bearer c"]


def test_A16_after_a_401_the_function_is_asked_for_a_new_token_once(client: Client) -> None:
    """Attack H06."""
    tokens = iter("abcd")

    def source() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    refused = answer("401 Who")
    changes: list[Change] = []
    with Scripted(refused, stream(b"data: a\n\n", HOLD)) as server:
        with follow(client, server, headers=source, on_change=changes.append) as events:
            assert next(events).data == "a"
    assert [(change.seconds, change.failures) for change in changes if isinstance(change, Wait)] == [(0, 1)]
    assert [request.get("Authorization") for request in server.requests] == [b"Bearer a", b"Bearer b"]
    with Scripted(refused, refused) as server, pytest.raises(StreamRefused) as caught:
        next(follow(client, server, headers=source))
    assert caught.value.status == 401
    assert len(server.requests) == 2


def test_A16_the_callers_client_may_change_anything_else(client: Client) -> None:
    """The hooks of httpx2 see each request before it is sent."""
    attempts = iter("12")

    class Counted(httpx2.Auth):
        def auth_flow(self, request: httpx2.Request) -> Iterator[httpx2.Request]:  # type: ignore[override]
            request.url = request.url.copy_set_param("attempt", next(attempts))
            yield request

    with Scripted(stream(), answer("204 No")) as server, client.http(auth=Counted()) as http:
        assert data(follow(client, server, "/?a=b", client=http)) == []
    assert [request.target for request in server.requests] == ["/?a=b&attempt=1", "/?a=b&attempt=2"]


def test_an_error_of_the_network_in_the_function_for_headers_is_retried(client: Client) -> None:
    changes: list[Change] = []
    answers: list[Any] = [ConnectionRefusedError(111, "Connection refused"), {"X-Token": "t"}]

    def source() -> dict[str, str]:
        item = answers.pop(0)
        if isinstance(item, Exception):
            raise item
        return item  # type: ignore[no-any-return]

    with Scripted(stream(b"data: a\n\n", HOLD)) as server:
        with follow(client, server, headers=source, on_change=changes.append) as events:
            assert next(events).data == "a"
    assert isinstance(changes[0], Wait)
    assert changes[0].reason == "cannot get the headers for the request: connection refused"
    assert server.requests[0].get("X-Token") == b"t"


def test_other_errors_in_the_function_for_headers_are_raised(client: Client) -> None:
    def source() -> dict[str, str]:
        raise LookupError("no such user")

    with Scripted() as server:
        with pytest.raises(LookupError, match="no such user"), follow(client, server, headers=source):
            pass
    assert server.requests == []


def test_B10_only_http_and_https(client: Client) -> None:
    for url in ("ftp://example.org/", "about:blank", "mailto:a@example.org", "javascript:0", ""):
        with pytest.raises(InvalidInput) as caught:
            client.connect(url)
        assert caught.value.code == "invalid_url"


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
        ({"body": {1, 2}}, "invalid_data"),
    ],
)
def test_A17_wrong_arguments_are_refused_before_any_io(
    client: Client, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.connect(**{"url": "http://127.0.0.1:1/", **options})
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "target"),
    [
        ("", "/events?topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq"),
        ("/", "/events?topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq"),
        ("/hub/", "/hub/events?topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq"),
        ("/hub/events", "/hub/events?topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq"),
        ("/m%2Fn?v=1", "/m%2Fn/events?v=1&topic=a%2F%2A&topic=https%3A%2F%2Fe.x%2F%3Fq"),
    ],
)
def test_topics_are_requested_from_the_hub(client: Client, base: str, target: str) -> None:
    with Scripted() as server:
        assert data(follow(client, server, base, topics=["a/*", "https://e.x/?q"], since="last:5")) == []
    assert server.requests[0].target == target + "&control=open&since=last%3A5"


def test_a_single_topic_may_be_a_string(client: Client) -> None:
    with Scripted() as server:
        assert data(follow(client, server, topics="news")) == []
    assert server.requests[0].target == "/events?topic=news&control=open"


# -- answers


def test_B1_opened_is_reported_before_any_event(client: Client) -> None:
    seen: list[object] = []
    with Scripted(stream(b"data: a\n\n", HOLD, headers=["X-Node: 7"])) as server:
        with follow(client, server, on_change=seen.append) as events:
            seen.append(next(events).data)
    assert seen == [Opened(server.url + "/", None), "a"]
    assert isinstance(seen[0], Opened)
    assert seen[0].headers["x-node"] == "7"


@pytest.mark.parametrize(
    "content_type", ["text/event-stream;", "text/event-stream;charset=windows-1252", "TEXT/Event-Stream"]
)
def test_B2_B3_B4_parameters_and_case_of_the_type_do_not_matter(client: Client, content_type: str) -> None:
    script = stream("data: ü\n\n".encode(), content_type=content_type)
    with Scripted(script) as server, follow(client, server) as events:
        assert data(events) == ["ü"]


@pytest.mark.parametrize("content_type", ["text/html", "x bogus", "text/event-streamer"])
def test_B5_another_type_is_refused(client: Client, content_type: str) -> None:
    """Attack H06."""
    with Scripted(stream(b"data: x\n\n", content_type=content_type)) as server:
        with pytest.raises(StreamRefused) as caught:
            next(follow(client, server))
    assert caught.value.code == "not_a_stream"
    assert content_type in caught.value.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "status", ["205 Reset Content", "299 Odd", "401 Unauthorized", "404 Not Found", "410 Gone"]
)
def test_B6_other_statuses_are_refused(client: Client, status: str) -> None:
    with Scripted(answer(status, "Content-Type: text/event-stream", body=b"data: x\n\n")) as server:
        with pytest.raises(StreamRefused) as caught, follow(client, server):
            pass
    assert caught.value.status == int(status[:3])
    assert status in caught.value.detail
    assert len(server.requests) == 1


def test_B11_the_error_has_the_detail_of_the_problem(client: Client) -> None:
    body = b'{"status": 403, "code": "not_granted", "detail": "no grant for \'news\'"}'
    with Scripted(answer("403 Forbidden", "Content-Type: application/problem+json", body=body)) as server:
        with pytest.raises(StreamRefused, match="no grant for 'news'") as caught:
            next(follow(client, server))
    assert (caught.value.status, caught.value.code) == (403, "not_granted")


def test_B11_status_and_headers_of_each_attempt_are_reported(client: Client) -> None:
    changes: list[Change] = []
    busy, wrong = answer("503 Busy", "X-Node: 7"), answer("403 No", "X-Node: 8")
    with Scripted(busy, wrong) as server, pytest.raises(StreamRefused) as caught:
        next(follow(client, server, on_change=changes.append))
    assert [(type(change), change.status, change.headers["x-node"]) for change in changes] == [
        (Wait, 503, "7"),
        (Stop, 403, "8"),
    ]
    assert caught.value.headers["X-Node"] == "8"
    changes.clear()
    with pytest.raises(Unavailable):
        policy = Policy(retry=0.01, attempts=2)
        next(client.connect(f"http://127.0.0.1:{free_port()}", reconnect=policy, on_change=changes.append))
    assert [(change.status, dict(change.headers)) for change in changes] == [(None, {})] * 2


def test_B12_an_answer_without_a_body_is_a_stream_that_ended(client: Client) -> None:
    with Scripted(answer("200 OK", "Content-Type: text/event-stream"), stream(b"data: a\n\n")) as server:
        assert data(follow(client, server)) == ["a"]


def test_after_an_error_the_iterator_is_exhausted(client: Client) -> None:
    with Scripted(answer("404 Not Found")) as server:
        events = follow(client, server)
        with pytest.raises(StreamRefused):
            next(events)
        assert data(events) == []
    assert len(server.requests) == 1


def test_B7_204_ends_the_iterator_without_an_error(client: Client) -> None:
    with Scripted(stream(b"data: a\n\n")) as server, follow(client, server) as events:
        assert data(events) == ["a"]
        assert data(events) == []
    assert len(server.requests) == 2
    with Scripted() as server, follow(client, server) as events:
        assert data(events) == []


@pytest.mark.parametrize(
    "status", ["408 Timeout", "425 Early", "429 Many", "500 Oops", "502 Bad", "503 Full"]
)
def test_B8_transient_statuses_are_retried(client: Client, status: str) -> None:
    """Attack H06."""
    later = answer(status)
    with Scripted(later, later, stream(b"data: a\n\n")) as server, follow(client, server) as events:
        assert data(events) == ["a"]


def test_retry_after_is_obeyed(client: Client) -> None:
    waits: list[Change] = []
    refusal = answer("503 Full", "Retry-After: 1")
    with (
        Scripted(refusal, stream(b"data: a\n\n")) as server,
        follow(client, server, on_change=waits.append) as events,
    ):
        assert next(events).data == "a"
    assert isinstance(waits[0], Wait)
    assert 1 <= waits[0].seconds < 1.1


def test_B9_network_errors_are_retried(client: Client) -> None:
    changes: list[Change] = []
    events = client.connect(f"http://127.0.0.1:{free_port()}/", reconnect=QUICK, on_change=changes.append)
    result = in_thread(lambda: data(events))
    wait_until(lambda: len(changes) >= 3)
    events.close()
    assert result() == []
    assert all(isinstance(change, Wait) and "connection refused" in change.reason for change in changes)


def test_a_reset_before_the_answer_is_retried(client: Client) -> None:
    with Scripted([RESET], [b"HTTP/1.1 200 OK\r\nConte"], stream(b"data: a\n\n")) as server:
        with follow(client, server) as events:
            assert data(events) == ["a"]
    assert len(server.requests) == 4


def test_a_head_that_does_not_arrive_times_out(client: Client) -> None:
    changes: list[Change] = []
    with Scripted([HOLD], stream(b"data: a\n\n", HOLD)) as server:
        with follow(client, server, timeouts=Timeouts(head=1), on_change=changes.append) as events:
            assert next(events).data == "a"
    assert isinstance(changes[0], Wait)
    assert "timed out" in changes[0].reason.lower().replace("readtimeout", "timed out")


def test_through_a_proxy(client: Client) -> None:
    with Scripted(stream(b"data: a\n\n")) as proxy, client.http(proxy=proxy.url) as http:
        assert data(client.connect("http://example.test/a?b", client=http, reconnect=False)) == ["a"]
    assert proxy.requests[0].target == "http://example.test/a?b"


def test_D15_attempts_may_be_limited(client: Client) -> None:
    with pytest.raises(Unavailable, match="connection refused") as caught:
        next(client.connect(f"http://127.0.0.1:{free_port()}/", reconnect=Policy(retry=0.01, attempts=3)))
    assert caught.value.code == "unreachable"


# -- redirects


def redirect(status: str, location: str) -> list[Action]:
    return answer(status, f"Location: {location}")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"])
def test_C1_C2_C7_redirects_are_followed_each_time_from_the_first_url(client: Client, status: str) -> None:
    with Scripted(stream(b"id: 1\ndata: a\n\n"), stream(b"data: b\n\n")) as there:
        moved = redirect(status, there.url + "/there")
        with Scripted(moved, moved, answer("204 No Content")) as server, follow(client, server) as events:
            assert data(events) == ["a", "b"]
            assert events.url == server.url + "/"
    assert [request.target for request in there.requests] == ["/there", "/there"]
    assert there.requests[1].get("Last-Event-ID") == b"1"
    assert there.requests[1].get("Accept") == b"text/event-stream"
    assert len(server.requests) == 3


def test_C4_a_redirect_to_204_is_the_end(client: Client) -> None:
    with Scripted() as there, Scripted(redirect("302 Found", there.url)) as server:
        assert data(follow(client, server)) == []


@pytest.mark.parametrize(
    "headers", [[], ["Location: "], ["Location: http://x:port/"], ["Location: ftp://x/"]]
)
def test_C5_a_redirect_that_cannot_be_followed_is_refused(client: Client, headers: list[str]) -> None:
    with Scripted(*[answer("301 Moved", *headers)] * 30) as server:
        with pytest.raises(StreamRefused):
            next(follow(client, server))
    assert len(server.requests) <= 21


def test_C9_a_loop_of_redirects_is_refused(client: Client) -> None:
    with Scripted(*[redirect("302 Found", "/again")] * 30) as server:
        with pytest.raises(StreamRefused, match="20 redirects"):
            next(follow(client, server))
    assert len(server.requests) == 21


def test_C3_the_final_url_is_reported(client: Client) -> None:
    changes: list[Change] = []
    with Scripted(stream(b"data: a\n\n", HOLD)) as there:
        moved = redirect("302 Found", there.url + "/there")
        with Scripted(moved) as server, follow(client, server, on_change=changes.append) as events:
            assert next(events).data == "a"
            assert events.url == server.url + "/"
    assert changes == [Opened(there.url + "/there", None)]


@pytest.mark.parametrize(
    ("status", "method"), [("301", "GET"), ("302", "GET"), ("303", "GET"), ("307", "POST"), ("308", "POST")]
)
def test_C8_which_redirects_keep_the_body(client: Client, status: str, method: str) -> None:
    with Scripted(redirect(f"{status} There", "/there"), stream(b"data: a\n\n")) as server:
        assert data(follow(client, server, body={"a": 1}, reconnect=False)) == ["a"]
    request = server.requests[1]
    kept = method == "POST"
    assert (request.method, request.body) == (method, b'{"a":1}' if kept else b"")
    assert request.get("Content-Type") == (b"application/json" if kept else None)


SECRETS = {"Authorization": "Bearer t", "X-Api-Key": "k", "Cookie": "session=s"}


@pytest.mark.parametrize("name", SECRETS)
def test_C6_credentials_stay_within_the_origin(client: Client, name: str) -> None:
    """Attack H10."""
    with Scripted(stream(b"data: stolen\n\n")) as there:
        within = redirect("307 Temporary", "/b")
        across = redirect("307 Temporary", there.url)
        with (
            Scripted(within, stream(b"data: c\n\n"), across) as server,
            follow(client, server, headers={name: SECRETS[name]}) as events,
        ):
            assert next(events).data == "c"
            refused_to_leave(events, server, there)
    assert [request.get(name) for request in server.requests] == [SECRETS[name].encode()] * 3


def refused_to_leave(events: Stream, server: Scripted, there: Scripted) -> None:
    """Check that the next request is refused before anything is sent to `there`."""
    detail = f"{server.url} redirects to {there.url}, another origin, where the headers, body or credentials"
    with pytest.raises(StreamRefused, match=detail) as caught:
        next(events)
    assert caught.value.code == "redirected"
    assert caught.value.status in (301, 302, 303, 307, 308)
    assert there.requests == []


@pytest.mark.parametrize("options", [{"auth": ("user", "secret")}, {"headers": {"X-Api-Key": "k"}}])
def test_what_the_callers_client_adds_stays_within_the_origin(
    client: Client, options: dict[str, Any]
) -> None:
    with Scripted() as there, client.http(**options) as http:
        with Scripted(redirect("302 Found", "/next"), redirect("302 Found", there.url)) as server:
            refused_to_leave(follow(client, server, client=http), server, there)
    assert all(request.get("Authorization") or request.get("X-Api-Key") for request in server.requests)
    assert len(server.requests) == 2


def test_the_password_of_a_url_stays_within_the_origin(client: Client) -> None:
    with Scripted() as there, Scripted(redirect("302 Found", there.url)) as server:
        url = server.url.replace("//", "//user:secret@")
        refused_to_leave(client.connect(url, reconnect=QUICK), server, there)
    assert server.requests[0].get("Authorization")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"])
def test_a_body_stays_within_the_origin(client: Client, status: str) -> None:
    with Scripted() as there, Scripted(redirect(status, there.url)) as server:
        refused_to_leave(follow(client, server, body="a question"), server, there)


def test_a_request_with_harmless_headers_leaves_without_the_cookies_of_the_jar(client: Client) -> None:
    with Scripted(stream(b"data: a\n\n")) as there, client.http(cookies={"session": "s"}) as http:
        within = answer("302 Found", "Location: /next", "Set-Cookie: balancer=1")
        across = redirect("307 Temporary", there.url)
        with Scripted(within, across) as server:
            headers = {"User-Agent": "mine", "Accept-Language": "de"}
            with follow(client, server, headers=headers, last_event_id="7", client=http) as events:
                assert next(events).data == "a"
    assert sorted(server.requests[1].get("Cookie").split(b"; ")) == [b"balancer=1", b"session=s"]
    (request,) = there.requests
    assert [request.get(name) for name in ("User-Agent", "Accept-Language", "Last-Event-ID", "Cookie")] == [
        b"mine",
        b"de",
        b"7",
        None,
    ]
