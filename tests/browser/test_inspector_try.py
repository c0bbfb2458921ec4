"""The inspector's view "Try": everything that comes on one stream, in real browsers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from support.browser_pages import OpenPage, new_context, text, wait_until
from support.running_hub import RunningHub
from support.scripted import HOLD, Scripted, answer, stream

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MARKUP = "<img src=x onerror=alert(1)>"
ROWS = """() => [...document.querySelectorAll("#try-table .row:not([hidden])")]
    .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
    .map((row) => [row.querySelector(".type").textContent, row.querySelector(".text").textContent])"""


@pytest.fixture
def hub() -> Iterator[RunningHub]:
    with RunningHub() as running:
        yield running


def rows(page: Page) -> list[tuple[str, str]]:
    """Return the type and the text of the rows that are in the document, from the top."""
    return [(kind, words) for kind, words in page.evaluate(ROWS)]


def events(page: Page) -> list[str]:
    return [words for kind, words in rows(page) if kind in ("message", "tick")]


def publish(page: Page, topic: str, *texts: str, event: str = "message") -> None:
    """Publish as another page would: without waiting in this thread's event loop."""
    for words in texts:
        page.evaluate(
            "async ([url, body]) => { await fetch(url, { method: 'POST', body }) }",
            [f"events/{quote(topic)}?event={event}", words],
        )


def connect(page: Page, target: str) -> None:
    page.get_by_label("Topic or URL").fill(target)
    page.get_by_role("button", name="Connect", exact=True).click()


def open_try(open_page: OpenPage, hub: RunningHub, topic: str = "news") -> Page:
    page = open_page(f"{hub.url}/inspect#/try", viewport={"width": 1280, "height": 720})
    connect(page, topic)
    wait_until(lambda: text(page, "try-state") == "open")
    return page


