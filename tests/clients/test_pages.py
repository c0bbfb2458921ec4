"""SSE clients of others in real browsers: what test_streams.py has for programs."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.browser_pages import wait_until
from support.client_matrix import BOTH, DATASTAR, FETCH, PAGES, Client
from support.client_scenarios import (
    Case,
    ToTheEnd,
    has_all_of_fifteen,
    meet_a_gap,
    read_to_the_end,
    survive_two_restarts,
    was_read_to_the_end,
    was_told_of_the_gap,
)
from support.documents import blocks
from support.foreign_clients import OpenPage, Results, Server, check_installed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CASES = [Case(client, stream) for client in PAGES for stream in BOTH]
# Datastar drops the hub's events, and so cannot know of a gap.
TOLD = [case for case in CASES if case.stream == "normal" and case.client.package != DATASTAR]
RESUMING = [case for case in CASES if case.stream in case.client.resumes]

pytestmark = pytest.mark.slow_in("firefox")


@pytest.fixture(scope="module")
def read(browser: Browser, server: Server) -> ToTheEnd:
    return read_to_the_end(server, CASES, partial(OpenPage, browser, server))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_stream_is_read_exactly_to_its_end(read: ToTheEnd, case: Case) -> None:
    was_read_to_the_end(read, case)


@pytest.fixture(scope="module")
def gaps(browser: Browser, server: Server) -> Results:
    return meet_a_gap(server, TOLD, partial(OpenPage, browser, server))


@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.id)
def test_a_gap_is_told(gaps: Results, case: Case) -> None:
    was_told_of_the_gap(gaps, case)


@pytest.fixture(scope="module")
def resumed(browser: Browser, server: Server) -> Results:
    return survive_two_restarts(server, RESUMING, partial(OpenPage, browser, server))


@pytest.mark.parametrize("case", RESUMING, ids=lambda case: case.id)
def test_all_events_over_two_restarts(resumed: Results, case: Case) -> None:
    has_all_of_fifteen(resumed, case)


@pytest.mark.parametrize(
    "client", [client for client in PAGES if client.at_end == "asks"], ids=lambda client: client.id
)
def test_set_as_the_docs_say_it_stops_at_the_end(browser: Browser, server: Server, client: Client) -> None:
    check_installed(client)
    topic = uuid.uuid4().hex
    url = f"/hub/events/{topic}"
    with OpenPage(browser, server, client, url, set=True) as page:
        if client.package == FETCH:
            (block,) = blocks("js", "docs/reference/clients.md")
            page.run(block.text.replace("/events/news", url).replace("console.log(", "record("))
        wait_until(lambda: page.hubs("hub.position"))
        server.end(topic)
        wait_until(page.is_over)
        assert page.hubs("hub.end") == [{"topic": topic, "reason": "ended"}]
