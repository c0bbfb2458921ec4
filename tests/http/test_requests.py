"""http.requests: what a request asks for, read from its ASGI scope."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import pytest

from tidewire.errors import (
    Forbidden,
    HeadTooLarge,
    InvalidInput,
    Misdirected,
    NotAcceptable,
    TidewireError,
    TooMany,
    UnsupportedMediaType,
)
from tidewire.http.answers import problem, stream_head
from tidewire.http.origins import Cors, check_host
from tidewire.http.requests import (
    EndRequest,
    HistoryRequest,
    IngestRequest,
    PublishJsonRequest,
    PublishRequest,
    Request,
    SubscribeRequest,
    read_publication,
    read_since,
    read_subscription,
)
from tidewire.log.entries import Since
from tidewire.position import Position


def request(
    path: str = "/events/a",
    method: str = "GET",
    root: str = "",
    client: str | None = "203.0.113.7",
    **headers: str,
) -> Request:
    path, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": root + path,
        "raw_path": (root + path).encode(),
        "root_path": root,
        "client": client and (client, 50_000),
        "query_string": query.encode(),
        "headers": [
            (name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()
        ],
    }
    return Request(scope)


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"path": "/events/a b", "raw_path": b"/events/a%20b"}, "/events/a b"),
        ({"path": "/events/a%2Fb", "raw_path": b"/events/a%252Fb"}, "/events/a%2Fb"),
        ({"path": "/hub/events/a", "raw_path": b"/hub/events/a", "root_path": "/hub"}, "/events/a"),
        ({"path": "/hub/events/a", "raw_path": b"/hub/events/a", "root_path": "/hub/"}, "/events/a"),
        # Some servers leave out the mount point or the raw path, or append the query to it.
        ({"path": "/events/a", "raw_path": b"/events/a", "root_path": "/hub"}, "/events/a"),
        ({"path": "/events/a"}, "/events/a"),
        ({"path": "/events/a", "raw_path": b"/events/a?x=1"}, "/events/a"),
        ({"path": "/hubs/a", "raw_path": b"/hubs/a", "root_path": "/hub"}, "/hubs/a"),
        ({"path": "/hub/a", "raw_path": b"/hub/hub/a", "root_path": "/hub"}, "/hub/a"),
        # Middleware rewrites the path and leaves the raw one.
        ({"path": "/events/a", "raw_path": b"/v1/stream/a"}, "/events/a"),
        ({"path": "/hub/events/a", "raw_path": b"/v1/stream/a", "root_path": "/hub"}, "/events/a"),
        ({"path": "/events/a/", "raw_path": b"/v1/stream/a"}, "/events/a/"),
        # Litestar cuts the mount point off, and adds a slash if there is none.
        ({"path": "/events/a/", "raw_path": b"/hub/events/a"}, "/events/a"),
        ({"path": "/events/a/", "raw_path": b"/hub/events/a/"}, "/events/a/"),
        ({"path": "/events/a b/", "raw_path": b"/hub/events/a%20b"}, "/events/a b"),
    ],
)
def test_path_below_the_mount(scope: dict[str, Any], path: str) -> None:
    assert Request({"method": "GET", "headers": [], **scope}).path == path


def test_a_path_or_query_that_is_not_utf8() -> None:
    with pytest.raises(InvalidInput):
        request("/events/%ff")
    with pytest.raises(InvalidInput):
        request("/events/a?topic=%ff")


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("now", Since("now")),
        ("start", Since("start")),
        ("last:5", Since("last", 5)),
        ("90s", Since("ago", 90)),
        ("10m", Since("ago", 600)),
        ("2h", Since("ago", 7200)),
        ("1d", Since("ago", 86_400)),
        ("abcdef.7", Position("abcdef", 7)),
        ("2026-01-01T00:00:00Z", Since("at", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp())),
        ("2026-01-01", Since("at", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp())),
    ],
)
def test_since(text: str, since: object) -> None:
    assert read_since(text) == since


ELEVEN = datetime.datetime(2026, 1, 1, 11, tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T12:00:00%2B01:00",
        "2026-01-01T12:00:00+01:00",
        "2026-01-01T12:00+0100",
        "2026-01-01 12:00:00+01:00",
        "2026-01-01+12:00+01",
        # These are dates and times, not dates with offsets.
        "2026-01-01+11:00",
        "2026-01-01%2011:00",
    ],
)
def test_the_plus_of_an_offset_need_not_be_escaped(text: str) -> None:
    wanted = read_subscription(request(f"/events/a?since={text}"), "a", 10)
    assert wanted.claim == Since("at", ELEVEN)


BAD_SINCE = [
    "",
    "yesterday",
    "last:",
    "last:-1",
    "last:x",
    "last:99999999999",
    "10",
    "10y",
    "-1m",
    "1.5h",
    "٣m",
    "last 5",
    "10 m",
    "2026-01-01T12:00 ",
    "2026-01-01T12:00 01:00 01:00",
]


@pytest.mark.parametrize("text", BAD_SINCE)
def test_invalid_since(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_since(text)
    assert caught.value.code == "invalid_since"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, SubscribeRequest),
        ("text/event-stream", SubscribeRequest),
        ("*/*", SubscribeRequest),
        ("text/html, */*;q=0.8", SubscribeRequest),
        ("application/json", HistoryRequest),
        ("application/json, text/event-stream", SubscribeRequest),
        ("application/json;q=0.9, */*;q=0.1", HistoryRequest),
    ],
)
def test_accept_chooses_between_stream_and_history(accept: str | None, kind: type) -> None:
    headers = {} if accept is None else {"accept": accept}
    assert isinstance(read_subscription(request(**headers), "a", 10), kind)


def test_a_get_that_accepts_neither() -> None:
    with pytest.raises(NotAcceptable):
        read_subscription(request(accept="text/html"), "a", 10)


def test_where_a_subscription_starts() -> None:
    def claim(path: str, **headers: str) -> object:
        return read_subscription(request(path, **headers), "a", 10).claim

    assert claim("/events/a") == Since("now")
    assert claim("/events/a", accept="application/json") == Since("start")
    assert claim("/events/a?since=start") == Since("start")
    assert claim("/events/a?last_event_id=abcdef.1&since=start") == Position("abcdef", 1)
    assert claim("/events/a?last_event_id=abcdef.1", last_event_id="abcdef.2") == Position("abcdef", 2)
    for name in ("last_event_id", "lastEventId", "lastEventID", "Last-Event-ID"):
        assert claim(f"/events/a?{name}=abcdef.1&since=start") == Position("abcdef", 1)
        assert claim(f"/events/a?{name}=abcdef.1", last_event_id="abcdef.2") == Position("abcdef", 2)
    assert claim("/events/a?last_event_id=abcdef.3&lastEventId=abcdef.1&lastEventId=abcdef.2") == Position(
        "abcdef", 2
    )
    assert claim("/events/a", last_event_id="what") == Since("invalid")
    # Some clients without an id send an empty header.
    assert claim("/events/a?since=start", last_event_id="") == Since("start")
    with pytest.raises(HeadTooLarge):
        claim("/events/a", last_event_id="x" * 5000)


@pytest.mark.parametrize(
    "name", ["LastEventId", "last-event-id", "lasteventid", "_Last_Event-ID", "LAST_EVENT_ID"]
)
def test_a_parameter_that_reads_like_the_last_event_id_is_refused(name: str) -> None:
    for headers in ({}, {"last_event_id": "abcdef.1"}):
        with pytest.raises(InvalidInput) as caught:
            read_subscription(request(f"/events/a?{name}=abcdef.1", **headers), "a", 10)
        assert (caught.value.status, caught.value.code) == (400, "invalid_query")


def test_control() -> None:
    def read(query: str) -> object:
        wanted = read_subscription(request(f"/events/a?{query}"), "a", 10)
        assert isinstance(wanted, SubscribeRequest)
        return wanted.wants_hub_open, wanted.plain

    assert read("") == (False, False)
    assert read("control=open") == (True, False)
    assert read("control=none") == (False, True)
    with pytest.raises(InvalidInput):
        read("control=all")


def test_publications() -> None:
    def read(method: str, path: str, topic: str | None = None, **headers: str) -> object:
        return read_publication(request(path, method, **headers), topic)

    assert read("POST", "/events/a?event=e&retry=1000", "a", idempotency_key="k") == PublishRequest(
        "a", "e", 1000, "k"
    )
    assert read("POST", "/events/a", "a", event_type="é".encode().decode("latin-1")) == PublishRequest(
        "a", "é", None, None
    )
    assert read("POST", "/events?topic=..") == PublishRequest("..", "message", None, None)
    assert read("POST", "/events") == PublishJsonRequest(None)
    for kind in ("application/x-ndjson", "application/ndjson", "application/jsonl"):
        assert read("POST", "/events", content_type=kind) == IngestRequest(None, False)
    assert read("POST", "/events?receipts=each", content_type="application/x-ndjson; x") == IngestRequest(
        None, True
    )
    assert read("DELETE", "/events/a", "a") == EndRequest("a", "ended")
    assert read("DELETE", "/events?topic=a&reason=done") == EndRequest("a", "done")


@pytest.mark.parametrize(
    ("method", "path", "headers", "error", "code"),
    [
        ("DELETE", "/events", {}, InvalidInput, "missing_topic"),
        ("POST", "/events?topic=a&topic=b", {}, InvalidInput, "invalid_query"),
        ("POST", "/events?topic=a&retry=1e3", {}, InvalidInput, "invalid_retry"),
        ("POST", "/events?topic=a&event=a&event=b", {}, InvalidInput, "invalid_query"),
        ("POST", "/events", {"content_type": "text/plain"}, UnsupportedMediaType, "unsupported_media_type"),
        ("POST", "/events", {"content_encoding": "gzip"}, UnsupportedMediaType, "unsupported_media_type"),
        (
            "POST",
            "/events?receipts=all",
            {"content_type": "application/x-ndjson"},
            InvalidInput,
            "invalid_query",
        ),
        ("POST", "/events?topic=a", {"event_type": "\xff"}, InvalidInput, "invalid_utf8"),
    ],
)
def test_publications_that_are_refused(
    method: str, path: str, headers: dict[str, str], error: type[TidewireError], code: str
) -> None:
    with pytest.raises(error) as caught:
        read_publication(request(path, method, **headers), None)
    assert caught.value.code == code


def test_cross_site_rule() -> None:
    cors = Cors(["https://friend.example"])
    own = {"host": "hub.example", "origin": "https://hub.example"}
    cors.check(request(method="POST", **own))
    cors.check(request(method="POST", host="hub.example", origin="https://friend.example"))
    cors.check(request(method="POST", host="hub.example"))
    cors.check(request(host="hub.example", origin="https://evil.example"))
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"origin": "https://hub.example.evil.example"},
    ):
        with pytest.raises(Forbidden):
            cors.check(request(method="POST", host="hub.example", **headers))
    with pytest.raises(Forbidden):
        cors.check(request(host="hub.example", origin="https://evil.example", cookie="a=b"))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://hub.example", "hub.example:443"),
        ("http://hub.example", "hub.example:80"),
        ("https://hub.example:8443", "hub.example:8443"),
        ("http://[::1]", "[::1]:80"),
    ],
)
def test_default_ports_make_no_other_origin(origin: str, host: str) -> None:
    Cors([]).check(request(method="POST", host=host, origin=origin))
    Cors([origin + {"http": ":80", "https": ":443"}[origin.partition(":")[0]]])
    with pytest.raises(Forbidden):
        Cors([]).check(request(method="POST", host=host.rpartition(":")[0] + ":81", origin=origin))


def test_an_allowed_origin_may_name_its_default_port() -> None:
    cors = Cors(["https://Friend.example:443"])
    cors.check(request(method="POST", host="hub.example", origin="https://friend.example"))


def test_a_browser_says_itself_that_a_page_is_the_hubs_own() -> None:
    page = {"origin": "http://localhost:5173", "host": "localhost:8000"}  # behind Vite with changeOrigin
    Cors([]).check(request(method="POST", sec_fetch_site="same-origin", **page))
    for site in ("same-site", "cross-site", "none"):
        with pytest.raises(Forbidden):
            Cors([]).check(request(method="POST", sec_fetch_site=site, **page))


@pytest.mark.parametrize(
    ("headers", "client", "own"),
    [
        ({}, "127.0.0.1", True),
        ({}, None, True),  # on a unix socket
        ({}, "203.0.113.7", False),
        ({"x_forwarded_for": "198.51.100.1, 203.0.113.7"}, "203.0.113.7", True),
        ({"x_forwarded_for": "198.51.100.1"}, "203.0.113.7", False),
        ({"sec_fetch_site": "cross-site"}, "127.0.0.1", False),
    ],
)
def test_a_trusted_proxy_says_which_host_it_is(
    headers: dict[str, str], client: str | None, own: bool
) -> None:
    page = {"host": "backend:8000", "origin": "https://hub.example", "x_forwarded_host": "hub.example, b"}
    asked = request(method="POST", client=client, **page, **headers)
    with contextlib.nullcontext() if own else pytest.raises(Forbidden):
        Cors([]).check(asked)


def test_a_foreign_page_is_one_line_that_says_how_to_allow_it(caplog: pytest.LogCaptureFixture) -> None:
    cors = Cors([])
    for _ in range(3):
        for origin in ("https://app.example", "https://other.example", "null", "http://["):
            cors.check(request(host="hub.example", origin=origin))
            with pytest.raises(Forbidden):
                cors.check(request(method="POST", host="hub.example", origin=origin))
        cors.check(request(host="hub.example", origin="https://hub.example"))
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "no CORS header for the GET of a page of https://app.example",
        "refused the POST of a page of https://app.example",
        "no CORS header for the GET of a page of https://other.example",
        "refused the POST of a page of https://other.example",
    ]
    assert "--allowed-origin https://app.example " in caplog.messages[0]


def test_the_log_does_not_grow_with_the_origins_that_are_sent(caplog: pytest.LogCaptureFixture) -> None:
    cors = Cors([])
    for number in range(1_000):
        cors.check(request(host="hub.example", origin=f"https://{number}.example"))
    assert len(caplog.messages) == 100


@pytest.mark.parametrize(
    "origin",
    ["*", "friend.example", "https://", "https://friend.example/", "ftp://x", "", "http://[", "http://a]b"],
)
def test_allowed_origins_are_checked(origin: str) -> None:
    with pytest.raises(InvalidInput):
        Cors([origin])


def test_host_rule() -> None:
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:80", "hub.example", "hub.example:1"):
        check_host(request(host=host), {"hub.example"})
    for host in ("evil.example", "localhost.evil.example", "hub.example.evil", ""):
        with pytest.raises(Misdirected):
            check_host(request(host=host), {"hub.example"})
    with pytest.raises(Misdirected):
        check_host(request(), set())


def test_stream_head_of_http_2_has_no_hop_by_hop_header() -> None:
    assert (b"connection", b"close") in stream_head("1.1", 15)
    # Node before version 24 would take a cut for the end.
    assert b"connection" not in dict(stream_head("1.1", 15, plain=True))
    assert (b"connection", b"close") in stream_head("1.0", 15, plain=True)
    assert b"connection" not in dict(stream_head("2", 15))
    assert dict(stream_head("2", 2.5))[b"tidewire-heartbeat"] == b"2.5"


def test_problem() -> None:
    status, headers, body = problem(TooMany("wait", retry_after=2.4, limit=3), publish=True)
    assert status == 429
    assert dict(headers)[b"retry-after"] == b"2"
    assert b'"limit":3' in body
    assert b'"stored":false' in body
    assert b"stored" not in problem(TooMany("wait"), publish=False)[2]
