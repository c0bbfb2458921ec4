"""Page one of the demo: every sentence that is said of it, in real browsers."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from support.browser_pages import NO_EVENT_SOURCE, SEED, OpenPage, events, get_json, rows, text, wait_until
from support.waiting import PATIENCE
from tidewire.demo.makers import random_events

if TYPE_CHECKING:
    from playwright.sync_api import Page

EXPECTED = [(event.event, json.loads(event.data)) for event in random_events(Random(SEED), 30)]
MODES = ("hub", "article")


def said(happening: dict[str, Any]) -> str:
    """What the page makes of an event's data in the log."""
    return str(happening.get("result") or happening.get("text") or happening.get("alt"))


def ended(page: Page) -> None:
    page.locator("#state[data-state=ended]").wait_for()


def streams_open(url: str) -> int:
    count: int = get_json(f"{url}/demo/status")["streams"]
    return count


# -- what comes


@pytest.mark.parametrize("mode", MODES)
def test_thirty_events_of_four_types_come_as_the_seed_says(
    open_page: OpenPage, quick_demo: str, mode: str
) -> None:
    page = open_page(f"{quick_demo}/demo?client=native#{mode}")
    ended(page)
    assert [(row["type"], row["text"], row["number"]) for row in events(page)] == [
        (kind, said(happening), happening["number"]) for kind, happening in EXPECTED
    ]
    assert {kind for kind, _ in EXPECTED} == {"coinToss", "dieRoll", "catFact", "meme"}
    assert text(page, "received") == "30"
    assert (text(page, "missed"), text(page, "repeated")) == ("0", "0")


def test_each_type_has_an_area_that_shows_its_newest(open_page: OpenPage, quick_demo: str) -> None:
    page = open_page(f"{quick_demo}/demo?client=native")
    ended(page)
    newest = dict(EXPECTED)
    assert text(page, "coin-value") == newest["coinToss"]["result"]
    assert page.locator(".coin").get_attribute("data-face") == newest["coinToss"]["result"]
    assert text(page, "die-value") == str(newest["dieRoll"]["result"])
    assert page.locator(".die").get_attribute("data-face") == str(newest["dieRoll"]["result"])
    pips = page.evaluate(
        """() => [...document.querySelectorAll(".pip")]
            .filter((pip) => getComputedStyle(pip).opacity > 0).length"""
    )
    assert pips == newest["dieRoll"]["result"]
    assert text(page, "fact") == newest["catFact"]["text"]
    picture = page.get_by_alt_text(newest["meme"]["alt"])
    assert picture.get_attribute("src") == newest["meme"]["image"]
    wait_until(lambda: picture.evaluate("image => image.complete && image.naturalWidth") == 480)


def test_one_listener_per_type(open_page: OpenPage, quick_demo: str) -> None:
    count = """
    globalThis.listeners = {};
    const add = EventSource.prototype.addEventListener;
    EventSource.prototype.addEventListener = function (type, ...rest) {
      listeners[type] = (listeners[type] ?? 0) + 1;
      return add.call(this, type, ...rest);
    };
    """
    page = open_page(f"{quick_demo}/demo?client=native", script=count)
    listeners = wait_until(lambda: page.evaluate("listeners.meme && listeners"))
    assert {kind: listeners[kind] for kind in ("coinToss", "dieRoll", "catFact", "meme")} == {
        "coinToss": 1,
        "dieRoll": 1,
        "catFact": 1,
        "meme": 1,
    }


def test_the_log_lies_across_the_bottom_and_is_the_same_in_the_console(
    open_page: OpenPage, quick_demo: str
) -> None:
    console: list[str] = []
    page = open_page(f"{quick_demo}/demo?client=native", console=console)
    ended(page)
    log = page.get_by_role("log", name="Log")
    assert log.count() == 1
    for row in events(page):
        assert f"{row['type']} {row['text']}" in console
    box, body = log.bounding_box(), page.locator("body").bounding_box()
    band = page.locator(".deep").bounding_box()
    assert box
    assert body
    assert band
    assert band["width"] == body["width"]
    assert band["y"] + band["height"] >= body["height"] - 1
    assert page.locator("main").bounding_box()["y"] < box["y"]  # type: ignore[index]
    # New rows come at the end, and the end is in view.
    assert log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 24


