"""Page one of the demo, in real browsers."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from support.browser_pages import NO_EVENT_SOURCE, SEED, OpenPage, events, get_json, rows, text, wait_until
from support.waiting import PATIENCE
from tidewire.demo.random_events import random_events

if TYPE_CHECKING:
    from playwright.sync_api import Page

EXPECTED = [(event.event, json.loads(event.data)) for event in random_events(Random(SEED), 30)]
MODES = ("hub", "classic")


def log_text(fields: dict[str, Any]) -> str:
    """Return the text that the log shows for an event's data."""
    return str(fields.get("result") or fields.get("text") or fields.get("alt"))


def ended(page: Page) -> None:
    page.locator("#state[data-state=ended]").wait_for()


def streams_open(url: str) -> int:
    count: int = get_json(f"{url}/demo/status")["streams"]
    return count


# -- the events


@pytest.mark.parametrize("mode", ["hub", pytest.param("classic", marks=pytest.mark.slow_in("firefox"))])
def test_thirty_events_of_four_types_arrive_as_the_seed_determines(
    open_page: OpenPage, quick_demo: str, mode: str
) -> None:
    page = open_page(f"{quick_demo}/demo?client=native#{mode}")
    ended(page)
    assert [(row["type"], row["text"], row["number"]) for row in events(page)] == [
        (kind, log_text(fields), fields["number"]) for kind, fields in EXPECTED
    ]
    assert {kind for kind, _ in EXPECTED} == {"coinToss", "dieRoll", "catFact", "meme"}
    assert text(page, "received") == "30"
    assert (text(page, "missed"), text(page, "repeated")) == ("0", "0")


@pytest.mark.slow_in("firefox")
def test_each_type_has_an_area_that_shows_its_newest_event(open_page: OpenPage, quick_demo: str) -> None:
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


@pytest.mark.slow_in("firefox")
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


@pytest.mark.slow_in("firefox")
def test_the_log_is_at_the_bottom_and_also_in_the_console(open_page: OpenPage, quick_demo: str) -> None:
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
    # New rows are added at the end, and the end is visible.
    assert log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 24


# -- how it stops


@pytest.mark.slow_in("firefox")
@pytest.mark.parametrize("mode", MODES)
def test_stop_closes_the_stream_and_the_server_stops_the_generator(
    open_page: OpenPage, slow_demo: str, mode: str
) -> None:
    wait_until(lambda: streams_open(slow_demo) == 0)
    page = open_page(f"{slow_demo}/demo?client=native#{mode}")
    wait_until(lambda: text(page, "streams") == "1")
    wait_until(lambda: int(text(page, "made")) >= 2)
    page.get_by_role("button", name="Stop Events").click()
    # The server noticed it: its count of streams goes down.
    wait_until(lambda: text(page, "streams") == "0")
    assert page.locator("#state").get_attribute("data-state") == "stopped"
    received = text(page, "received")
    # At once in classic mode, after 10 s in hub mode, where clients may reconnect.
    wait_until(lambda: text(page, "generator") == "stopped", timeout=9 if mode == "classic" else PATIENCE)
    made = text(page, "made")
    assert int(made) < int(text(page, "of"))
    page.wait_for_timeout(1500)
    assert (text(page, "made"), text(page, "received")) == (made, received)


@pytest.mark.slow_in("firefox")
def test_a_classic_stream_ends_by_an_id_and_a_close(open_page: OpenPage, quick_demo: str) -> None:
    streams: list[str] = []
    page = open_page(f"{quick_demo}/demo?client=native#classic", streams=streams)
    ended(page)
    assert "id -1" in rows(page)[-1]["text"]
    assert "close()" in rows(page)[-1]["text"]
    page.wait_for_timeout(3000)  # retry: was 2 s
    assert len(streams) == 1


