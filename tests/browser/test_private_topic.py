"""
The scripts of docs/how-to/auth.md in real browsers, with the program and the hub that the page starts.

Each reads a private topic, and misses nothing while its tokens expire again and again.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import pytest

from support.browser_pages import new_context, wait_until
from support.documents import blocks
from support.ports import free_port
from support.processes import Process
from support.tokens import bearer, token

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AUTH = "docs/how-to/auth.md"
SCRIPTS = {block.section: block.text for block in blocks("js", AUTH)}
COMMANDS = [block.text for block in blocks("sh", AUTH)]
SAME_SITE = "with-eventsource-on-the-same-site"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

# A page at `localhost` and a hub at `127.0.0.1` are of two sites.
ACROSS_SITES = ["with-the-browser-client", "with-eventsource-across-sites"]
LIFE = 3  # seconds


class Place(NamedTuple):
    """Where the page and the hub are."""

    page: str
    hub: str
    key: str

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        root = bearer(token(self.key, publish=["**"], admin=True))
        return httpx2.request(method, self.hub + path, headers=root, **options).raise_for_status()

    def publish(self, data: str) -> None:
        self.ask("POST", "/events/orders/7", content=data)

    def expired(self) -> float:
        found = re.search(
            r'ended_streams_total{reason="expired"} ([0-9.]+)', self.ask("GET", "/metrics").text
        )
        return float(found[1]) if found else 0.0


@contextmanager
def started(folder: Path, section: str) -> Iterator[Place]:
    """Run the commands of the page, each on a free port, with tokens that expire soon."""
    make = COMMANDS[0].splitlines()[0]
    serve, run = (line for line in next(text for text in COMMANDS if "uvicorn" in text).splitlines())
    assert os.system(f"cd {folder} && PATH={PATH} {make}") == 0
    (text,) = [block.text for block in blocks("python", AUTH) if block.section == "in-the-browser"]
    (folder / "page.py").write_text(text.replace("3600", str(LIFE)))
    port = free_port()
    page = f"http://localhost:{port}"
    serve = serve.replace("http://localhost:3000", page).removesuffix(" &") + " --port 0"
    with (
        Process(serve.split(), cwd=folder, env={"PATH": PATH}) as hub,
        Process(run.replace("3000", str(port)).split(), cwd=folder, env={"PATH": PATH}) as program,
    ):
        url = hub.wait_line(r"http://[^ /]+").group()
        host = "127.0.0.1" if section in ACROSS_SITES else "localhost"
        url = f"http://{host}:{url.rpartition(':')[2]}"
        script = SCRIPTS[section].replace("http://localhost:8000", url)
        (folder / "index.html").write_text(f'<!doctype html><script type="module">\n{script}</script>')
        program.wait_port(port)
        yield Place(page, url, (folder / "hub.key").read_text().strip())


def opened(browser: Browser, url: str) -> tuple[Page, list[str]]:
    """Open the page. Return it and what its script prints."""
    page = new_context(browser).new_page()
    printed: list[str] = []
    page.on("console", lambda message: message.type == "log" and printed.append(message.text))
    page.goto(url)
    return page, printed


def wait(page: Page, predicate: Any) -> None:
    """Wait, and let Playwright dispatch the page's events in the meantime."""
    wait_until(lambda: page.wait_for_timeout(10) or predicate())


@pytest.mark.parametrize("section", SCRIPTS)
def test_a_private_topic_in_a_browser(browser: Browser, section: str, tmp_path: Path) -> None:
    with started(tmp_path, section) as place:
        page, printed = opened(browser, place.page)
        wait(page, lambda: place.ask("GET", "/streams").json()["streams"])
        expected = []
        for number in range(2):
            place.publish(f"event {number}")
            expected.append(f"event {number}")
            wait(page, lambda number=number: place.expired() > number)
        wait(page, lambda: printed == expected)
        page.context.close()


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(browser: Browser, tmp_path: Path) -> None:
    with started(tmp_path, SAME_SITE) as place:
        page, _ = opened(browser, place.page)
        wait(page, lambda: place.ask("GET", "/streams").json()["streams"])
        (cookie,) = page.context.cookies(place.hub)
        assert (cookie["name"], cookie["path"]) == ("__Host-tidewire", "/")
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
        assert page.evaluate("document.cookie") == ""
        page.context.close()
