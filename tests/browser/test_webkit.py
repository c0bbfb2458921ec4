"""Page one of the demo in WebKit, with the browser's own EventSource and with our client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from support.browser_pages import NOTE_STATES, SEED, get_json, wait_until
from support.webkit import webkit
from tidewire.demo.random_events import random_events

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

pytestmark = pytest.mark.browser

NUMBERS = """
return [...document.querySelectorAll(".row .number")]
    .map((number) => Number(number.textContent.replace(/.*#/, ""))).filter(Boolean)
"""

CLIENTS = pytest.mark.parametrize("client", ["?client=native", ""], ids=["EventSource", "EventStream"])


@pytest.fixture(scope="module")
def driver() -> Iterator[WebDriver]:
    with webkit() as driver:
        yield driver


class DemoPage:
    """Page one of the demo in the only window."""

    def __init__(self, driver: WebDriver, url: str) -> None:
        self._driver = driver
        driver.get("about:blank")  # a URL that differs only in its fragment would load nothing
        driver.get(url)
        driver.execute_script(NOTE_STATES)

    def text(self, id: str) -> str:
        text: str = self._driver.execute_script("return document.getElementById(arguments[0]).innerText", id)
        return text

    def state(self) -> str | None:
        return self._driver.find_element("id", "state").get_dom_attribute("data-state")

    def has_been(self, state: str) -> bool:
        return state in self._driver.execute_script("return states")

    def numbers(self) -> list[int]:
        """Return the numbers of the events in the log."""
        numbers: list[int] = self._driver.execute_script(NUMBERS)
        return numbers

    def click(self, button: str) -> None:
        self._driver.find_element("css selector", button).click()

    def is_complete(self) -> None:
        """Assert that every event so far is in the log, in order and once."""
        numbers = self.numbers()
        assert numbers == list(range(1, len(numbers) + 1))
        assert (self.text("missed"), self.text("repeated")) == ("0", "0")


def streams_open(url: str) -> Any:
    return get_json(f"{url}/demo/status")["streams"]


@CLIENTS
@pytest.mark.parametrize("mode", ["hub", "classic"])
def test_thirty_events_arrive_and_the_stream_ends(
    driver: WebDriver, quick_demo: str, mode: str, client: str
) -> None:
    page = DemoPage(driver, f"{quick_demo}/demo{client}#{mode}")
    wait_until(lambda: page.state() == "ended")
    assert page.text("received") == "30"
    assert page.numbers() == list(range(1, 31))
    page.is_complete()
    newest = {event.event: json.loads(event.data) for event in random_events(Random(SEED), 30)}
    assert page.text("coin-value") == newest["coinToss"]["result"]
    assert page.text("fact") == newest["catFact"]["text"]
    wait_until(lambda: streams_open(quick_demo) == 0)


@CLIENTS
def test_stop_closes_the_stream(driver: WebDriver, slow_demo: str, client: str) -> None:
    page = DemoPage(driver, f"{slow_demo}/demo{client}")
    wait_until(lambda: int(page.text("received")) >= 2)
    page.click("#toggle")
    wait_until(lambda: page.state() == "stopped")
    wait_until(lambda: streams_open(slow_demo) == 0)


@CLIENTS
def test_a_dropped_connection_is_resumed(driver: WebDriver, slow_demo: str, client: str) -> None:
    page = DemoPage(driver, f"{slow_demo}/demo{client}")
    wait_until(lambda: int(page.text("received")) >= 3)
    page.click("[data-fault=drop]")
    wait_until(lambda: page.has_been("lost"))
    wait_until(lambda: int(page.text("replayed")) >= 1)
    assert page.text("connections") == "2"
    page.is_complete()