def test_a_stream_of_the_hub_is_shown_with_what_browsers_hide(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_try(open_page, hub)
    publish(page, "news", MARKUP)
    wait_until(lambda: MARKUP in events(page))
    shown = rows(page)
    assert [kind for kind, _ in shown] == ["open", "retry", "comment", "hub.position", "message"]
    assert shown[1:3] == [("retry", "500"), ("comment", "tidewire")]
    assert shown[0][1].startswith("200 OK · text/event-stream")

    # Its parts: the data, the block as it was sent, each byte of it.
    page.locator("#try-table .row", has_text=MARKUP).click()
    assert text(page, "try-data") == MARKUP
    page.get_by_role("button", name="Block", exact=True).click()
    id = page.locator("#try-table .row", has_text=MARKUP).locator(".id").text_content()
    assert page.locator("#try-data").text_content() == f"id: {id}␊\ndata: {MARKUP}␊\n␊\n"
    page.get_by_role("button", name="Bytes", exact=True).click()
    assert text(page, "try-data").startswith("000000  69 64 3a 20")


@pytest.mark.slow_in("firefox")
def test_rows_are_filtered(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_try(open_page, hub)
    publish(page, "news", '{"total": 50}', '{"total": 150}')
    publish(page, "news", '{"total": 500}', event="tick")
    wait_until(lambda: len(events(page)) == 3)
    page.get_by_label("Comments").uncheck()
    wait_until(lambda: [kind for kind, _ in rows(page)][:2] == ["open", "hub.position"])
    for words, left in [
        ("data.total>100", ['{"total": 150}', '{"total": 500}']),
        ("data.total>100 -type:t*k", ['{"total": 150}']),
        ("/5.?0/ kind:event", ['{"total": 50}', '{"total": 150}', '{"total": 500}']),
    ]:
        page.get_by_label("Filter").fill(words)
        wait_until(lambda left=left: [one for _, one in rows(page)] == left)  # type: ignore[misc]
    page.get_by_label("Filter").fill("/(/")
    wait_until(lambda: text(page, "try-filter-error"))
    # Events that come later are filtered, too.
    page.get_by_label("Filter").fill("type:tick")
    wait_until(lambda: len(rows(page)) == 1)
    publish(page, "news", "no")
    publish(page, "news", "yes", event="tick")
    wait_until(lambda: [one for _, one in rows(page)] == ['{"total": 500}', "yes"])


@pytest.mark.slow_in("firefox")
def test_a_paused_view_loses_nothing(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_try(open_page, hub)
    publish(page, "news", "one")
    wait_until(lambda: events(page) == ["one"])
    page.locator("#try-table").press(" ")
    wait_until(lambda: text(page, "try-pause") == "Resume (0 waiting)")
    publish(page, "news", "two", "three")
    wait_until(lambda: text(page, "try-pause") == "Resume (2 waiting)")
    assert events(page) == ["one"]
    page.get_by_role("button", name="Resume").click()
    wait_until(lambda: events(page) == ["one", "two", "three"])

    page.get_by_role("button", name="Clear").click()
    wait_until(lambda: rows(page) == [])
    publish(page, "news", "four")
    wait_until(lambda: events(page) == ["four"])
    assert text(page, "try-kept") == "1 rows kept"


# Playwright's downloads do not work with every Firefox, so the test keeps what the page saves.
KEEP_SAVED = """
const made = URL.createObjectURL;
URL.createObjectURL = (blob) => { globalThis.saved = blob; return made.call(URL, blob); };
"""


@pytest.mark.slow_in("firefox")
def test_the_rows_are_exported(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_page(f"{hub.url}/inspect#/try", script=KEEP_SAVED)
    connect(page, "news")
    wait_until(lambda: text(page, "try-state") == "open")
    publish(page, "news", "one\ntwo")
    wait_until(lambda: len(events(page)) == 1)
    page.get_by_label("Filter").fill("kind:event -hub")
    wait_until(lambda: len(rows(page)) == 1)
    page.get_by_role("button", name="Export").click()
    wait_until(lambda: page.evaluate("Boolean(globalThis.saved)"))
    (line,) = page.evaluate("saved.text()").splitlines()
    saved = json.loads(line)
    assert (saved["kind"], saved["type"], saved["text"]) == ("event", "message", "one\ntwo")
    assert saved["bytes"] == len(f"id: {saved['id']}\ndata: one\ndata: two\n\n")


@pytest.mark.slow_in("firefox")
def test_the_newest_rows_stay_in_view_until_one_scrolls_up(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_try(open_page, hub)
    publish(page, "news", *map(str, range(60)))
    wait_until(lambda: "59" in events(page))
    assert "0" not in events(page), "all rows are in the document"
    page.locator("#try-table").press("Home")
    wait_until(lambda: "0" in events(page))
    publish(page, "news", "newest")
    wait_until(lambda: text(page, "try-newest") == "↓ 1 new")
    assert "0" in events(page)
    page.locator("#try-newest").click()
    wait_until(lambda: "newest" in events(page))
    assert page.locator("#try-newest").is_hidden()


@pytest.mark.slow_in("firefox")
def test_a_row_is_selected_with_the_keyboard(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_try(open_page, hub)
    publish(page, "news", "one", "two")
    wait_until(lambda: events(page) == ["one", "two"])
    page.locator("#try-table").press("End")
    wait_until(lambda: text(page, "try-data") == "two")
    page.locator("#try-table").press("ArrowUp")
    wait_until(lambda: text(page, "try-data") == "one")
    selected = page.locator("#try-table").get_attribute("aria-activedescendant")
    assert page.locator(f"#{selected}").get_attribute("aria-selected") == "true"
    page.locator("#try-table").press("Escape")
    assert page.locator("#try-details").is_hidden()


CORS = ["Access-Control-Allow-Origin: *", "Access-Control-Allow-Headers: last-event-id"]


@pytest.fixture
def elsewhere(browser: Browser, hub: RunningHub) -> Iterator[Page]:
    """The view, in a page that may ask other servers."""
    context = new_context(browser)
    page = context.new_page()
    page.goto(f"{hub.url}/inspect#/try")
    yield page
    context.close()


def test_the_page_reads_an_endpoint_of_another_server_and_shows_how_it_comes_back(elsewhere: Page) -> None:
    go_on = threading.Event()
    first = stream(b"retry: 10\n\nid: 7\ndata: one\n\n", headers=CORS)
    preflight = answer("204 No Content", *CORS)
    second = stream(b":\n\nevent: tick\ndata: two\n\nid: 8\n\n", go_on, headers=CORS)
    last = answer("404 Not Found", *CORS, "Content-Type: text/plain", body=b"no such stream")
    with Scripted(first, preflight, second, preflight, last) as server:
        connect(elsewhere, f"{server.url}/some/stream")
        wait_until(lambda: [kind for kind, _ in rows(elsewhere)] == [
            "open", "retry", "message", "ended", "open", "comment", "tick", "no event"
        ])  # fmt: skip
        go_on.set()
        wait_until(lambda: rows(elsewhere)[-1][0] == "refused")
        asked = [request for request in server.requests if request.method == "GET"]
    assert [request.get("last-event-id") for request in asked] == [None, b"7", b"8"]
    shown = rows(elsewhere)
    assert shown[1] == ("retry", "10")
    assert "the next attempt is in 0.01 s" in shown[3][1]
    assert "Last-Event-ID: 7" in shown[4][1]
    assert "404" in shown[-1][1]
    assert "no such stream" in shown[-1][1]
    assert text(elsewhere, "try-state") == "stopped"


@pytest.mark.slow_in("firefox")
def test_the_hub_fetches_nothing_and_a_page_that_may_not_read_says_so(elsewhere: Page) -> None:
    with Scripted(stream(b"data: secret\n\n", HOLD), stream(b"data: secret\n\n", HOLD)) as server:
        connect(elsewhere, f"{server.url}/private")
        wait_until(lambda: rows(elsewhere) and rows(elsewhere)[0][0] == "failed")
        # It was asked by the page, which has its origin, and not by the hub.
        assert server.requests[0].get("origin")
        elsewhere.get_by_role("button", name="Disconnect").click()
    assert "CORS" in rows(elsewhere)[0][1]
    assert all("secret" not in words for _, words in rows(elsewhere))


def test_headers_and_a_body_are_sent_by_post_once(elsewhere: Page) -> None:
    allowed = ["Access-Control-Allow-Origin: *", "Access-Control-Allow-Headers: x-api-key, content-type"]
    reply = stream(b"data: token\n\n", headers=allowed)
    with Scripted(answer("204 No Content", *allowed), reply) as server:
        elsewhere.get_by_text("Request", exact=True).click()
        elsewhere.get_by_label("Headers").fill("X-Api-Key: k1\nContent-Type: application/json")
        elsewhere.get_by_label("Body").fill('{"stream": true}')
        connect(elsewhere, f"{server.url}/v1/answers")
        wait_until(lambda: text(elsewhere, "try-state") == "stopped" and rows(elsewhere)[-1:])
        wait_until(lambda: [kind for kind, _ in rows(elsewhere)] == ["open", "message", "ended"])
        (request,) = [one for one in server.requests if one.method == "POST"]
    assert (request.get("x-api-key"), request.body) == (b"k1", b'{"stream": true}')
    assert request.get("content-type") == b"application/json"


# What stands on a stream: kind, type and text of each item, and its bytes.
STREAM = (
    "\ufeff: hi\r\nretry: 20\n:\n\nid: 1\nevent: a\n: inside\nretry: 30\ndata: é1\rdata: 2\r\r\n"
    ": end\nid: 2\n\ndata:x\n\n"
)
ITEMS = [
    ["comment", "hi", ": hi\r\n"],
    ["retry", "20", "retry: 20\n"],
    ["comment", "", ":\n\n"],
    ["event", "é1\n2", "id: 1\nevent: a\n: inside\nretry: 30\ndata: é1\rdata: 2\r\r\n"],
    ["comment", "end", ": end\n"],
    ["block", "a block without data", "id: 2\n\n"],
    ["event", "x", "data:x\n\n"],
]
SPLIT = """async (source) => {
  const { splitter } = await import("/inspect/blocks.js");
  const bytes = new TextEncoder().encode(source);
  const found = [];
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const split = splitter();
    const items = [...split.feed(bytes.subarray(0, cut)), ...split.feed(bytes.subarray(cut))];
    const shown = items.map(({ kind, text, raw }) => [kind, text, new TextDecoder().decode(raw)]);
    found.push([shown, split.lastEventId, split.retry]);
  }
  return found;
}"""


def test_each_byte_belongs_to_one_item_however_they_are_split(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_page(f"{hub.url}/inspect#/try")
    found = page.evaluate(SPLIT, STREAM)
    assert len(found) == len(STREAM.encode()) + 1
    for one in found:
        assert one == [ITEMS, "2", 30]
