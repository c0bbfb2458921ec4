"""Reading a demo page, for the browser tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.request import urlopen

from support import waiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

T = TypeVar("T")

SEED = 7
NO_EVENT_SOURCE = "delete globalThis.EventSource;"

# Each state that a demo page shows, even if it does so only for a moment.
NOTE_STATES = """
globalThis.states = [];
new MutationObserver((changes) => {
  for (const { target } of changes) if (target.id === "state") states.push(target.dataset.state);
}).observe(document, { subtree: true, attributeFilter: ["data-state"] });
"""

OpenPage = Callable[..., "Page"]


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Return a context whose pages may take their time."""
    context = browser.new_context(**options)
    context.set_default_timeout(waiting.PATIENCE * 1000)
    return context


def text(page: Page, id: str) -> str:
    return page.locator(f"#{id}").inner_text()


def rows(page: Page) -> list[dict[str, Any]]:
    """Return the log, row by row."""
    found: list[dict[str, Any]] = page.evaluate(
        """() => [...document.querySelectorAll(".row")].map((row) => ({
            classes: [...row.classList].slice(1),
            type: row.querySelector(".type").textContent,
            text: row.querySelector(".text").textContent,
            number: Number(row.querySelector(".number").textContent.replace(/.*#/, "")),
        }))"""
    )
    return found


def events(page: Page) -> list[dict[str, Any]]:
    return [row for row in rows(page) if row["number"]]


def wait_state(page: Page, state: str) -> None:
    """Wait until a page of the demo has shown this state."""
    wait_until(lambda: state in page.evaluate("states"))


def wait_until(predicate: Callable[[], T], timeout: float = waiting.PATIENCE) -> T:
    """Return what `predicate` returns as soon as it is true. Asks less often than `support.waiting`, and
    less and less: each question wakes a browser, which then has no time for the page.
    """
    pauses = _pauses()

    def asked() -> T:
        time.sleep(next(pauses))
        return predicate()

    return waiting.wait_until(asked, timeout)


def wait_until_equal(ask: Callable[[], T], expected: T) -> None:
    """Wait until `ask` returns `expected`; fail with what it returned last."""
    deadline = time.monotonic() + waiting.PATIENCE
    pauses = _pauses()
    while (found := ask()) != expected:
        assert time.monotonic() < deadline, f"still {found!r}, not {expected!r}"
        time.sleep(next(pauses))


def _pauses() -> Iterator[float]:
    """Yield seconds to wait between questions."""
    pause = 0.05
    while True:
        yield pause
        pause = min(pause * 1.3, 0.3)


def get_json(url: str) -> Any:
    with urlopen(url) as answer:
        return json.load(answer)
