"""What the browser tests share: pages that must not misbehave, and the demo as a process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from support.browser_pages import NOTE_STATES, SEED, OpenPage, new_context
from support.browsers import close_context
from support.processes import Process
from support.ways import APPS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TIDEWIRE = Path(sys.executable).with_name("tidewire")

# Records violations of the content security policy, which no test would see otherwise.
WATCH_POLICY = """
globalThis.violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  violations.push(`${violatedDirective} ${blockedURI}`);
});
"""

SHOWN = "`${document.body.innerText.slice(0, 3000)} … ${document.body.innerText.slice(-3000)}`"


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """
    Open pages, each in its own context.

    At the end, no page may have raised an error, violated its content
    security policy or sent a request to another server.
    """
    contexts: list[Any] = []
    pages: list[Page] = []
    errors: list[str] = []
    asked: list[tuple[str, str]] = []

    def open_page(
        url: str,
        *,
        script: str = "",
        console: list[str] | None = None,
        streams: list[str] | None = None,
        **options: Any,
    ) -> Page:
        """`script` runs before the page's scripts; `console` and `streams` (URLs) are filled."""
        context = new_context(browser, **options)
        contexts.append(context)
        page = context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append((url, request.url)))
        if console is not None:
            page.on("console", lambda message: console.append(message.text))
        if streams is not None:
            page.on("request", lambda request: "/events" in request.url and streams.append(request.url))
        page.add_init_script(WATCH_POLICY + NOTE_STATES + script)
        page.goto(url)
        return page

    yield open_page
    left = [page for page in pages if not page.is_closed()]
    for page in left:
        # A report of a failure shows what is printed.
        print(f"--- {page.url}: {page.evaluate('states')}\n{page.evaluate(SHOWN)}")
    violations = [page.evaluate("violations") for page in left]
    for context in contexts:
        close_context(context)
    # Firefox reports a lost connection as an error of the page.
    assert [error for error in errors if not error.startswith(("Firefox can", "The connection to "))] == []
    assert [found for found in violations if found] == []
    assert [to for page, to in asked if urlsplit(to).netloc != urlsplit(page).netloc] == []


def run_demo(*argv: str | Path) -> Iterator[str]:
    with Process(argv) as process:
        yield process.wait_line(r"(http://[^ /]+)/demo").group(1)


@pytest.fixture(scope="module")
def quick_demo() -> Iterator[str]:
    """The URL of a demo whose thirty events take two seconds."""
    yield from run_demo(TIDEWIRE, "demo", "--port", "0", "--seed", str(SEED), "--interval", "0.06")


@pytest.fixture(scope="module")
def slow_demo() -> Iterator[str]:
    """The URL of a demo with time to break things: an event each half second, for four minutes."""
    yield from run_demo(sys.executable, APPS / "slow_demo.py", str(SEED))