# -- how it stops


@pytest.mark.parametrize("mode", MODES)
def test_stop_closes_the_stream_and_the_server_stops_making(
    open_page: OpenPage, slow_demo: str, mode: str
) -> None:
    wait_until(lambda: streams_open(slow_demo) == 0)
    page = open_page(f"{slow_demo}/demo?client=native#{mode}")
    wait_until(lambda: text(page, "streams") == "1")
    wait_until(lambda: int(text(page, "made")) >= 2)
    page.get_by_role("button", name="Stop Events").click()
    # The server noticed: its count, on this page, goes down.
    wait_until(lambda: text(page, "streams") == "0")
    assert page.locator("#state").get_attribute("data-state") == "stopped"
    received = text(page, "received")
    # At once where closing ends the generator, after 10 s where a log is kept for those who come back.
    wait_until(lambda: text(page, "maker") == "stopped", timeout=9 if mode == "article" else PATIENCE)
    made = text(page, "made")
    assert int(made) < int(text(page, "of"))
    page.wait_for_timeout(1500)
    assert (text(page, "made"), text(page, "received")) == (made, received)


def test_the_article_s_end_is_an_id_after_which_the_page_closes(open_page: OpenPage, quick_demo: str) -> None:
    streams: list[str] = []
    page = open_page(f"{quick_demo}/demo?client=native#article", streams=streams)
    ended(page)
    assert "id -1" in rows(page)[-1]["text"]
    assert "close()" in rows(page)[-1]["text"]
    page.wait_for_timeout(3000)  # retry: was 2 s
    assert len(streams) == 1


def test_the_hub_s_end_is_an_event_and_a_204_and_the_page_does_nothing(
    open_page: OpenPage, quick_demo: str
) -> None:
    closes = """
    globalThis.closes = 0;
    const close = EventSource.prototype.close;
    EventSource.prototype.close = function () { closes += 1; close.call(this); };
    """
    streams: list[str] = []
    page = open_page(f"{quick_demo}/demo?client=native", script=closes, streams=streams)
    ended(page)
    assert [row["type"] for row in rows(page)].count("hub.end") == 1
    wait_until(lambda: "204" in rows(page)[-1]["text"])
    page.wait_for_timeout(3000)
    assert len(streams) == 2
    assert len(set(streams)) == 1
    assert page.evaluate("closes") == 0


def test_start_again_takes_a_new_one(open_page: OpenPage, quick_demo: str) -> None:
    streams: list[str] = []
    page = open_page(f"{quick_demo}/demo?client=native", streams=streams)
    ended(page)
    page.get_by_role("button", name="Start again").click()
    wait_until(lambda: len(events(page)) == 60)
    ended(page)
    assert text(page, "received") == "30"
    assert [row["number"] for row in events(page)] == [*range(1, 31), *range(1, 31)]
    assert len(set(streams)) == 2


@pytest.mark.parametrize("mode", MODES)
def test_each_page_view_has_its_own_maker(open_page: OpenPage, quick_demo: str, mode: str) -> None:
    first = open_page(f"{quick_demo}/demo?client=native#{mode}")
    wait_until(lambda: int(text(first, "received")) >= 5)
    second = open_page(f"{quick_demo}/demo?client=native#{mode}")
    for page in (first, second):
        ended(page)
        assert [row["number"] for row in events(page)] == list(range(1, 31))


