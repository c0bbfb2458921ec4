"""Page three of the demo: twelve tabs on one connection."""

from __future__ import annotations

from support.browser_pages import OpenPage, text, wait_until


def test_twelve_tabs_get_every_event_over_one_stream(open_page: OpenPage, quick_demo: str) -> None:
    page = open_page(f"{quick_demo}/demo/tabs")
    leader, followers = page.locator("iframe.leads"), page.locator("iframe:not(.leads)")
    role = "(frame) => frame.contentDocument.body?.dataset.role"
    roles = f"[...document.querySelectorAll('iframe')].map({role}).sort()"
    wait_until(lambda: page.evaluate(roles) == ["follower"] * 11 + ["leader"])
    wait_until(lambda: text(page, "streams") == "1")
    page.get_by_role("button", name="Generate an event").click()
    wait_until(lambda: (text(page, "generated"), text(page, "complete")) == ("1", "12"))

    page.get_by_role("button", name="Close the leader").click()
    wait_until(lambda: (leader.count(), followers.count()) == (1, 10))
    page.get_by_role("button", name="Generate an event").click()
    wait_until(lambda: (text(page, "generated"), text(page, "complete")) == ("2", "11"))
    wait_until(lambda: text(page, "streams") == "1")
