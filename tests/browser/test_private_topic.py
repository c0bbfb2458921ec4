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
from support.browsers import close_context
from support.documents import blocks, serving
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


class Place(NamedTuple):
    """Where the page and the hub are."""

    page: str
    hub: str
    client: httpx2.Client

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self.client.request(method, self.hub + path, **options).raise_for_status()

    def publish(self, data: str) -> None:
        self.ask("POST", "/events/orders/7", content=data)

    def count(self, name: str, label: str) -> float:
        found = re.search(rf"{name}_total{{{label}}} ([0-9.]+)", self.ask("GET", "/metrics").text)
        return float(found[1]) if found else 0.0

    def subjects(self) -> list[str]:
        """Return whose streams are open."""
        return [stream["sub"] for stream in self.ask("GET", "/streams").json()["streams"]]


@contextmanager
def started(folder: Path, section: str, life: int = 3600) -> Iterator[Place]:
    """Run the commands of the page, each on a free port, with tokens that live for `life` seconds."""
    make = COMMANDS[0].splitlines()[0]
    serve, run = (line for line in next(text for text in COMMANDS if "uvicorn" in text).splitlines())
    assert os.system(f"cd {folder} && PATH={PATH} {make}") == 0
    (text,) = [block.text for block in blocks("python", AUTH) if block.section == "in-the-browser"]
    text = text.replace('["orders/*"]}', '["orders/*"], "publish": ["**"]}')
    (folder / "page.py").write_text(text.replace("3600", str(life)))
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
        root = bearer(token((folder / "hub.key").read_text().strip(), publish=["**"], admin=True))
        with httpx2.Client(headers=root) as client:
            yield Place(page, url, client)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place whose tokens last, for the tests of the cookie."""
    with started(tmp_path_factory.mktemp("place"), SAME_SITE) as place:
        yield place


@pytest.fixture
def place(shared: Place) -> Place:
    """The same, without the streams of the last test."""
    wait_until(lambda: shared.subjects() == [])
    return shared


def opened(browser: Browser, url: str) -> tuple[Page, list[str]]:
    """Open the page. Return it and what its script prints."""
    page = new_context(browser).new_page()
    printed: list[str] = []
    page.on("console", lambda message: message.type == "log" and printed.append(message.text))
    page.goto(url)
    return page, printed


def wait(page: Page, predicate: Any) -> None:
    """Wait, and let Playwright dispatch the page's events in the meantime."""
    wait_until(lambda: page.wait_for_timeout(1) or predicate())


@pytest.mark.parametrize("section", SCRIPTS)
def test_a_private_topic_in_a_browser(browser: Browser, section: str, tmp_path: Path) -> None:
    with started(tmp_path, section, life=3) as place:
        page, printed = opened(browser, place.page)
        wait(page, place.subjects)
        expected = []
        for number in range(2):
            place.publish(f"event {number}")
            expected.append(f"event {number}")
            wait(page, lambda n=number: place.count("ended_streams", 'reason="expired"') > n)
        wait(page, lambda: printed == expected)
        page.context.close()


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(browser: Browser, place: Place) -> None:
    page, _ = opened(browser, place.page)
    wait(page, place.subjects)
    (cookie,) = page.context.cookies(place.hub)
    assert (cookie["name"], cookie["path"]) == ("__Host-tidewire", "/")
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert page.evaluate("document.cookie") == ""
    page.context.close()


END = """
async (hub) => (await fetch(`${hub}/session`, { method: "DELETE", credentials: "include" })).status
"""


def test_the_end_of_a_session_ends_the_streams_of_every_tab(browser: Browser, place: Place) -> None:
    refused = "refused_requests", 'code="missing_token"'
    before = place.count(*refused)
    first, _ = opened(browser, place.page)
    tabs = [first, first.context.new_page(), first.context.new_page()]
    for tab in tabs[1:]:
        tab.goto(place.page)
    wait(first, lambda: place.subjects() == ["ada"] * 3)
    # The backend signs nobody in again.
    first.context.route("**/token", lambda route: route.abort())
    assert tabs[1].evaluate(END, place.hub) == 204
    wait(first, lambda: place.subjects() == [])
    # Each tab comes back once, and is refused.
    wait(first, lambda: place.count(*refused) - before == 3)
    assert place.subjects() == []
    assert first.context.cookies(place.hub) == []
    close_context(first.context)


TRY_EVERYTHING = """
async (hub) => {
  const over = (target, good, bad) => new Promise((done) => {
    target.addEventListener(good, () => done(good));
    target.addEventListener(bad, () => done(bad));
  });
  const stream = `${hub}/events/orders/7`;
  const image = new Image();
  image.src = stream;
  const source = new EventSource(stream, { withCredentials: true });
  const ends = [over(image, "load", "error"), over(source, "open", "error")];
  for (const [method, url] of [["POST", stream], ["POST", `${hub}/tickets`], ["POST", `${hub}/session`]]) {
    await fetch(url, { method, mode: "no-cors", credentials: "include", body: "evil" });
  }
  const form = document.createElement("form");
  const frame = document.createElement("iframe");
  Object.assign(form, { method: "POST", action: stream, enctype: "text/plain", target: "frame" });
  frame.name = "frame";
  document.body.append(frame, form);
  form.submit();
  return Promise.all(ends);
}
"""


async def empty_page(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
        await send(head)
        await send({"type": "http.response.body", "body": b"<!doctype html><body>"})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_e03_e04_another_page_can_do_nothing_with_the_cookie(
    browser: Browser, place: Place, host: str
) -> None:
    """A page of the same site, whose requests carry the cookie, and one of another site."""
    refused = "refused_requests", 'code="cross_site"'
    before = place.count(*refused)
    with serving(empty_page) as evil:
        mine, printed = opened(browser, place.page)
        wait(mine, place.subjects)
        page = mine.context.new_page()
        page.goto(evil.replace("127.0.0.1", host))
        assert page.evaluate(TRY_EVERYTHING, place.hub) == ["error", "error"]
        place.publish("hello")
        wait(mine, lambda: printed)
        assert (printed, place.subjects()) == (["hello"], ["ada"])
        # The cookie comes with what a page of the same site sends, so all six are refused for the page.
        expected = 6 if host == "localhost" else 4
        wait(mine, lambda: place.count(*refused) - before == expected)
        assert place.subjects() == ["ada"]
        mine.context.close()
