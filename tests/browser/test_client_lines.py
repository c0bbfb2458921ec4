"""
The browser client by the lines of docs/reference/client-behaviour.md: each test has the number of its line.

Linear time is measured in js/test, where every vector is also split at every position.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

import tidewire
from support.browser_pages import new_context, wait_until
from support.ports import free_port
from support.scripted import HOLD, answer, chunked, single_bytes, stream
from support.site_of_a_page import HURRY, Case, Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MOVED = (301, 302, 303, 307, 308)
CORS = ["Access-Control-Allow-Origin: {origin}", "Access-Control-Allow-Credentials: true"]
ALLOW = ["Access-Control-Allow-Headers: last-event-id, authorization, x-page", "Access-Control-Max-Age: 60"]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def other() -> Iterator[Site]:
    """A server of another origin."""
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def page(browser: Browser, site: Site) -> Iterator[Page]:
    context = new_context(browser)
    page = context.new_page()
    page.add_init_script(HURRY)
    page.goto(site.url)
    yield page
    context.close()


@pytest.fixture
def case(page: Page, site: Site) -> Iterator[Case]:
    yield Case(page, site)
    page.evaluate("globalThis.stream?.close()")


def allowed(case: Case) -> list[str]:
    return [line.format(origin=case.site.url) for line in CORS]


def ids(case: Case, count: int) -> list[bytes | None]:
    """Return the Last-Event-ID of the first requests."""
    wait_until(lambda: len(case.requests) >= count)
    return [request["last-event-id"] for request in case.requests[:count]]


# -- A. the request


def test_A1_to_A4_and_A13_the_request(case: Case) -> None:
    case.listen(stream(b"id: 7\ndata: 1\n\n"), stream(b":\n\n", HOLD), url=f"{case.path}#part")
    assert ids(case, 2) == [None, b"7"]
    for request in case.requests:
        assert (request.method, request.body) == ("GET", b"")
        assert request["accept"] == b"text/event-stream"
        assert request["cache-control"] in (b"no-cache", b"no-store")
        assert request["tidewire-client"] == f"js/{tidewire.__version__}".encode()


def test_A5_an_id_is_sent_as_utf_8(case: Case) -> None:
    case.listen(
        stream("id: …\ndata: 1\n\n".encode()), stream("id: …\ndata: 1\n\n".encode()), stream(b":\n\n", HOLD)
    )
    assert ids(case, 3) == [None, "…".encode(), "…".encode()]


def test_A6_to_A9_which_id_is_sent(case: Case) -> None:
    case.listen(
        stream(b"id: 1\ndata: 1\n\nid\ndata: reset\n\n"),  # A6
        stream(b"id: 2\ndata: 2\n\nid: a\0b\ndata: kept\n\n"),  # A7
        stream(b"id: no data\n\n"),  # A8
        stream(b"id: 3\ndata: unfinished\n"),  # A9
        stream(b":\n\n", HOLD),
    )
    assert ids(case, 5) == [None, None, b"2", b"no data", b"no data"]
    assert case.run("stream.lastEventId") == "no data"


def test_A10_a_given_id_counts_as_received(case: Case) -> None:
    case.listen(stream(b"data: 1\n\n", HOLD), lastEventId="a.7")
    assert case.seen(2)[1]["id"] == "a.7"
    assert ids(case, 1) == [b"a.7"]


def test_A11_headers_are_sent_with_every_request(case: Case) -> None:
    case.listen(stream(), stream(b":\n\n", HOLD), headers={"X-Page": "orders"})
    wait_until(lambda: [request["x-page"] for request in case.requests] == [b"orders"] * 2)


@pytest.mark.parametrize("method", ["POST", "REPORT"])
def test_A12_method_and_body_are_sent_with_every_request(case: Case, method: str) -> None:
    case.listen(
        stream(),
        stream(b":\n\n", HOLD),
        method=method,
        body='{"é":1}',
        headers={"Content-Type": "application/json"},
    )
    wait_until(lambda: len(case.requests) == 2)
    for request in case.requests:
        assert (request.method, request.body) == (method, '{"é":1}'.encode())
        assert request["content-type"] == b"application/json"


def test_A15_cookies_are_sent_to_another_origin_only_on_request(case: Case, other: Site) -> None:
    elsewhere = Case(case.page, other)
    case.page.context.add_cookies([{"name": "who", "value": "ada", "url": other.url}])
    for options in ({}, {"withCredentials": True}, {"credentials": "omit"}):
        elsewhere.listen(
            stream(b":\n\n", HOLD, headers=allowed(case)), url=other.url + elsewhere.path, **options
        )
        assert elsewhere.seen(1)[0]["type"] == "open"
        assert elsewhere.run("stream.withCredentials") == ("withCredentials" in options)
        elsewhere.run("stream.close()")
    # Cookies ignore ports: to the browser the other origin is the same site.
    assert [request["cookie"] for request in elsewhere.requests] == [None, b"who=ada", None]


def test_A16_functions_for_headers_and_body_are_called_for_every_attempt(case: Case) -> None:
    functions = {
        "headers": "async ({ failures }) => ({ 'X-Page': `after ${failures}` })",
        "body": "({ failures }) => `body ${failures}`",
    }
    case.listen(
        answer("503 Busy"), answer("503 Busy"), stream(b":\n\n", HOLD), method="POST", functions=functions
    )
    wait_until(lambda: len(case.requests) == 3)
    assert [request["x-page"] for request in case.requests] == [b"after 0", b"after 1", b"after 2"]
    assert [request.body for request in case.requests] == [b"body 0", b"body 1", b"body 2"]


def test_A16_a_function_that_fails_is_called_again(case: Case) -> None:
    functions = {"headers": "({ failures }) => failures ? {} : Promise.reject(new Error('no token'))"}
    case.listen(stream(b":\n\n", HOLD), functions=functions)
    failed, opened = case.seen(2)
    assert (failed["reason"], failed["state"], opened["type"]) == ("request", 0, "open")


def test_A17_a_request_that_cannot_be_made_throws(case: Case) -> None:
    run = """async () => {
      const { EventStream } = await import("/tidewire.js");
      const tried = (...given) => {
        try {
          return new EventStream(...given).close();
        } catch (error) {
          return error.name;
        }
      };
      const bad = { headers: { "not a name": "1" } };
      return [tried("http://["), tried("/", bad), tried("/", { headers: { a: "\\0" } })];
    }"""
    assert case.run(run) == ["SyntaxError", "TypeError", "TypeError"]


# -- B. accepting or refusing the response


def test_B1_open_comes_first(case: Case) -> None:
    case.listen(stream(b"data: 1\n\n", HOLD))
    assert [(one["type"], one["data"], one["state"]) for one in case.seen(2)] == [
        ("open", None, 1),
        ("message", "1", 1),
    ]


def test_B2_to_B4_spellings_of_the_type(case: Case) -> None:
    for kind in ("TEXT/Event-Stream", "text/event-stream;", "text/event-stream; charset=windows-1252"):
        case.listen(stream("data: é\n\n".encode(), HOLD, content_type=kind))
        assert case.data(1) == ["é"], kind
        case.run("stream.close()")


@pytest.mark.parametrize("kind", ["text/html", "text/event-streamer", "text/x-bogus", "x bogus", ""])
def test_B4_and_B5_another_type_is_final(case: Case, kind: str) -> None:
    case.listen(stream(b"data: 1\n\n", content_type=kind))
    (error,) = case.seen(1)
    assert (error["reason"], error["status"], error["state"], error["final"]) == ("type", 200, 2, True)
    case.stays_closed()


@pytest.mark.parametrize("status", [204, 205, 210, 299, 400, 401, 403, 404, 410])
def test_B6_another_status_is_final(case: Case, status: int) -> None:
    body = [] if status in (204, 205) else [b"data: 1\n\n"]
    head = f"HTTP/1.1 {status} So\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    case.listen([head.encode(), *body])
    (error,) = case.seen(1)
    assert (error["reason"], error["status"]) == ("done" if status == 204 else "status", status)
    assert (error["state"], error["final"]) == (2, True)
    case.stays_closed()


def test_B7_204_on_a_reconnection_is_final(case: Case) -> None:
    case.listen(stream(b"data: 1\n\n"))
    assert case.types(4) == ["open", "message", "error", "error"]
    case.stays_closed()
    assert len(case.requests) == 2


def test_B8_transient_statuses_are_retried(case: Case) -> None:
    passing = [408, 425, 429, 500, 502, 503, 504]
    case.listen(*(answer(f"{status} Later") for status in passing), stream(b"data: on\n\n", HOLD))
    errors = case.errors(len(passing))
    assert [(one["status"], one["state"], one["final"]) for one in errors] == [
        (code, 0, False) for code in passing
    ]
    assert case.data(1) == ["on"]


def test_B8_retry_after_is_obeyed(case: Case) -> None:
    case.listen(answer("429 Too Many", "Retry-After: 120"), stream(b":\n\n", HOLD))
    assert 120_000 <= case.errors(1)[0]["delay"] <= 123_000
    assert case.types(2) == ["error", "open"]


def test_B9_a_network_error_is_retried(case: Case) -> None:
    case.listen(url=f"http://127.0.0.1:{free_port()}/")
    for error in case.errors(2)[:2]:
        assert (error["reason"], error["status"], error["state"]) == ("network", None, 0)
        assert error["delay"] >= 3000


def test_B10_an_impossible_scheme_is_final(case: Case) -> None:
    for url in ("ftp://localhost/", "about:blank", "mailto:a@b", "javascript:1"):
        case.listen(url=url)
        assert [(one["reason"], one["state"]) for one in case.seen(1)] == [("request", 2)]


def test_B11_the_error_has_the_details_of_the_answer(case: Case) -> None:
    problem = b'{"status":403,"code":"forbidden","detail":"not for you"}'
    script = answer("403 Forbidden", "Content-Type: application/problem+json", "X-Why: because", body=problem)
    run = """async (url) => {
      const { EventStream } = await import("/tidewire.js");
      return new Promise((done) => {
        new EventStream(url).onerror = ({ message, status, headers, failures, data, bubbles }) =>
          done([message, status, headers["x-why"], failures, data === undefined, bubbles]);
      });
    }"""
    case.site.scripts[case.path] = [script]
    assert case.page.evaluate(run, case.path) == ["not for you", 403, "because", 1, True, False]


def test_B12_after_an_empty_stream_it_reconnects(case: Case) -> None:
    case.listen(answer("200 OK", "Content-Type: text/event-stream"), stream(b":\n\n", HOLD))
    assert case.types(3) == ["open", "error", "open"]


# -- C. redirects
#
# Firefox keeps the connection of a redirected request when the page closes the stream. The servers end these
# connections, so that none is left over for the next tests.


@pytest.mark.parametrize("status", MOVED)
def test_C1_C2_and_C7_a_redirect_is_followed_for_each_request(case: Case, status: int) -> None:
    target = Case(case.page, case.site)
    bye = threading.Event()
    case.site.scripts[target.path] = [stream(b"id: 7\ndata: 1\n\n"), stream(b"data: 2\n\n", bye)]
    case.listen(*[answer(f"{status} Moved", f"Location: {target.path}")] * 2)
    assert case.types(5) == ["open", "message", "error", "open", "message"]
    assert case.run("stream.url") == case.site.url + case.path
    assert len(case.requests) == 2
    assert ids(target, 2) == [None, b"7"]
    assert {request["accept"] for request in target.requests} == {b"text/event-stream"}
    bye.set()


def test_C3_the_origin_is_that_of_the_last_url(case: Case, other: Site) -> None:
    first, target = Case(case.page, other), Case(case.page, other)
    other.scripts[first.path] = [answer("302 Found", f"Location: {target.path}", *allowed(case))]
    other.scripts[target.path] = [stream(b"data: 1\n\n", HOLD, headers=allowed(case))]
    run = """async (url) => {
      const { EventStream } = await import("/tidewire.js");
      globalThis.stream = new EventStream(url);
      return new Promise((done) => (stream.onmessage = ({ origin }) => done(origin)));
    }"""
    assert case.page.evaluate(run, other.url + first.path) == other.url


def test_C4_a_redirect_to_204_is_final(case: Case) -> None:
    case.listen(answer("302 Found", "Location: /stream/nothing"))
    assert [(one["reason"], one["state"]) for one in case.seen(1)] == [("done", 2)]


@pytest.mark.parametrize("status", [301, 307])
def test_C5_a_redirect_to_nowhere_is_an_error(case: Case, status: int) -> None:
    case.listen(answer(f"{status} Moved"))
    assert [(one["reason"], one["state"]) for one in case.seen(1)] == [("status", 2)]
    case.stays_closed()


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-Page": "secret"}},
        {"headers": {"Authorization": "Bearer x"}},
        {"method": "POST", "body": "x"},
    ],
    ids=["header", "authorization", "body"],
)
def test_C6_a_request_with_headers_or_a_body_follows_no_redirect(
    case: Case, other: Site, options: dict[str, Any]
) -> None:
    """Attack H10. Not even within the origin: the browser does not tell where a redirect leads."""
    for there in (Case(case.page, case.site), Case(case.page, other)):
        case.listen(answer("307 Moved", f"Location: {there.site.url}{there.path}"), **options)
        (error,) = case.seen(1)
        assert (error["reason"], error["status"], error["state"], error["final"]) == (
            "redirect",
            None,
            2,
            True,
        )
        case.stays_closed()
        assert there.requests == []


def test_C8_a_post_becomes_a_get_as_fetch_says(case: Case) -> None:
    for status, method in [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")]:
        target, bye = Case(case.page, case.site), threading.Event()
        case.site.scripts[target.path] = [stream(b":\n\n", bye)]
        case.listen(answer(f"{status} Moved", f"Location: {target.path}"), method="POST")
        assert case.types(1) == ["open"]
        assert target.requests[0].method == method, status
        case.run("stream.close()")
        bye.set()


def test_C9_endless_redirects_are_a_network_error(case: Case) -> None:
    case.listen(*[answer("302 Found", f"Location: {case.path}")] * 21)
    assert case.errors(1)[0]["reason"] == "network"


# -- D. the end of a stream, and reconnecting


def test_D1_D2_and_D10_after_the_end_of_a_stream_it_reconnects(case: Case) -> None:
    case.listen(stream(b"id: 1\ndata: 1\n\n"), stream(b"id: 2\ndata: 2\n\n", HOLD))
    found = [(one["type"], one["data"], one["state"], one["reason"]) for one in case.seen(5)]
    assert found == [
        ("open", None, 1, None),
        ("message", "1", 1, None),
        ("error", None, 0, "end"),
        ("open", None, 1, None),
        ("message", "2", 1, None),
    ]


def test_D3_to_D6_the_server_sets_the_wait(case: Case) -> None:
    case.listen(
        stream(b"data: 1\n\n"),  # D3: three seconds
        stream(b"retry:07000\ndata: 2\n\n"),
        stream(b"retry: soon\ndata: 3\n\n"),  # D5: it persists
        stream(b"retry: 0\ndata: 4\n\n"),  # not a busy loop
        stream(b":\n\n", HOLD),
    )
    assert case.data(4) == ["1", "2", "3", "4"]
    for error, wait in zip(case.errors(4), (3000, 7000, 7000, 500), strict=True):
        assert wait <= error["delay"] <= 1.1 * wait  # D6: no backoff after a clean end


def test_D7_it_waits_longer_while_attempts_fail(case: Case) -> None:
    case.listen(stream(b"retry: 500\n\n"), *[answer("503 Busy"), chunked(b"data: cut off", end=False)] * 3)
    delays = [error["delay"] for error in case.errors(7)][1:]
    for number, delay in enumerate(delays, 1):
        assert 500 <= delay <= min(30_500, 500 * 2**number)
    assert len({round(delay) for delay in delays}) > 1


def test_D8_D9_and_D11_what_a_new_connection_keeps(case: Case) -> None:
    case.listen(
        stream(b"id: 7\ndata: 1\n\nevent: tick\ndata: half\n\xc3"),
        stream(b"\xef\xbb\xbfdata: 2\n\n", HOLD),
    )
    assert [(one["type"], one["data"], one["id"]) for one in case.seen(5) if one["data"]] == [
        ("message", "1", "7"),
        ("message", "2", "7"),
    ]


def test_D12_reconnect_does_not_wait(case: Case) -> None:
    case.listen(answer("503 Busy", "Retry-After: 3600"), stream(b":\n\n", HOLD))
    case.errors(1)
    case.run("stream.reconnect()")
    assert case.types(2) == ["error", "open"]


def test_D13_after_silence_it_reconnects(case: Case) -> None:
    trickle = threading.Event()
    case.listen(
        stream(b": hello\n\n", trickle, b":", HOLD, headers=["Tidewire-Heartbeat: 0.4"]),
        stream(b"data: on\n\n", HOLD),
    )
    case.seen(1)
    trickle.set()
    assert case.data(1) == ["on"]
    assert [error["reason"] for error in case.errors(1)] == ["silent"]


@pytest.mark.parametrize("when", ["open", "message", "error"])
def test_D14_closed_in_a_handler_it_stays_closed(case: Case, when: str) -> None:
    go_on = threading.Event()
    case.listen(stream(go_on, b"data: 1\n\ndata: 2\n\n"), stream(b"data: never\n\n"))
    case.run(f"stream.on{when} = () => stream.close(); 0")
    if when == "open":
        case.run("stream.readyState && stream.close()")
    go_on.set()
    case.closed()
    case.stays_closed()
    assert len(case.requests) == 1
    assert [one["data"] for one in case.run("seen") if one["data"]] == {
        "open": [],
        "message": ["1"],
        "error": ["1", "2"],
    }[when]


def test_D14_closed_during_a_wait_it_stays_closed(case: Case) -> None:
    case.listen(stream(b"retry: 300000\ndata: 1\n\n"), stream(b"data: never\n\n"))
    case.errors(1)
    case.run("stream.close()")
    case.stays_closed()
    assert len(case.requests) == 1


def test_D16_a_loop_continues_over_connections(case: Case) -> None:
    go_on = threading.Event()
    scripts = [stream(go_on, f"id: {number}\ndata: {number}\n\n".encode()) for number in range(1, 5)]
    case.listen(*scripts)
    run = "(async () => { for await (const event of stream) taken.push(event.json()); return 'over'; })()"
    case.run(f"globalThis.taken = []; globalThis.loop = {run}; 0")
    go_on.set()
    assert case.run("loop") == "over"  # by a 204
    assert case.run("taken") == [1, 2, 3, 4]


def test_D16_a_loop_that_does_not_read_pauses_the_connection(case: Case) -> None:
    block = "".join(f"data: {number}\n\n" for number in range(10)).encode()
    go_on = threading.Event()
    case.listen(stream(b":\n\n", go_on, block, HOLD))
    case.run("globalThis.queue = stream.events({ buffer: 5 }); globalThis.taken = []; 0")
    go_on.set()
    case.data(10)
    take = "for (let n = 0; n < 10; n += 1) taken.push((await queue.next()).value.json())"
    case.run(f"(async () => {{ {take} }})()")
    assert case.run("taken") == list(range(10))
    case.run("queue.return()")


def test_D16_an_error_ends_a_loop(case: Case) -> None:
    run = """(async () => {
      try {
        for await (const event of stream) taken.push(event.data);
      } catch (error) {
        return [error.message, error.cause.status];
      }
    })()"""
    go_on = threading.Event()
    case.listen(stream(go_on, b"data: 1\n\n"), answer("404 Not Found"))
    case.run(f"globalThis.taken = []; globalThis.loop = {run}; 0")
    go_on.set()
    assert case.run("loop") == ["status 404 Not Found", 404]


# -- E. reading bytes


def test_E1_how_bytes_are_split_does_not_matter(case: Case) -> None:
    body = "\ufeffid: é\r\nevent: tick\r\ndata: 😀\r\n\r\ndata: 2\r\n\r\n".encode()
    case.listen([*stream(), *single_bytes(body), HOLD])
    assert [(one["type"], one["data"], one["id"]) for one in case.seen(3)[1:]] == [
        ("tick", "😀", "é"),
        ("message", "2", "é"),
    ]


def test_E1_a_crlf_may_be_split_anywhere(case: Case) -> None:
    body = b"data: 1\r\n\r\ndata: 2\r\n\r\n"
    for at in range(1, len(body)):
        pause = threading.Event()
        case.listen(stream(body[:at], pause, body[at:], HOLD))
        case.seen(1)
        pause.set()
        assert case.data(2) == ["1", "2"], at
        case.run("stream.close()")


def test_E2_a_last_cr_is_enough(case: Case) -> None:
    case.listen(stream(b"data: 1\r\r", HOLD))
    assert case.data(1) == ["1"]


def test_E3_a_body_without_a_length_is_read_as_it_arrives(case: Case) -> None:
    go_on = threading.Event()
    case.listen(stream(b"data: 1\n\n", go_on, b"data: 2\n\n", HOLD))
    assert case.data(1) == ["1"]
    go_on.set()
    assert case.data(2) == ["1", "2"]


def test_E4_a_compressed_stream_is_read_flush_by_flush(case: Case) -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    second = packer.compress(b"data: 2\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    go_on = threading.Event()
    case.listen(stream(first, go_on, second, HOLD, headers=["Content-Encoding: gzip"]))
    assert case.data(1) == ["1"]
    go_on.set()
    assert case.data(2) == ["1", "2"]


def test_E5_and_E6_large_events_and_many(case: Case) -> None:
    many = b"".join(b"data: %d\n\n" % number for number in range(2000))
    case.listen(stream(b"data: " + b"a" * 5_000_000 + b"\n\n" + b"data\n" * 10_000 + b"\n" + many, HOLD))
    wait_until(lambda: case.run("seen.length") == 2003)
    assert case.run("[seen[1].data.length, seen[2].data.length, seen.at(-1).data]") == [
        5_000_000,
        9_999,
        "1999",
    ]


def test_E5_an_event_that_is_too_large_is_an_error(case: Case) -> None:
    case.listen(stream(b"data: " + b"a" * (17 * 1024 * 1024), HOLD))
    (error,) = case.errors(1)
    assert (error["reason"], error["final"]) == ("size", True)
    case.stays_closed()


def test_E7_and_E8_a_body_that_is_not_a_stream_is_ignored(case: Case) -> None:
    case.listen(stream(b'{"error":"oops"}\n\n<html>\n\ndata: \xff\xfe\n\n', HOLD))
    assert case.data(1) == ["\ufffd\ufffd"]


# -- F. the interface


def test_F1_and_F3_it_has_the_shape_of_an_event_source(case: Case) -> None:
    run = """async (path) => {
      const { EventStream } = await import("/tidewire.js");
      const stream = (globalThis.stream = new EventStream(path, { withCredentials: true }));
      const constants = ({ CONNECTING, OPEN, CLOSED }) => [CONNECTING, OPEN, CLOSED];
      const facts = {
        constants: [...constants(EventStream), ...constants(stream)],
        first: [stream.readyState, stream.withCredentials, stream.onopen, stream.onmessage, stream.onerror],
      };
      const seen = [];
      const next = (type) => new Promise((done) => stream.addEventListener(type, done, { once: true }));
      stream.onmessage = () => seen.push("replaced");
      stream.onmessage = ({ data }) => seen.push(data);
      stream.onopen = () => seen.push("unset");
      stream.onopen = null;
      await Promise.all([next("message"), next("tick")]);
      facts.open = stream.readyState;
      stream.close();
      facts.closed = stream.readyState;
      return { ...facts, seen };
    }"""
    case.site.scripts[case.path] = [stream(b"data: 1\n\nevent: tick\ndata: 2\n\n", HOLD)]
    assert case.page.evaluate(run, case.path) == {
        "constants": [0, 1, 2, 0, 1, 2],
        "first": [0, True, None, None, None],
        "open": 1,
        "closed": 2,
        "seen": ["1"],
    }


def test_F2_close_dispatches_no_event(case: Case) -> None:
    case.listen(stream(b"data: 1\n\n", HOLD))
    case.seen(2)
    case.run("stream.close(); stream.close()")
    case.stays_closed()
    assert case.types(2) == ["open", "message"]


def test_F4_the_fields_of_a_message(case: Case) -> None:
    run = """async (path) => {
      const { EventStream } = await import("/tidewire.js");
      globalThis.stream = new EventStream(path);
      const event = await new Promise((done) => stream.addEventListener("tick", done));
      const { type, data, lastEventId, origin, topic, bubbles, cancelable } = event;
      const is = event instanceof MessageEvent;
      return { type, data, lastEventId, origin, topic, bubbles, cancelable, json: event.json(), is };
    }"""
    case.site.scripts[case.path] = [stream(b'id: 7\ntopic: orders/7\nevent: tick\ndata: {"a":1}\n\n', HOLD)]
    assert case.page.evaluate(run, case.path) == {
        "type": "tick",
        "data": '{"a":1}',
        "lastEventId": "7",
        "origin": case.site.url,
        "topic": "orders/7",
        "bubbles": False,
        "cancelable": False,
        "json": {"a": 1},
        "is": True,
    }


def test_F5_events_named_open_and_error_do_not_reach_the_listeners_of_the_connection(case: Case) -> None:
    """Attack H09; js/test has all the names."""
    case.listen(stream(b"event: error\ndata: not ours\n\nevent: open\ndata: nor this\n\n", HOLD))
    found = [(one["type"], one["data"], one["state"]) for one in case.seen(3)]
    assert found == [("open", None, 1), ("event:error", "not ours", 1), ("event:open", "nor this", 1)]


def test_F10_a_page_that_was_cached_resumes(case: Case) -> None:
    case.listen(stream(b"id: 7\ndata: 1\n\n", HOLD), stream(b"id: 8\ndata: 2\n\n", HOLD))
    case.data(1)
    case.run("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    assert case.run("stream.readyState") == 0
    case.run("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    assert case.data(2) == ["1", "2"]
    assert ids(case, 2) == [None, b"7"]
    assert case.types(4) == ["open", "message", "open", "message"]


def test_F11_an_id_is_sent_to_another_origin(case: Case, other: Site) -> None:
    """With a short, plain id a native EventSource needs no preflight. fetch() needs one for every id."""
    first = stream(b"retry: 10\nid: aK3x9Q.1042\ndata: 1\n\n", headers=allowed(case))
    second = stream(b"data: 2\n\n", HOLD, headers=allowed(case))
    native = Case(case.page, other)
    other.scripts[native.path] = [first, second]
    native.run(f"() => {{ globalThis.stream = new EventSource('{other.url}{native.path}') }}")
    native.run("() => { globalThis.seen = []; stream.onmessage = ({ data }) => seen.push(data) }")
    wait_until(lambda: len(native.requests) == 2)
    native.run("stream.close()")
    assert [(one.method, one["last-event-id"]) for one in native.requests] == [
        ("GET", None),
        ("GET", b"aK3x9Q.1042"),
    ]
    ours = Case(case.page, other)
    may = answer("204 No Content", *allowed(case), *ALLOW)
    assert ours.listen(first, may, second, url=other.url + ours.path).data(2) == ["1", "2"]
    assert [one.method for one in ours.requests] == ["GET", "OPTIONS", "GET"]
    assert ours.requests[-1]["last-event-id"] == b"aK3x9Q.1042"


def test_F11_an_id_reaches_another_origin_that_answers_no_preflight(case: Case, other: Site) -> None:
    ours = Case(case.page, other)
    first = stream(b"retry: 10\nid: 7\ndata: 1\n\n", headers=allowed(case))
    second = stream(b"data: 2\n\n", HOLD, headers=allowed(case))
    by_query = f"{ours.path}?after=7"
    other.scripts[by_query] = [second]
    ours.listen(first, answer("404 Not Found"), url=other.url + ours.path, idParameter="after")
    assert ours.data(2) == ["1", "2"]
    assert [one.method for one in ours.requests] == ["GET", "OPTIONS"]
    (request,) = other.requests[by_query]
    assert (request.method, request["last-event-id"]) == ("GET", None)


def test_F12_a_refusal_by_cors_is_a_network_error(case: Case, other: Site) -> None:
    # fetch() reports it like a network that is down.
    elsewhere = Case(case.page, other)
    elsewhere.listen(stream(b"data: 1\n\n", HOLD), url=other.url + elsewhere.path)
    assert [(one["type"], one["reason"]) for one in elsewhere.seen(1)][:1] == [("error", "network")]


# -- what EventSource does not have


def test_a_star_listener_gets_every_type(case: Case) -> None:
    go_on = threading.Event()
    case.listen(
        stream(
            b":\n\n",
            go_on,
            b"event: hub.position\nid: a.1\ndata:\n\ndata: 1\n\nevent: tick\ndata: 2\n\n"
            b'event: hub.gap\nid: a.5\ndata: {"reason":"trimmed"}\n\n'
            b'event: hub.end\nid: a.6\ndata: {"topic":"news","reason":"ended"}\n\n',
            HOLD,
        )
    )
    case.seen(1)
    case.run("""
      globalThis.all = [];
      stream.addEventListener("*", ({ detail }) => all.push([detail.type, detail.lastEventId]));
      for (const type of ["gap", "end"]) {
        stream.addEventListener(type, () => all.push(type));
        stream.addEventListener(`hub.${type}`, (event) => all.push([type, event.json().reason]));
      }
    """)
    go_on.set()
    wait_until(lambda: case.run("all.length") == 6)
    assert case.run("all") == [
        ["message", "a.1"],
        ["tick", "a.1"],
        ["gap", "trimmed"],
        ["hub.gap", "a.5"],
        ["end", "ended"],
        ["hub.end", "a.6"],
    ]


def test_when_the_page_is_online_or_visible_it_does_not_wait(case: Case) -> None:
    case.listen(*[answer("503 Busy", "Retry-After: 3600")] * 2, stream(b":\n\n", HOLD))
    for number, event in enumerate(
        ["dispatchEvent(new Event('online'))", "document.dispatchEvent(new Event('visibilitychange'))"], 1
    ):
        case.errors(number)
        case.run(event)
    assert case.types(3) == ["error", "error", "open"]


def test_a_position_survives_a_reload(case: Case) -> None:
    case.listen(stream(b"id: 7\ndata: 1\n\n", HOLD), persist="orders")
    case.data(1)
    case.page.reload()
    case.listen(stream(b"id: 8\ndata: 2\n\n", HOLD), persist="orders")
    assert case.data(1) == ["2"]
    assert ids(case, 2) == [None, b"7"]
    case.page.evaluate("sessionStorage.clear()")
