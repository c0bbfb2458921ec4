"""The program of docs/how-to/ending-streams.md in real browsers: a logout ends the streams of every tab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import HTMLResponse

from support.browser_pages import new_context, wait_until
from support.documents import blocks, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LISTEN = """
() => {
  globalThis.opens = 0;
  globalThis.reasons = [];
  globalThis.source = new EventSource("/events");
  source.onopen = () => (opens += 1);
  source.addEventListener("hub.auth", (event) => reasons.push(JSON.parse(event.data).reason));
}
"""
STATE = "() => ({ opens, reasons, state: source.readyState })"
TABS = 3


def program() -> dict[str, Any]:
    """Run the documented program, and add an empty page for the tabs."""
    names: dict[str, Any] = {"__name__": "main"}
    (block, *_) = blocks("python", "docs/how-to/ending-streams.md")
    exec(compile(block.text, block.place, "exec"), names)
    names["app"].add_api_route("/", lambda: HTMLResponse("<title>tab</title>"))
    return names


def tabs_of(browser: Browser, url: str, user: str) -> list[Page]:
    """Log in and open tabs, each with a stream."""
    context = new_context(browser)
    pages = [context.new_page() for _ in range(TABS)]
    for page in pages:
        page.goto(url)
    pages[0].evaluate(f"() => fetch('/login/{user}', {{ method: 'POST' }})")
    for page in pages:
        page.evaluate(LISTEN)
    return pages


def test_a_logout_ends_the_streams_of_every_tab_and_they_do_not_come_back(browser: Browser) -> None:
    names = program()
    with serving(names["app"]) as url:
        ann, bob = tabs_of(browser, url, "ann"), tabs_of(browser, url, "bob")
        for page in (*ann, *bob):
            wait_until(lambda page=page: page.evaluate("() => opens") == 1)
        ann[1].evaluate("() => fetch('/logout', { method: 'POST' })")
        wait_until(lambda: {stream.sub for stream in names["hub"].streams()} == {"bob"})
        for page in ann:
            wait_until(lambda page=page: page.evaluate(STATE)["state"] == 2)
            assert page.evaluate(STATE) == {"opens": 1, "reasons": ["logged out"], "state": 2}
        assert [stream.sub for stream in names["hub"].streams()] == ["bob"] * TABS
        for page in bob:
            assert page.evaluate(STATE) == {"opens": 1, "reasons": [], "state": 1}
        for page in (ann[0], bob[0]):
            page.context.close()
