"""axe-core finds nothing serious on the pages of the inspector and the demo, in both colour schemes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.browser_pages import OpenPage, text, wait_until
from support.nodejs import node_clients
from support.running_hub import RunningHub

if TYPE_CHECKING:
    from playwright.sync_api import Page

# The pages are the same in each browser, and Playwright emulates colours in this one only.
pytestmark = pytest.mark.parametrize("browser", ["chromium"], indirect=True, scope="module")

DEMO = ["/demo", "/demo/broadcast", "/demo/tabs", "/demo/answer"]
SERIOUS = """async () => {
  const { violations } = await axe.run(document, { iframes: false });
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => [id, nodes.slice(0, 3).map(({ html }) => html.slice(0, 200))]);
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    return (node_clients() / "axe-core" / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningHub]:
    with RunningHub() as running:
        yield running


def check(page: Page, axe: str, name: str) -> None:
    page.evaluate(axe)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        assert page.evaluate(SERIOUS) == [], f"{name}, {scheme}"


def test_the_inspector(open_page: OpenPage, hub: RunningHub, axe: str) -> None:
    page = open_page(f"{hub.url}/inspect#/try/news")
    wait_until(lambda: text(page, "try-state") == "open")
    page.evaluate("async () => { await fetch('events/news', { method: 'POST', body: 'the first' }) }")
    row = page.locator("#try-table .row:not([hidden])", has_text="the first")
    row.click()
    id = row.locator(".id").text_content()
    check(page, axe, "try")
    for view in ("overview", "topics", "topics/news", "streams", "streams/1", "event", f"event/{id}"):
        page.evaluate("hash => { location.hash = hash }", f"#/{view}")
        page.locator(f"#{view.split('/')[0]}").wait_for()
        if view == "streams/1":
            page.locator("#timeline li").first.wait_for()
        if view == f"event/{id}":
            page.locator("#event-report").wait_for()
        check(page, axe, view)


MARKED = """() => ["nav a", "#ranges button"].map((one) =>
    new Set([...document.querySelectorAll(one)].map((element) => {
      const { borderBlockEndColor, backgroundColor } = getComputedStyle(element);
      return `${borderBlockEndColor} ${backgroundColor}`;
    })).size)"""


def test_what_is_chosen_is_seen_with_forced_colors(open_page: OpenPage, hub: RunningHub) -> None:
    page = open_page(f"{hub.url}/inspect")
    page.emulate_media(forced_colors="active", reduced_motion="reduce")
    assert page.evaluate(MARKED) == [2, 2]


@pytest.mark.parametrize("path", DEMO)
def test_the_demo(open_page: OpenPage, quick_demo: str, axe: str, path: str) -> None:
    check(open_page(f"{quick_demo}{path}"), axe, path)