def test_the_way_is_there_to_choose(open_page: OpenPage, slow_demo: str) -> None:
    streams: list[str] = []
    page = open_page(f"{slow_demo}/demo?client=native", streams=streams)
    for mode, path in (("article", "/demo/events?view="), ("hub", "/events/demo/")):
        page.locator(f"input[value={mode}]").check()
        page.locator("#state[data-state=open]").wait_for()
        assert path in streams[-1]
    assert len(streams) == 3


# -- for everybody


def test_without_event_source_the_hub_s_end_is_a_204_too(open_page: OpenPage, quick_demo: str) -> None:
    page = open_page(f"{quick_demo}/demo", script=NO_EVENT_SOURCE)
    ended(page)
    assert [(row["type"], row["text"]) for row in events(page)] == [
        (kind, said(happening)) for kind, happening in EXPECTED
    ]
    wait_until(lambda: "204" in rows(page)[-1]["text"])


def test_without_event_source_the_article_s_way_ends_as_well(open_page: OpenPage, quick_demo: str) -> None:
    streams: list[str] = []
    page = open_page(f"{quick_demo}/demo#article", script=NO_EVENT_SOURCE, streams=streams)
    ended(page)
    assert "id -1" in rows(page)[-1]["text"]
    page.wait_for_timeout(3000)
    assert len(streams) == 1


def test_everything_can_be_done_by_keyboard(open_page: OpenPage, slow_demo: str) -> None:
    page = open_page(f"{slow_demo}/demo?client=native")
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => {
                const element = document.activeElement;
                const shows = [element, element.closest("label")].filter(Boolean)
                  .some((one) => getComputedStyle(one).outlineStyle !== "none");
                return [element.textContent.trim().split(/\\s/)[0] || element.value || element.id, shows];
                }"""
            )
        )
    assert [name for name, _ in reached] == [
        "Skip", "Tidewire", "Random", "Broadcast", "Twelve",
        "hub", "native", "Stop", "Drop", "Silent", "Refuse",
    ]  # fmt: skip
    assert all(shows for _, shows in reached), reached
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "log"
    page.locator("#toggle").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Start again").wait_for()
    assert page.evaluate("document.activeElement.id") == "toggle"
    page.keyboard.press("Space")
    page.get_by_role("button", name="Stop Events").wait_for()
    page.locator("input[value=hub]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("input[value=article]").is_checked()
    page.locator("#fault-note").wait_for()


@pytest.mark.parametrize("path", ["/demo", "/demo/broadcast", "/demo/tabs"])
def test_it_fits_a_screen_of_320_pixels(open_page: OpenPage, quick_demo: str, path: str) -> None:
    page = open_page(f"{quick_demo}{path}", viewport={"width": 320, "height": 640})
    if path == "/demo":
        ended(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 320
        assert box["height"] >= 24


@pytest.mark.parametrize("path", ["/demo", "/demo/broadcast", "/demo/tabs"])
def test_it_is_dark_where_dark_is_wanted(open_page: OpenPage, quick_demo: str, path: str) -> None:
    page = open_page(f"{quick_demo}{path}")

    def contrast() -> tuple[float, float]:
        """How light page and text are, from 0 to 255."""
        colours = page.evaluate(
            """() => {
            const style = getComputedStyle(document.body);
            const parts = (text) => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
            return [style.backgroundColor, style.color].map(parts);
            }"""
        )
        return sum(colours[0]) / 3, sum(colours[1]) / 3

    def prefer(scheme: str) -> None:
        if page.context.browser.browser_type.name == "chromium":  # type: ignore[union-attr]
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        else:
            # Playwright cannot change the wish of a Firefox that it did not build. This
            # takes the same colours of the style sheet by another way.
            page.evaluate("scheme => (document.documentElement.style.colorScheme = scheme)", scheme)

    prefer("light")
    ground, ink = contrast()
    assert ground - ink > 150
    prefer("dark")
    ground, ink = contrast()
    assert ink - ground > 150
