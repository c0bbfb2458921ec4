"""The browser client, in browsers: the shared vectors, and its life over a server that plays scripts."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pages import OpenPage, wait_until

import tidewire
from scripted import HOLD, Action, answer, chunked, stream

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLIENT = Path(tidewire.__file__).with_name("web") / "tidewire.js"
VECTORS = Path(__file__).parents[1] / "vectors" / "event_stream.json"

# A hundred times as fast, and every wait is written down.
HURRY = """
globalThis.waits = [];
const sleep = globalThis.setTimeout;
globalThis.setTimeout = (run, ms, ...rest) => {
  waits.push(ms);
  return sleep(run, ms / 100, ...rest);
};
"""

OPEN = """
async ([url, options]) => {
  const { EventStream } = await import("/tidewire.js");
  globalThis.seen = [];
  globalThis.stream = new EventStream(url, options);
  for (const type of ["open", "message", "error", "tick"]) {
    stream.addEventListener(type, (event) => {
      seen.push([type, event.data ?? null, event.lastEventId ?? null, stream.readyState]);
    });
  }
}
"""


class Site:
    """The page's own server: an empty page, the client, and `/stream`, which plays the scripts in turn."""

    def __init__(self) -> None:
        self.scripts: list[Sequence[Action]] = []
        self.requests: list[dict[str, bytes]] = []
        self.left = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/stream":
                    site.play(self)
                elif self.path == "/tidewire.js":
                    self.give("text/javascript", CLIENT.read_bytes())
                else:
                    self.give("text/html", b"<!doctype html><title>empty</title>")

            def give(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def play(self, handler: BaseHTTPRequestHandler) -> None:
        # What came over the wire, byte for byte: the handler read it as Latin-1.
        self.requests.append({k.lower(): v.encode("latin-1") for k, v in handler.headers.items()})
        script = self.scripts.pop(0) if self.scripts else answer("204 No Content")
        handler.close_connection = True
        for action in script:
            if isinstance(action, bytes):
                handler.wfile.write(action)
            elif isinstance(action, threading.Event):
                assert action.wait(20)
            elif action == HOLD:
                handler.rfile.read(1)
                self.left.set()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def listen(open_page: OpenPage, site: Site, *scripts: Sequence[Action], **options: Any) -> Page:
    site.scripts = list(scripts)
    page = open_page(site.url, script=HURRY)
    page.evaluate(OPEN, ["/stream", options])
    return page


def seen(page: Page, count: int) -> list[Any]:
    """Return what the page saw, when it has seen `count` things."""
    wait_until(lambda: page.evaluate("seen.length") >= count)
    found: list[Any] = page.evaluate("seen")
    return found


def test_it_is_small() -> None:
    assert len(gzip.compress(CLIENT.read_bytes(), 9)) <= 5 * 1024


def test_its_version_is_the_package_s() -> None:
    found = re.search(r'^const VERSION = "(.+)";$', CLIENT.read_text(), re.MULTILINE)
    assert found
    assert found.group(1) == tidewire.__version__


# -- reading


def test_every_vector_passes_however_its_bytes_are_cut(open_page: OpenPage, site: Site) -> None:
    run = """
    async (cases) => {
      const { Decoder } = await import("/tidewire.js");
      const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
      const failed = [];
      let runs = 0;
      for (const one of cases) {
        const given = one.chunks_b64.map(bytes);
        const whole = bytes(btoa(one.chunks_b64.map(atob).join("")));
        const every = (size) =>
          Array.from({ length: Math.ceil(whole.length / size) }, (_, index) =>
            whole.subarray(index * size, (index + 1) * size));
        const cuts = [given, [whole], every(1), every(2)];
        for (let at = 0; at <= whole.length; at += 1) cuts.push([whole.subarray(0, at), whole.subarray(at)]);
        for (const [index, chunks] of cuts.entries()) {
          runs += 1;
          const decoder = new Decoder(one.initial_last_event_id ?? "");
          const events = [];
          const counts = chunks.map((chunk) => events.push(...decoder.feed(chunk)) && events.length);
          const got = events.map(({ type, data, lastEventId: id }) => ({ type, data, id }));
          const same =
            JSON.stringify(got) === JSON.stringify(one.expect) &&
            (one.retry_free || decoder.retry === one.expect_retry) &&
            decoder.lastEventId === one.expect_last_event_id &&
            (index > 0 || !one.expect_counts || `${counts}` === `${one.expect_counts}`);
          if (!same) {
            failed.push([one.name, index, got, decoder.retry, decoder.lastEventId, counts]);
            break;
          }
        }
      }
      return [runs, failed];
    }
    """
    cases = json.loads(VECTORS.read_text())
    # One spelling of an event for the comparison: the keys in one order.
    for case in cases:
        case["expect"] = [{key: event[key] for key in ("type", "data", "id")} for event in case["expect"]]
    runs, failed = open_page(site.url).evaluate(run, cases)
    assert failed == []
    assert runs > 20_000


def test_reading_takes_linear_time_and_bounded_memory(open_page: OpenPage, site: Site) -> None:
    run = """
    async () => {
      const { Decoder } = await import("/tidewire.js");
      const text = (value) => new TextEncoder().encode(value);
      const decoder = new Decoder();
      const piece = new Uint8Array(64).fill(97);
      decoder.feed(text("data: "));
      for (let fed = 0; fed < 10_000_000; fed += 64) decoder.feed(piece);
      const [event] = decoder.feed(text("\\n\\n"));
      const block = new Uint8Array(1024 * 1024).fill(97);
      const raised = [];
      for (const field of ["data: ", ": "]) {
        decoder.reset();
        decoder.feed(text(field));
        try {
          for (let fed = 0; fed < 20; fed += 1) decoder.feed(block);
        } catch (error) {
          raised.push(error.name);
        }
        decoder.reset();
      }
      return [event.data.length, raised, decoder.feed(text("data: on\\n\\n"))[0].data];
    }
    """
    assert open_page(site.url).evaluate(run) == [10_000_000, ["RangeError", "RangeError"], "on"]


def test_it_hands_out_what_came(open_page: OpenPage, site: Site) -> None:
    body = b"id: 1\ndata: a\ndata: b\n\nevent: tick\ndata: c\n\nevent: error\ndata: not ours\n\n"
    page = listen(open_page, site, stream(body, HOLD))
    assert seen(page, 4) == [
        ["open", None, None, 1],
        ["message", "a\nb", "1", 1],
        ["tick", "c", "1", 1],
        ["error", "not ours", "1", 1],
    ]


# -- a drop-in for EventSource


def test_it_has_the_shape_of_an_event_source(open_page: OpenPage, site: Site) -> None:
    run = """
    async (origin) => {
      const { EventStream } = await import("/tidewire.js");
      const stream = new EventStream("stream#part", { withCredentials: true });
      const constants = ({ CONNECTING, OPEN, CLOSED }) => [CONNECTING, OPEN, CLOSED];
      const handlers = ({ onopen, onmessage, onerror }) => [onopen, onmessage, onerror];
      const next = (type) => new Promise((done) => stream.addEventListener(type, done, { once: true }));
      const facts = {
        constants: [...constants(EventStream), ...constants(stream)],
        first: [stream.readyState, stream.url, stream.withCredentials, ...handlers(stream)],
      };
      const seen = [];
      const first = (event) => seen.push(`first ${event.data}`);
      stream.onmessage = first;
      facts.set = stream.onmessage === first;
      stream.onmessage = (event) => seen.push(`second ${event.data}`);
      stream.onopen = () => seen.push("nobody should hear this");
      stream.onopen = null;
      const [message] = await Promise.all([next("message"), next("tick")]);
      const { bubbles, cancelable } = message;
      facts.message = [message.constructor.name, message.origin === origin, bubbles, cancelable];
      stream.onerror = () => seen.push("an error after close");
      stream.close();
      stream.close();
      facts.closed = stream.readyState;
      await new Promise((resolve) => setTimeout(resolve, 300));
      facts.seen = seen;
      try {
        new EventStream("http://[");
      } catch (error) {
        facts.bogus = [error.name, error.constructor.name];
      }
      return facts;
    }
    """
    site.scripts = [stream(b"data: 1\n\nevent: tick\ndata: 2\n\n", HOLD)]
    facts = open_page(site.url).evaluate(run, site.url)
    assert facts == {
        "constants": [0, 1, 2, 0, 1, 2],
        "first": [0, f"{site.url}/stream#part", True, None, None, None],
        "set": True,
        "message": ["MessageEvent", True, False, False],
        "closed": 2,
        "seen": ["second 1"],
        "bogus": ["SyntaxError", "DOMException"],
    }
    assert site.left.wait(5)
    assert len(site.requests) == 1


def test_the_request_says_who_asks_and_where_it_was(open_page: OpenPage, site: Site) -> None:
    page = listen(
        open_page,
        site,
        stream("id: …\ndata: 1\n\n".encode()),
        stream(b"id\ndata: 2\n\nid: half"),
        stream(b"id: no data\n\n"),
        stream(b"data: 3\n\n", HOLD),
    )
    wait_until(lambda: page.evaluate("seen.at(-1)?.[1] === '3'"))
    assert [request.get("last-event-id") for request in site.requests] == [
        None,
        "…".encode(),
        None,
        b"no data",
    ]
    for request in site.requests:
        assert request["accept"] == b"text/event-stream"
        assert request["cache-control"] in (b"no-cache", b"no-store")
        assert request["tidewire-client"] == f"js/{tidewire.__version__}".encode()
    assert page.evaluate("stream.lastEventId") == "no data"


def test_it_goes_on_where_another_page_was(open_page: OpenPage, site: Site) -> None:
    page = listen(
        open_page,
        site,
        stream(b"data: 1\n\n", HOLD),
        lastEventId="a.7",
        headers={"Authorization": "Bearer x"},
    )
    assert seen(page, 2)[1] == ["message", "1", "a.7", 1]
    assert site.requests[0]["last-event-id"] == b"a.7"
    assert site.requests[0]["authorization"] == b"Bearer x"


# -- coming back, or not


def test_it_outlives_what_may_pass(open_page: OpenPage, site: Site) -> None:
    passing = ["425 Too Early", "429 Too Many", "500 Oops", "502 Gone", "503 Busy"]
    page = listen(open_page, site, *map(answer, passing), stream(b"data: on\n\n", HOLD))
    found = [(kind, state) for kind, _, _, state in seen(page, 7)]
    assert found == [("error", 0)] * 5 + [("open", 1), ("message", 1)]


STOPS = {
    "204": answer("204 No Content"),
    "404": answer("404 Not Found"),
    "401": answer("401 Unauthorized"),
    "html": stream(b"data: 1\n\n", content_type="text/html"),
    "longer type": stream(b"data: 1\n\n", content_type="text/event-streamer"),
}


def test_it_stops_at_what_will_not_pass(open_page: OpenPage, site: Site) -> None:
    page = open_page(site.url, script=HURRY)
    for number, (name, script) in enumerate(STOPS.items(), 1):
        site.scripts = [script]
        page.evaluate(OPEN, ["/stream", {}])
        assert seen(page, 1) == [["error", None, None, 2]], name
        page.wait_for_timeout(100)  # ten seconds in a hurry
        assert len(site.requests) == number, name


def test_it_takes_every_spelling_of_the_type(open_page: OpenPage, site: Site) -> None:
    page = open_page(site.url, script=HURRY)
    for kind in ("TEXT/Event-Stream", "text/event-stream;", "text/event-stream; charset=windows-1252"):
        site.scripts = [stream("data: é\n\n".encode(), HOLD, content_type=kind)]
        page.evaluate(OPEN, ["/stream", {}])
        assert seen(page, 2)[1][1] == "é", kind
        page.evaluate("stream.close()")


def test_it_waits_as_long_as_it_was_told(open_page: OpenPage, site: Site) -> None:
    page = listen(
        open_page,
        site,
        answer("429 Too Many", "Retry-After: 120"),
        stream(b"retry: 7000\ndata: 1\n\n"),
        stream(b"data: 2\n\n", HOLD),
    )
    wait_until(lambda: page.evaluate("seen.at(-1)?.[1] === '2'"))
    first, second = page.evaluate("waits")
    assert first == 120_000
    assert 7000 <= second <= 7000 * 2 * 1.25


def test_it_waits_longer_while_nothing_gets_better(open_page: OpenPage, site: Site) -> None:
    page = listen(
        open_page,
        site,
        stream(b"retry: 0\n\n"),  # no hot loop
        *[stream()] * 2,
        *[answer("503 Busy"), chunked(b"data: cut off", end=False)] * 2,
    )
    wait_until(lambda: page.evaluate("stream.readyState") == 2)  # by a 204
    waits = page.evaluate("waits")
    assert len(waits) == 7
    for number, wait in enumerate(waits):
        assert 500 <= wait <= 1.25 * min(30_000, 500 * 2**number)
    assert len({round(wait) for wait in waits}) > 1


def test_it_notices_a_server_that_fell_silent(open_page: OpenPage, site: Site) -> None:
    page = listen(
        open_page,
        site,
        stream(b": hello\n\n", HOLD, headers=["Tidewire-Heartbeat: 15"]),
        stream(b"data: on\n\n", HOLD),
    )
    wait_until(lambda: page.evaluate("seen.at(-1)?.[1] === 'on'"))
    assert 37_500 in page.evaluate("waits")
    assert site.left.wait(5)


def test_closed_in_its_error_handler_it_stays_closed(open_page: OpenPage, site: Site) -> None:
    go_on = threading.Event()
    page = listen(open_page, site, stream(b"data: 1\n\n", go_on), stream(b"data: never\n\n"))
    seen(page, 2)
    page.evaluate("stream.onerror = () => stream.close()")
    go_on.set()
    wait_until(lambda: page.evaluate("stream.readyState") == 2)
    page.wait_for_timeout(200)
    assert len(site.requests) == 1


def test_closed_while_it_waits_it_stays_closed(open_page: OpenPage, site: Site) -> None:
    page = listen(open_page, site, stream(b"retry: 100000\ndata: 1\n\n"), stream(b"data: never\n\n"))
    wait_until(lambda: page.evaluate("waits.length"))
    page.evaluate("stream.close()")
    page.wait_for_timeout(1500)
    assert len(site.requests) == 1
