"""Page one of the demo: after each fault nothing is missed or repeated."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.browser_pages import NO_EVENT_SOURCE, OpenPage, events, rows, text, wait_state, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page


def complete(page: Page) -> None:
    """Assert that every event so far is in the log, in order and once."""
    numbers = [row["number"] for row in events(page)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (text(page, "missed"), text(page, "repeated")) == ("0", "0")


def replayed(page: Page) -> list[dict[str, Any]]:
    return [row for row in events(page) if "replayed" in row["classes"]]


def test_drop_loses_and_repeats_nothing(open_page: OpenPage, slow_demo: str) -> None:
    page = open_page(f"{slow_demo}/demo?client=native")
    wait_until(lambda: int(text(page, "received")) >= 3)
    wait_until(lambda: text(page, "retry") == "2000 ms")
    assert text(page, "last-event-id") == "none yet"
    page.get_by_role("button", name="Drop").click()
    wait_state(page, "lost")
    assert "retry: 2000 ms" in next(row["text"] for row in rows(page) if row["type"] == "error")
    wait_until(lambda: replayed(page))
    sent = wait_until(lambda: (got := text(page, "last-event-id")) != "none yet" and got)
    told = re.compile(f"reconnected after .* s: the server received Last-Event-ID {re.escape(sent)} and")
    wait_until(lambda: any(told.match(row["text"]) for row in rows(page)))
    wait_until(lambda: text(page, "replayed") == str(len(replayed(page))))
    assert text(page, "connections") == "2"
    complete(page)


@pytest.mark.slow_in("firefox")
def test_silent_holds_all_bytes_back_and_loses_nothing(open_page: OpenPage, slow_demo: str) -> None:
    page = open_page(f"{slow_demo}/demo?client=native")
    wait_until(lambda: int(text(page, "received")) >= 3)
    began = time.monotonic()
    page.get_by_role("button", name="Silent").click()
    wait_state(page, "silent")
    received = int(text(page, "received"))
    # What was on its way may still come.
    wait_until(lambda: int(text(page, "received")) > received + 2)
    assert time.monotonic() - began > 10
    # How long it lasted by the server's clock: it makes an event each half second, or a little less often.
    wait_until(lambda: int(text(page, "replayed")) >= 10)
    assert int(text(page, "replayed")) <= 24
    assert text(page, "connections") == "1"
    complete(page)


@pytest.mark.slow_in("firefox")
def test_refuse_loses_nothing(open_page: OpenPage, slow_demo: str) -> None:
    page = open_page(f"{slow_demo}/demo?client=native")
    wait_until(lambda: int(text(page, "received")) >= 3)
    page.get_by_role("button", name="Refuse").click()
    wait_state(page, "lost")
    wait_until(lambda: any("refused after" in row["text"] for row in rows(page)))
    # The refusal has its own retry:, which the browser obeys.
    assert 1000 <= int(text(page, "retry").split()[0]) <= 2000
    wait_until(lambda: text(page, "retry") == "2000 ms")
    wait_until(lambda: int(text(page, "replayed")) >= 5)
    assert int(text(page, "connections")) >= 3
    complete(page)


@pytest.mark.slow_in("firefox")
def test_a_classic_stream_cannot_replay_and_the_page_says_so(open_page: OpenPage, quick_demo: str) -> None:
    page = open_page(f"{quick_demo}/demo?client=native#classic")
    for name in ("Drop", "Silent", "Refuse"):
        assert page.get_by_role("button", name=name).is_disabled()
    assert page.get_by_text("Choose “Hub topic” to break things").is_visible()


@pytest.mark.slow_in("firefox")
def test_our_client_recovers_without_event_source(open_page: OpenPage, slow_demo: str) -> None:
    page = open_page(f"{slow_demo}/demo", script=NO_EVENT_SOURCE)
    assert page.evaluate("typeof EventSource") == "undefined"
    wait_until(lambda: int(text(page, "received")) >= 3)
    page.get_by_role("button", name="Drop").click()
    wait_state(page, "lost")
    wait_until(lambda: int(text(page, "replayed")) >= 1)
    complete(page)
