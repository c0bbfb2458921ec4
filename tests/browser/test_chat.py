"""examples/chat in real browsers: its answers survive a reload, show in every tab, and end in all of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.browser_pages import OpenPage, wait_until
from support.ports import free_port
from support.processes import Process

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from examples.chat.model import LONG, SHORT  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="on Windows a hub is one process")

TIDE, WAVES, FAILURE = "Why is there a tide?", "Give me a long answer", "Fail in the middle"

# What is promised. A slow machine may take longer: the tests wait for the state, and print the time.
STOPPED_WITHIN, LOST_WITHIN = 1, 5


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the example, served by four workers."""
    port = free_port()
    log = tmp_path_factory.mktemp("chat") / "chat.db"
    uvicorn = [sys.executable, "-m", "uvicorn", "examples.chat.app:app", "--port", str(port)]
    env = {"CHAT_LOG": f"sqlite:///{log}", "MODEL_PAUSE": "0.1"}
    with Process(
        [*uvicorn, "--workers", "4", "--ws", "none", "--no-access-log"], cwd=ROOT, env=env
    ) as server:
        wait_until(lambda: server.output.count("Application startup complete") >= 4)
        yield f"http://127.0.0.1:{port}"


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def turn(page: Page) -> Locator:
    """The newest question and its answer."""
    return page.locator("article").last


def answer(page: Page) -> str:
    return turn(page).locator(".text").text_content() or ""


def state(page: Page) -> str | None:
    return turn(page).get_attribute("data-state")


def wait_for_words(page: Page, count: int) -> None:
    wait_until(lambda: page.locator("article").count() and len(answer(page).split()) >= count)


def wait_for_end(page: Page, expected: str) -> None:
    wait_until(lambda: state(page) != "running")
    assert state(page) == expected


def second_tab(page: Page) -> Page:
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open in another tab").click()
    return opened.value


def end_in_both(pages: list[Page], expected: str) -> float:
    """Wait until both tabs show the end. Return the seconds that it took."""
    begun = time.monotonic()
    for page in pages:
        page.bring_to_front()
        wait_for_end(page, expected)
    return time.monotonic() - begun


def test_an_answer_survives_reloads_and_a_second_tab_sees_all_of_it(open_page: OpenPage, chat: str) -> None:
    page = open_page(chat)
    ask(page, TIDE)
    for words in (10, 30):
        wait_for_words(page, words)
        assert state(page) == "running"
        page.reload()
    tab = second_tab(page)
    for one in (page, tab):
        one.bring_to_front()
        wait_for_end(one, "done")
        # Nothing is missing, nothing is repeated.
        assert answer(one) == SHORT
        assert one.locator(".question").all_text_contents() == [TIDE]

    # The next answer, asked in one tab, shows in the other, and after it both show the same chat.
    ask(tab, FAILURE)
    wait_until(lambda: page.locator("article").count() == 2)
    for one in (page, tab):
        wait_for_end(one, "failed")
        assert answer(one) == " ".join(SHORT.split(" ")[:20])
        assert "overloaded" not in one.content()
    page.reload()
    wait_until(lambda: page.locator("article").count() == 2)
    wait_for_end(page, "failed")
    assert page.locator(".question").all_text_contents() == [TIDE, FAILURE]
    assert page.locator(".text").all_text_contents()[0] == SHORT


@pytest.mark.slow_in("firefox")
def test_stop_in_one_tab_ends_the_answer_in_both(open_page: OpenPage, chat: str) -> None:
    page = open_page(chat)
    ask(page, WAVES)
    wait_for_words(page, 5)
    tab = second_tab(page)
    wait_for_words(tab, 5)
    tab.get_by_role("button", name="Stop").click()
    print(f"stopped in both within {end_in_both([tab, page], 'cancelled'):.2f} s of {STOPPED_WITHIN}")
    stopped = answer(page)
    assert LONG.startswith(stopped)
    assert answer(tab) == stopped != LONG

    # The chat goes on, with the same question as another run.
    turn(page).get_by_role("button", name="Ask again").click()
    wait_until(lambda: (tab.locator("article").count(), state(tab)) == (2, "running"))
    tab.get_by_role("button", name="Stop").click()
    end_in_both([tab, page], "cancelled")


@pytest.mark.slow_in("firefox")
def test_an_answer_is_lost_in_both_tabs_when_its_worker_is_killed(open_page: OpenPage, chat: str) -> None:
    page = open_page(chat)
    ask(page, WAVES)
    wait_for_words(page, 5)
    tab = second_tab(page)
    wait_for_words(tab, 5)
    os.kill(int(turn(page).get_attribute("data-worker") or ""), signal.SIGKILL)
    print(f"lost in both within {end_in_both([tab, page], 'lost'):.2f} s of {LOST_WITHIN}")
    lost = answer(page)
    assert LONG.startswith(lost)
    assert answer(tab) == lost != LONG
    turn(tab).get_by_role("button", name="Ask again").click()
    wait_until(lambda: (page.locator("article").count(), state(page)) == (2, "running"))
    page.get_by_role("button", name="Stop").click()
    end_in_both([page, tab], "cancelled")


@pytest.mark.slow_in("firefox")
@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_fits_its_window(open_page: OpenPage, chat: str, width: int) -> None:
    page = open_page(chat, viewport={"width": width, "height": 640})
    ask(page, TIDE)
    wait_for_words(page, 30)
    page.get_by_role("button", name="Stop").click()
    wait_for_end(page, "cancelled")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in (*page.get_by_role("button").all(), *page.get_by_role("link").all()):
        if control.is_visible():
            box = control.bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= width
