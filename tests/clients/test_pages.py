"""SSE clients of others in real browsers: what test_streams.py has for programs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.client_matrix import BOTH, DATASTAR, FETCH, PAGES, Client
from support.client_scenarios import Open, meet_a_gap, read_to_its_end, survive_two_restarts
from support.documents import blocks
from support.foreign_clients import OpenPage, Server
from support.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def id_of(value: object) -> str:
    return value.id if isinstance(value, Client) else str(value)


each_client = pytest.mark.parametrize("client", PAGES, ids=id_of)
each_stream = pytest.mark.parametrize("stream", BOTH)


def opener(browser: Browser, server: Server, client: Client) -> Open:
    return partial(OpenPage, browser, server, client)


@each_stream
@each_client
def test_a_stream_is_read_exactly_to_its_end(
    browser: Browser, server: Server, client: Client, topic: str, stream: str
) -> None:
    read_to_its_end(server, client, topic, stream, opener(browser, server, client))


# Datastar drops the hub's events, and so cannot know of a gap.
@pytest.mark.parametrize("client", [one for one in PAGES if one.package != DATASTAR], ids=id_of)
def test_a_gap_is_told(browser: Browser, server: Server, client: Client, topic: str) -> None:
    meet_a_gap(server, client, topic, "normal", opener(browser, server, client))


@pytest.mark.parametrize(
    ("client", "stream"),
    [(client, stream) for client in PAGES for stream in client.resumes],
    ids=id_of,
)
def test_all_events_over_two_restarts(
    browser: Browser, server: Server, client: Client, topic: str, stream: str
) -> None:
    survive_two_restarts(server, client, topic, stream, opener(browser, server, client))


@pytest.mark.parametrize("client", [client for client in PAGES if client.at_end == "asks"], ids=id_of)
def test_set_as_the_docs_say_it_stops_at_the_end(
    browser: Browser, server: Server, client: Client, topic: str
) -> None:
    url = f"/hub/events/{topic}"
    with OpenPage(browser, server, client, url, set=True) as page:
        if client.package == FETCH:
            (block,) = blocks("js", "docs/reference/clients.md")
            page.run(block.text.replace("/events/news", url).replace("console.log(", "record("))
        wait_until(lambda: page.hubs("hub.position"))
        server.end(topic)
        page.over()
        assert page.hubs("hub.end") == [{"topic": topic, "reason": "ended"}]