@pytest.mark.slow_in("firefox")
def test_a_hub_stream_ends_with_an_event_and_a_204_and_the_page_does_nothing(
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


@pytest.mark.slow_in("firefox")
def test_start_again_opens_a_new_stream(open_page: OpenPage, quick_demo: str) -> None:
    streams: list[str] = []
    page = open_page(f"{quick_demo}/demo?client=native", streams=streams)
    ended(page)
    page.get_by_role("button", name="Start again").click()
    wait_until(lambda: len(events(page)) == 60)
    ended(page)
    assert text(page, "received") == "30"
    assert [row["number"] for row in events(page)] == [*range(1, 31), *range(1, 31)]
    assert len(set(streams)) == 2


@pytest.mark.slow_in("firefox")
@pytest.mark.parametrize("mode", MODES)
def test_each_page_view_has_its_own_events(open_page: OpenPage, quick_demo: str, mode: str) -> None:
    first = open_page(f"{quick_demo}/demo?client=native#{mode}")
    wait_until(lambda: int(text(first, "received")) >= 5)
    second = open_page(f"{quick_demo}/demo?client=native#{mode}")
    for page in (first, second):
        ended(page)
        assert [row["number"] for row in events(page)] == list(range(1, 31))


@pytest.mark.slow_in("firefox")
def test_the_mode_can_be_chosen(open_page: OpenPage, slow_demo: str) -> None:
    streams: list[str] = []
    page = open_page(f"{slow_demo}/demo?client=native", streams=streams)
    for mode, path in (("classic", "/demo/events?view="), ("hub", "/events/demo/")):
        page.locator(f"input[value={mode}]").check()
        page.locator("#state[data-state=open]").wait_for()
        assert path in streams[-1]
    assert len(streams) == 3


# -- other browsers, keyboard, screens


@pytest.mark.slow_in("firefox")
def test_without_event_source_a_hub_stream_ends_with_a_204(open_page: OpenPage, quick_demo: str) -> None:
    page = open_page(f"{quick_demo}/demo", script=NO_EVENT_SOURCE)
    ended(page)
    assert [(row["type"], row["text"]) for row in events(page)] == [
        (kind, log_text(fields)) for kind, fields in EXPECTED
    ]
    wait_until(lambda: "204" in rows(page)[-1]["text"])


@pytest.mark.slow_in("firefox")
def test_without_event_source_a_classic_stream_ends(open_page: OpenPage, quick_demo: str) -> None:
    streams: list[str] = []
    page = open_page(f"{quick_demo}/demo#classic", script=NO_EVENT_SOURCE, streams=streams)
    ended(page)
    assert "id -1" in rows(page)[-1]["text"]
    page.wait_for_timeout(3000)
    assert len(streams) == 1


@pytest.mark.slow_in("firefox")
def test_everything_works_by_keyboard(open_page: OpenPage, slow_demo: str) -> None:
    page = open_page(f"{slow_demo}/demo?client=native")
    reached = []
    for _ in range(13):
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
        "Skip", "Tidewire", "Random", "Broadcast", "Twelve", "Answer", "Inspector",
        "Stop", "hub", "native", "Drop", "Silent", "Refuse",
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
    assert page.locator("input[value=classic]").is_checked()
    page.locator("#fault-note").wait_for()


@pytest.mark.slow_in("firefox")
@pytest.mark.parametrize("path", ["/demo", "/demo/broadcast", "/demo/tabs", "/demo/answer"])
def test_it_fits_a_screen_of_320_pixels(open_page: OpenPage, quick_demo: str, path: str) -> None:
    page = open_page(f"{quick_demo}{path}", viewport={"width": 320, "height": 640})
    if path == "/demo":
        ended(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    for control in (
        *page.get_by_role("button").all(),
        *page.get_by_role("navigation").get_by_role("link").all(),
    ):
        box = control.bounding_box()
        assert box
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 320
        assert box["height"] >= 24


@pytest.mark.slow_in("firefox")
def test_the_first_event_is_in_view_on_a_phone_and_the_headline_is_on_top_of_a_wide_screen(
    open_page: OpenPage, quick_demo: str
) -> None:
    page = open_page(f"{quick_demo}/demo", viewport={"width": 375, "height": 667})
    card = page.locator(".card").first.bounding_box()
    assert card
    assert card["y"] + card["height"] <= 667
    assert page.locator("button.primary").count() == 1
    links = page.get_by_role("navigation").get_by_role("link").all_inner_texts()
    assert links[-2:] == ["Answer that survives", "Inspector"]
    page.set_viewport_size({"width": 1600, "height": 900})
    bar, headline = page.locator(".bar").bounding_box(), page.locator("h1").bounding_box()
    assert bar
    assert headline
    assert headline["y"] - (bar["y"] + bar["height"]) < 48


@pytest.mark.slow_in("firefox")
@pytest.mark.parametrize("path", ["/demo", "/demo/broadcast", "/demo/tabs", "/demo/answer"])
def test_it_is_dark_if_the_user_prefers_dark(open_page: OpenPage, quick_demo: str, path: str) -> None:
    page = open_page(f"{quick_demo}{path}")

    def contrast() -> tuple[float, float]:
        """Return how light the page and its text are, from 0 to 255."""
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
            # Playwright cannot emulate the scheme in a Firefox that it did not build. This selects
            # the same colours of the style sheet.
            page.evaluate("scheme => (document.documentElement.style.colorScheme = scheme)", scheme)

    prefer("light")
    ground, ink = contrast()
    assert ground - ink > 150
    prefer("dark")
    ground, ink = contrast()
    assert ink - ground > 150
