"""The inspector's views of a hub, in real browsers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import TYPE_CHECKING
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from support.browser_pages import OpenPage, get_json, text, wait_state, wait_until
from support.running_hub import RunningHub
from support.tokens import SECRET, bearer, token
from tidewire import Tokens
from tidewire.inspect.asking import OUTCOMES

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

VIEWS = ["overview", "topics", "streams", "event", "try"]
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture
def hub() -> Iterator[RunningHub]:
    with RunningHub() as running:
        yield running


def publish(hub: RunningHub, topic: str, data: str, **headers: str) -> str:
    """Publish and return the id."""
    request = Request(f"{hub.url}/events/{quote(topic)}", data.encode(), headers, method="POST")
    with urlopen(request) as answer:
        return str(json.load(answer)["id"])


@contextmanager
def stream(hub: RunningHub, topic: str) -> Iterator[HTTPResponse]:
    """Hold a stream open, as a client with a name of its own."""
    request = Request(f"{hub.url}/events/{topic}", headers={"User-Agent": "probe/1.5 (tests)"})
    with urlopen(request) as answer:
        assert answer.readline()  # it is there
        yield answer


def facts(page: Page, id: str) -> dict[str, str]:
    """Return a list of names and values."""
    found: dict[str, str] = page.evaluate(
        "id => Object.fromEntries([...document.querySelectorAll(`#${id} > div`)]"
        ".map((one) => [one.querySelector('dt').textContent, one.querySelector('dd').textContent]))",
        id,
    )
    return found


def table(page: Page, id: str) -> list[dict[str, str]]:
    """Return the rows of a table that are in the document, from the top: class of the cell to its text."""
    found: list[dict[str, str]] = page.evaluate(
        """(id) => [...document.querySelectorAll(`#${id} .row:not([hidden])`)]
            .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
            .map((row) => Object.fromEntries([...row.children].map((cell, at) =>
                [document.querySelectorAll(`#${id} .head > *`)[at].textContent, cell.textContent])))""",
        id,
    )
    return found


def test_the_overview_shows_what_the_hub_counts(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_page(f"{hub.url}/inspect")
    wait_until(lambda: text(page, "state") == "live")
    assert text(page, "refusals") == "Nothing was refused."
    with stream(hub, "news"):
        for number in range(5):
            publish(hub, "news", str(number))
        wait_until(lambda: facts(page, "engine")["published since the start"] == "5")
        wait_until(lambda: text(page, "pulse-streams") == "1")
    assert facts(page, "engine")["engine"] == "memory"
    assert "in memory" in facts(page, "engine")["acknowledged events survive"]
    with pytest.raises(OSError, match="404"):
        get_json(f"{hub.url}/nothing")
    wait_until(lambda: facts(page, "refusals").get("not found") == "1")

    # What the charts draw is in a table, too: its columns are the same values.
    page.get_by_role("button", name="As a table").click()
    head = page.locator("#numbers thead th").all_inner_texts()
    column = head.index("Events a second: logged")
    cells = page.locator(f"#numbers tbody tr > :nth-child({column + 1})")
    wait_until(lambda: set(cells.all_inner_texts()) - {"0"})
    page.get_by_role("button", name="As a table").click()
    drawn = page.locator("#charts .chart", has_text="Events a second").locator("path.line").first
    assert re.match(r"M[\d.]+ [\d.]+L", drawn.get_attribute("d") or "")


@pytest.mark.slow_in("firefox")
def test_the_charts_are_read_with_the_keyboard(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_page(f"{hub.url}/inspect")
    wait_until(lambda: page.locator("#charts path.line[d^=M]").count() > 0)
    assert text(page, "cursor-time") == ""
    page.locator("#charts").press("ArrowLeft")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", text(page, "cursor-time"))
    assert page.locator("#charts .cursor.shown").count() == page.locator("#charts .chart").count()
    page.locator("#charts").press("Escape")
    assert text(page, "cursor-time") == ""


@pytest.mark.slow_in("firefox")
def test_the_overview_has_the_last_hour_and_day(open_page: OpenPage, hub: RunningHub) -> None:
    asked: list[str] = []
    page = open_page(f"{hub.url}/inspect")
    page.on("request", lambda request: asked.append(request.url))
    for name, span in [("1 hour", "hour"), ("1 day", "day")]:
        page.get_by_role("button", name=name).click()
        wait_until(lambda span=span: any(f"span={span}" in url for url in asked))  # type: ignore[misc]
    assert page.locator("#ranges [aria-pressed=true]").inner_text() == "1 day"


@pytest.mark.slow_in("firefox")
def test_topics_are_listed_and_searched(open_page: OpenPage, hub: RunningHub) -> None:
    for topic, number in [("orders/1", 3), ("orders/2", 1), ("news", 2)]:
        for _ in range(number):
            publish(hub, topic, "x")
    page = open_page(f"{hub.url}/inspect#/topics")
    wait_until(
        lambda: [row["Topic"] for row in table(page, "topics-table")] == ["orders/1", "news", "orders/2"]
    )
    page.get_by_role("button", name="Topic", exact=True).click()
    wait_until(
        lambda: [row["Topic"] for row in table(page, "topics-table")] == ["news", "orders/1", "orders/2"]
    )
    page.locator("#view").press("/")
    page.keyboard.type("orders")
    wait_until(lambda: [row["Topic"] for row in table(page, "topics-table")] == ["orders/1", "orders/2"])
    wait_until(lambda: text(page, "topics-count") == "2 of 3 topics")


@pytest.mark.slow_in("firefox")
def test_a_topic_shows_its_last_events_as_text(open_page: OpenPage, hub: RunningHub) -> None:
    first, second = publish(hub, "news", MARKUP), publish(hub, "news", "two", **{"Event-Type": "greeting"})
    page = open_page(f"{hub.url}/inspect#/topics")
    page.locator("#topics-table .row", has_text="news").click()
    wait_until(lambda: page.locator("#topic-events a").all_inner_texts() == [second, first])
    assert page.locator("#topic-events code").all_inner_texts() == ["two", MARKUP]
    assert page.locator("#topic-events b").all_inner_texts() == ["greeting", "message"]
    publish(hub, "news", "three")
    wait_until(lambda: page.locator("#topic-events code").all_inner_texts() == ["three", "two", MARKUP])


@pytest.mark.slow_in("firefox")
def test_the_buttons_of_a_topic_do_not_move_when_an_event_comes(open_page: OpenPage, hub: RunningHub) -> None:
    # A click on one of them was lost: the list of events grew above it.
    publish(hub, "news", "one")
    page = open_page(f"{hub.url}/inspect#/topics/news")
    button = page.get_by_role("button", name="End this topic")
    places = [button.bounding_box()]
    wait_until(lambda: facts(page, "topic-facts")["state"] == "open")
    for number in range(2, 5):
        places.append(button.bounding_box())
        publish(hub, "news", str(number))
        wait_until(lambda number=number: page.locator("#topic-events li").count() == number)
    assert places == places[:1] * 4
    assert places[0]


def test_the_page_publishes_and_shows_the_command_that_does_the_same(
    open_page: OpenPage, hub: RunningHub
) -> None:
    page = open_page(f"{hub.url}/inspect#/topics")
    page.get_by_label("Topic", exact=True).fill("it's/me & you")
    page.get_by_label("Type").fill("greeting")
    page.get_by_label("Data").fill('{"say": "it\'s $HOME"}')
    assert text(page, "publish-hint") == "Valid JSON."
    page.get_by_role("button", name="Publish").click()
    wait_until(lambda: "Published as" in text(page, "publish-result"))
    command = text(page, "publish-curl")
    subprocess.run(["sh", "-c", f"{command} --silent --show-error --fail"], check=True, capture_output=True)
    url = f"{hub.url}/events?topic={quote('it' + chr(39) + 's/me & you')}"
    with urlopen(Request(url, headers={"Accept": "application/json"})) as answer:
        events = json.load(answer)["events"]
    assert [(one["event"], one["data"]) for one in events] == [("greeting", '{"say": "it\'s $HOME"}')] * 2


@pytest.mark.slow_in("firefox")
def test_a_topic_is_ended_after_a_question(open_page: OpenPage, hub: RunningHub) -> None:
    publish(hub, "news", "one")
    page = open_page(f"{hub.url}/inspect#/topics/news")
    page.get_by_role("button", name="End this topic").click()
    page.get_by_role("button", name="Cancel").click()
    wait_until(lambda: facts(page, "topic-facts").get("state") == "open")
    publish(hub, "news", "two")
    page.get_by_role("button", name="End this topic").click()
    page.get_by_role("button", name="End the topic").click()
    wait_until(lambda: facts(page, "topic-facts")["state"].startswith("ended"))
    with pytest.raises(OSError, match="409"):
        publish(hub, "news", "three")


def test_a_stream_shows_who_reads_what_and_its_timeline(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_page(f"{hub.url}/inspect#/streams")
    with stream(hub, "news"):
        newest = publish(hub, "news", "one")
        wait_until(lambda: [row["Events"] for row in table(page, "streams-table")] == ["1"])
        (row,) = table(page, "streams-table")
        assert (row["State"], row["Client"], row["Topics"]) == ("live", "probe 1.5", "news")
        assert (row["Address"], row["Position"], row["Behind"]) == ("127.0.0.1", newest, "0")
        page.locator("#streams-table").press("ArrowDown")
        wait_until(
            lambda: (
                page.locator("#timeline li b").all_inner_texts()[:3]
                == ["Opened", "Position judged", "Caught up: live"]
            )
        )
        assert facts(page, "stream-facts")["user agent"] == "probe/1.5 (tests)"
    wait_until(lambda: facts(page, "stream-facts")["state"] == "ended: lost")
    wait_until(lambda: page.locator("#timeline li b").all_inner_texts()[-1] == "Ended")
    page.get_by_role("button", name="Ended").click()
    wait_until(lambda: [row["State"] for row in table(page, "streams-table")] == ["ended: lost"])


@pytest.mark.slow_in("firefox")
def test_a_stream_is_kicked_after_a_question(open_page: OpenPage, hub: RunningHub) -> None:
    with stream(hub, "news") as kicked, stream(hub, "news"):
        page = open_page(f"{hub.url}/inspect#/streams")
        wait_until(lambda: len(table(page, "streams-table")) == 2)
        page.locator("#streams-table .row").filter(has=page.get_by_text("1", exact=True)).first.click()
        wait_until(lambda: text(page, "stream-name").startswith("Stream "))
        page.get_by_role("button", name="Kick …").click()
        page.get_by_role("button", name="Kick it").click()
        wait_until(lambda: facts(page, "stream-facts")["state"] == "ended: kicked")
        wait_until(lambda: len(table(page, "streams-table")) == 1)
        assert b"event: hub.auth" in kicked.read()


@pytest.mark.slow_in("firefox")
def test_the_page_asks_until_its_own_process_answers(open_page: OpenPage, hub: RunningHub) -> None:
    """Where it is one of several workers, the others answer 421."""
    others = iter(range(5))

    def answer(route: Route) -> None:
        if next(others, None) is None:
            route.continue_()
        else:
            problem = {"detail": "another process got the request", "code": "another_process"}
            route.fulfill(status=421, json=problem)

    publish(hub, "news", "hello")
    page = open_page(f"{hub.url}/inspect#/topics")
    wait_until(lambda: text(page, "state") == "live")
    page.route("**/inspect/topic?*", answer)
    page.evaluate("location.hash = '#/topics/news'")
    wait_until(lambda: facts(page, "topic-facts").get("state") == "open")
    assert next(others, None) is None
    assert page.get_by_text("another_process").count() == 0


def test_an_event_says_to_which_streams_it_was_written_and_why_not_to_others(
    open_page: OpenPage, hub: RunningHub
) -> None:
    with stream(hub, "news"), stream(hub, "other"):
        id = publish(hub, "news", '{"some": "thing"}')
        with stream(hub, "news"):
            page = open_page(f"{hub.url}/inspect#/event")
            page.get_by_label("Id of the event").fill(id)
            page.get_by_role("button", name="Look up").click()
            wait_until(lambda: facts(page, "event-facts").get("topic") == "news")
            wait_until(
                lambda: (
                    page.locator("#event-outcomes button").all_inner_texts()
                    == ["all\n3", "written\n1", "not connected\n1", "another topic\n1"]
                )
            )
            whys = page.locator("#event-streams tr").all_inner_texts()
            page.get_by_role("button", name="not connected").press("Enter")
            wait_until(lambda: page.locator("#event-streams tr").count() == 1)
            assert "began after the event" in text(page, "event-streams")
            assert page.locator("#event-outcomes :focus").get_attribute("aria-pressed") == "true"
    assert any("yes" in why and "news" in why for why in whys)
    assert any("no" in why and "did not ask for this topic" in why for why in whys)
    assert any("no" in why and "began after the event" in why for why in whys)
    assert text(page, "event-data") == '{\n  "some": "thing"\n}'
    page.goto(f"{hub.url}/inspect#/event/{id}9")
    wait_until(lambda: "no_such_event" in text(page, "event-problem"))
    page.goto(f"{hub.url}/inspect#/event")
    page.get_by_role("button", name="Show the newest event").click()
    wait_until(lambda: facts(page, "event-facts").get("id") == id)


@pytest.mark.slow_in("firefox")
def test_each_outcome_has_its_reason(open_page: OpenPage, hub: RunningHub) -> None:
    id = publish(hub, "news", "one")
    found = get_json(f"{hub.url}/inspect/event?id={id}")
    stream = {"sub": None, "address": None, "agent": None, "topics": ["news"], "state": "live"}
    found["streams"] = [
        {**stream, "stream": number, "outcome": name} for number, name in enumerate(OUTCOMES, 1)
    ]
    found["outcomes"] = dict.fromkeys(OUTCOMES, 1)
    page = open_page(f"{hub.url}/inspect#/event")
    page.route("**/inspect/event?*", lambda route: route.fulfill(json=found))
    page.get_by_label("Id of the event").fill(id)
    page.get_by_role("button", name="Look up").click()
    lines = page.locator("#event-streams tr")
    wait_until(lambda: lines.count() == len(OUTCOMES))
    written = dict(zip(OUTCOMES, page.locator("#event-streams .verdict").all_inner_texts(), strict=True))
    assert (written.pop("written"), written.pop("unknown")) == ("yes", "unknown")
    assert set(written.values()) == {"no"}
    whys = page.locator("#event-streams td:last-child").all_inner_texts()
    assert len(set(whys)) == len(OUTCOMES)
    assert not set(whys) & set(OUTCOMES), "an outcome has no words of its own"


@pytest.mark.slow_in("firefox")
def test_hidden_data_is_not_shown(open_page: OpenPage) -> None:
    with RunningHub(inspect_data=0) as hub:
        id = publish(hub, "news", "a secret")
        page = open_page(f"{hub.url}/inspect#/topics/news")
        wait_until(lambda: page.locator("#topic-events code").all_inner_texts() == ["data is hidden"])
        page.locator("#topic-events a", has_text=id).click()
        wait_until(lambda: "hidden by a setting" in text(page, "event-data"))
        assert "a secret" not in page.content()


@pytest.mark.slow_in("firefox")
def test_a_hub_with_keys_asks_for_the_token_of_an_admin(open_page: OpenPage) -> None:
    admin = token(admin=True, publish=["**"], subscribe=["**"])
    with RunningHub(auth=Tokens(SECRET)) as hub:
        publish(hub, "news", "one", **bearer(admin))
        page = open_page(f"{hub.url}/inspect#/topics")
        page.locator("#token").fill("nonsense")
        page.get_by_role("button", name="Use it").click()
        wait_until(lambda: "token" in text(page, "sign-in-why"))
        page.locator("#token").fill(admin)
        page.get_by_role("button", name="Use it").click()
        wait_until(lambda: [row["Topic"] for row in table(page, "topics-table")] == ["news"])
        assert "$TOKEN" in text(page, "publish-curl")
        assert admin not in page.content()
        page.goto(f"{hub.url}/inspect#/try/news")
        wait_until(lambda: text(page, "try-state") == "open")


@pytest.mark.slow_in("firefox")
def test_the_head_says_when_the_hub_is_gone_and_when_it_is_back(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_page(f"{hub.url}/inspect")
    wait_until(lambda: text(page, "state") == "live")
    hub.restart()
    wait_state(page, "lost")
    wait_until(lambda: text(page, "state") == "live")
    assert page.locator("#notice").is_hidden()


@pytest.mark.slow_in("firefox")
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_a_phone(open_page: OpenPage, hub: RunningHub, view: str) -> None:
    for number in range(3):
        publish(hub, f"a/long/name/of/a/topic/that/goes/on/and/on/{number}", "word " * 200)
    page = open_page(f"{hub.url}/inspect#/{view}", viewport={"width": 320, "height": 640})
    wait_until(lambda: text(page, "state") == "live")
    assert page.locator(f"#{view}").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.locator("nav a[aria-current]").inner_text().lower() == view
