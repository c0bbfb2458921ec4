"""The page at `/`, for people who open the address of a hub in a browser."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from html import unescape

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from support.tokens import SECRET
from support.waiting import PATIENCE
from support.ways import Answer, Served, served
from tidewire import Hub, Tokens
from tidewire.testing import client

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Served]:
    with served("takeover") as running:
        yield running


def commands(page: str) -> list[str]:
    return [unescape(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]


def run(command: str) -> str:
    words = [*shlex.split(command), "-s", "--max-time", "5"]
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout


def test_a_browser_gets_a_page_and_what_it_says_works(hub: Served) -> None:
    answer: Answer = hub.ask("GET", "/", headers=BROWSER)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    subscribe, publish, script = commands(answer.body.decode())
    assert '"durability":"memory"' in run(publish)
    assert "data: hello" in run(f"{subscribe}?since=start")
    assert f'new EventSource("http://127.0.0.1:{hub.port}/events/news")' in script
    for link in re.findall(r'href="([^"]+)"', answer.body.decode()):
        assert hub.ask("GET", f"/{link}").status == 200, link


@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, {"Accept": "application/json"}])
def test_programs_are_told_where_streams_are(hub: Served, headers: dict[str, str]) -> None:
    answer = hub.ask("GET", "/", headers=headers)
    assert (answer.status, answer.json()["detail"]) == (404, "nothing here; streams are at /events")


def test_the_page_runs_no_script_and_asks_for_nothing_elsewhere(hub: Served) -> None:
    answer = hub.ask("GET", "/", headers=BROWSER)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in answer.body.decode()
    assert "://" not in re.sub(r"<pre.*?</pre>", "", answer.body.decode(), flags=re.DOTALL)


async def test_the_host_is_shown_as_text() -> None:
    hub = Hub(allowed_hosts=None, per_process=True)
    async with client(hub.app, base_url="http://x") as http:
        page = (await http.get("/", headers={**BROWSER, "Host": '"><b>evil</b>'})).text
    assert "<b>" not in page
    assert "&lt;b&gt;evil" in page


async def test_the_page_names_the_mount_point_and_asks_for_a_token() -> None:
    hub = Hub(auth=Tokens(SECRET), per_process=True)
    app = Starlette(routes=[Mount("/live", hub.app)])
    async with client(app, base_url="http://example.org") as http:
        page = (await http.get("/live/", headers=BROWSER)).text
    subscribe, _, _ = commands(page)
    assert subscribe == 'curl -N -H "Authorization: Bearer $TOKEN" http://example.org/live/events/news'
    assert "This hub asks for a token" in page
