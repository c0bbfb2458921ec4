"""Page four of the demo: an answer that survives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.browser_pages import SEED, OpenPage, rows, text, wait_until
from tidewire.demo import answers

if TYPE_CHECKING:
    from playwright.sync_api import Page

ANSWER = answers.text(SEED)


@pytest.fixture(
    params=[
        pytest.param("?client=native", id="EventSource"),
        pytest.param("", id="EventStream", marks=pytest.mark.slow_in("firefox")),
    ]
)
def page(request: pytest.FixtureRequest, open_page: OpenPage, slow_demo: str) -> Page:
    """The page, with both clients."""
    return open_page(f"{slow_demo}/demo/answer{request.param}")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def wait_for_words(page: Page, count: int) -> None:
    wait_until(lambda: int(text(page, "shown")) >= count)


def wait_for_end(page: Page, state: str) -> None:
    page.bring_to_front()
    wait_until(lambda: page.locator("#run").get_attribute("data-run") == state)
    assert (text(page, "missing"), text(page, "repeated")) == ("0", "0")


def answer(page: Page) -> str:
    return page.locator("#answer").text_content() or ""


def open_twice(page: Page) -> Page:
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open it twice").click()
    return opened.value


def test_it_survives_a_reload_and_is_seen_twice(page: Page) -> None:
    press(page, "Ask for an answer")
    wait_for_words(page, 10)
    press(page, "Reload this page")
    wait_for_words(page, 20)
    assert page.locator("#run").get_attribute("data-run") == "running"
    tab = open_twice(page)
    for one in (tab, page):
        wait_for_end(one, "done")
        assert answer(one) == ANSWER
    wait_until(lambda: text(page, "listening") == "2")


@pytest.mark.slow_in("firefox")
@pytest.mark.parametrize(
    ("button", "state"),
    [("Stop the answer", "cancelled"), ("Kill the producer", "failed")],
    ids=["stop", "kill"],
)
def test_it_ends_in_both_tabs(page: Page, button: str, state: str) -> None:
    press(page, "Ask for an answer")
    wait_for_words(page, 5)
    tab = open_twice(page)
    wait_for_words(tab, 5)
    press(tab, button)
    for one in (tab, page):
        wait_for_end(one, state)
    assert ANSWER.startswith(answer(page))
    assert answer(tab) == answer(page) != ANSWER
    assert rows(page)[-1]["type"] == "hub.run"

    # The next answer begins from its first word, in both tabs.
    press(page, "Ask for an answer")
    for one in (tab, page):
        one.bring_to_front()
        wait_until(lambda one=one: one.locator("#run").get_attribute("data-run") == "running")  # type: ignore[misc]
        wait_for_words(one, 5)
    press(page, "Stop the answer")
    wait_for_end(tab, "cancelled")
