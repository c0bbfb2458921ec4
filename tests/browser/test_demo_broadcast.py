"""Page two of the demo: one cat fact for all listeners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.browser_pages import OpenPage, get_json, rows, text, wait_until
from tidewire.demo.content import CAT_FACTS


@pytest.fixture(
    params=[
        pytest.param("?client=native", id="EventSource", marks=pytest.mark.slow_in("firefox")),
        pytest.param("", id="EventStream"),
    ]
)
def client(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both clients: the browser's and ours."""
    return request.param  # type: ignore[no-any-return]


def facts(page: object) -> list[str]:
    return [row["text"] for row in rows(page) if row["type"] == "catFact"]  # type: ignore[arg-type]


def test_each_generated_event_reaches_all_current_listeners(
    open_page: OpenPage, quick_demo: str, client: str
) -> None:
    first = open_page(f"{quick_demo}/demo/broadcast{client}")
    second = open_page(f"{quick_demo}/demo/broadcast{client}")
    for page in (first, second):
        wait_until(lambda page=page: text(page, "listening") == "2")  # type: ignore[misc]

    # As from a terminal, or from the address bar of another tab.
    sent = get_json(f"{quick_demo}/generateEvent")
    assert sent["text"] in CAT_FACTS
    assert sent["listening"] == 2
    for page in (first, second):
        wait_until(lambda page=page: facts(page) == [sent["text"]])  # type: ignore[misc]
        assert text(page, "fact") == sent["text"]

    second.get_by_role("button", name="Stop Events").click()
    wait_until(lambda: text(first, "listening") == "1")
    wait_until(lambda: text(second, "listening") == "1")
    again = get_json(f"{quick_demo}/generateEvent")
    assert again["listening"] == 1
    wait_until(lambda: facts(first) == [sent["text"], again["text"]])
    assert facts(second) == [sent["text"]]
    assert text(first, "state") == "open"

    second.get_by_role("button", name="Start again").click()
    wait_until(lambda: text(first, "listening") == "2")
    third = get_json(f"{quick_demo}/generateEvent")
    wait_until(lambda: facts(second) == [sent["text"], third["text"]])
    wait_until(lambda: facts(first)[-1] == third["text"])


@pytest.mark.slow_in("firefox")
def test_the_page_generates_events_too(open_page: OpenPage, quick_demo: str) -> None:
    page = open_page(f"{quick_demo}/demo/broadcast")
    # It does not open empty.
    wait_until(lambda: text(page, "fact") in CAT_FACTS)
    wait_until(lambda: text(page, "listening") == "1")
    assert text(page, "received") == "0"
    before = text(page, "fact")
    page.get_by_role("button", name="Generate an event").click()
    wait_until(lambda: text(page, "received") == "1")
    assert text(page, "fact") in CAT_FACTS
    assert text(page, "fact") != before
    assert {"generateEvent", "catFact"} <= {row["type"] for row in rows(page)}


@pytest.mark.slow_in("firefox")
def test_another_tab_is_one_more_listener(open_page: OpenPage, quick_demo: str) -> None:
    page = open_page(f"{quick_demo}/demo/broadcast")
    wait_until(lambda: text(page, "listening") == "1")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open another tab").click()
    # Behind the new tab, this one does not poll the server.
    wait_until(lambda: get_json(f"{quick_demo}/demo/status")["listening"] == 2)
    page.bring_to_front()
    wait_until(lambda: text(page, "listening") == "2")
    opened.value.close()
    wait_until(lambda: text(page, "listening") == "1")
