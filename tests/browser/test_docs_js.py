"""The JavaScript in the documentation runs in a browser, with the program that its page shows."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2
import pytest

from support.browser_pages import OpenPage
from support.documents import ROOT, blocks, serving
from support.scripted import HOLD, Scripted, answer, stream
from support.waiting import wait_until
from tidewire import Hub
from tidewire.client.sync import publish

if TYPE_CHECKING:
    from playwright.sync_api import Page

README = "README.md"
FIRST = "docs/index.md"
BROWSER = "docs/reference/browser-client.md"
REACT = "docs/how-to/react.md"
HTMX = "docs/how-to/htmx.md"
GENERATORS = "docs/how-to/generators.md"
STATE = "docs/how-to/state.md"
AUTH = "docs/how-to/auth.md"  # run by test_private_topic.py
LLM = "docs/how-to/llm.md"
CLIENTS = "docs/reference/clients.md"  # run by tests/clients/test_pages.py

# Other tests check each browser. These check that the code in the pages runs.
in_a_browser = pytest.mark.parametrize("browser", ["chromium"], indirect=True)

# Two hooks and a render function for one component, in place of React: the hook is tested, not React.
REACT_LIKE = """
let state, effect, draw;
export const useState = (first) => [(state ??= first), (next) => {
  state = typeof next === "function" ? next(state) : next;
  draw();
}];
export const useEffect = (run) => (effect ??= run);
export function render(component) {
  draw = component;
  draw();
  return effect();
}
"""
MODULES = {
    "react": f"data:text/javascript,{quote(REACT_LIKE)}",
    "tidewire": "/tidewire.js",
}

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
PAGE = {"type": "http.response.body", "body": b"<!doctype html><link rel=icon href=data:,>"}


def with_page(app: Any) -> Any:
    """Return the app with an empty page at /, for scripts of the same origin."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/":
            await app(scope, receive, send)
            return
        await send(HEAD)
        await send(PAGE)

    return outer


def run(page: Page, url: str, file: str, after: str = "", number: int = 0) -> None:
    """Run a block of a file as a module script, which may await and import."""
    text = blocks("js", file)[number].text.replace("http://localhost:8000", url)
    for name, module in MODULES.items():
        text = text.replace(f'from "{name}"', f'from "{module}"')
    page.add_script_tag(content=text + after, type="module")


def wait(page: Page, predicate: Callable[[], object]) -> None:
    """Wait, and let Playwright dispatch the page's events in the meantime."""

    def poll() -> object:
        page.wait_for_timeout(10)
        return predicate()

    wait_until(poll)


@in_a_browser
@pytest.mark.parametrize(
    ("file", "number", "topic", "expected"),
    [
        (README, 0, "news", "{id} hello"),
        (BROWSER, 0, "orders/7", "{id} hello"),
        (BROWSER, 2, "orders/7", "leader hello"),
    ],
)
def test_listening_to_a_hub(open_page: OpenPage, file: str, number: int, topic: str, expected: str) -> None:
    hub = Hub(per_process=True)
    console: list[str] = []
    with serving(with_page(hub.app)) as url:
        page = open_page(url, console=console)
        run(page, url, file, number=number)
        wait(page, lambda: hub.subscribers(topic))
        receipt = publish(url, topic, "hello")
        wait(page, lambda: console)
        page.close()
    assert console == [expected.format(**receipt)]


@in_a_browser
def test_the_first_page(open_page: OpenPage) -> None:
    program: dict[str, Any] = {}
    exec(blocks("python", FIRST)[0].text, program)
    console: list[str] = []
    with serving(with_page(program["app"])) as url:
        page = open_page(url, console=console)
        run(page, url, FIRST)
        wait(page, lambda: program["hub"].subscribers("orders/7"))
        httpx2.post(f"{url}/orders/7/pay").raise_for_status()
        wait(page, lambda: console)
        page.close()
    assert console == ['{"status":"paid"}']


@in_a_browser
def test_a_failure_that_a_publisher_reports(open_page: OpenPage) -> None:
    hub = Hub(per_process=True)
    console: list[str] = []
    with serving(with_page(hub.app)) as url:
        page = open_page(url, console=console)
        run(page, url, BROWSER, number=1)
        wait(page, lambda: hub.subscribers("answer"))
        publish(url, "answer", "overloaded", event="error")
        wait(page, lambda: console)
        page.close()
    assert console == ["the model failed: overloaded"]


@in_a_browser
def test_react(open_page: OpenPage) -> None:
    hub = Hub(per_process=True)
    after = """
    globalThis.shown = [];
    globalThis.unmount = render(() => shown.push(Order({ id: 7 })));
    """
    with serving(with_page(hub.app)) as url:
        page = open_page(url)
        run(page, url, REACT, after=f'import {{ render }} from "{MODULES["react"]}";{after}')
        wait(page, lambda: hub.subscribers("orders/7"))
        publish(url, "orders/7", {"status": "paid"})
        wait(page, lambda: page.evaluate("shown.at(-1)") == "paid")
        page.evaluate("unmount()")
        wait(page, lambda: not hub.subscribers("orders/7"))
        page.close()


@in_a_browser
def test_htmx(open_page: OpenPage) -> None:
    hub = Hub(per_process=True)
    after = 'htmx.createEventSource("/events?topic=news").onmessage = ({ data }) => console.log(data);'
    console: list[str] = []
    with serving(with_page(hub.app)) as url:
        page = open_page(url, console=console, script="globalThis.htmx = {};")
        run(page, url, HTMX, after=after)
        wait(page, lambda: hub.subscribers("news"))
        publish(url, "news", "hello")
        wait(page, lambda: console)
        page.close()
    assert console == ["hello"]


@in_a_browser
def test_the_last_event_of_a_generator(open_page: OpenPage) -> None:
    program = runpy.run_path(str(ROOT / "examples" / "tokens.py"))
    with serving(with_page(program["app"])) as url:
        page = open_page(url)
        run(page, url, GENERATORS, after="globalThis.source = source;")
        wait(page, lambda: page.evaluate("() => globalThis.source?.readyState") == 2)
        page.close()


@in_a_browser
def test_a_state_and_its_changes(open_page: OpenPage) -> None:
    program: dict[str, Any] = {}
    (block,) = blocks("python", STATE)
    exec(block.text, program)
    script = "seen = []; show = change = (value) => seen.push(JSON.stringify(value));"
    with serving(with_page(program["app"])) as url:
        httpx2.put(f"{url}/orders/7", params={"status": "open"}).raise_for_status()
        page = open_page(url, script=script)
        run(page, url, STATE)
        wait(page, lambda: program["hub"].subscribers("orders"))
        httpx2.put(f"{url}/orders/7", params={"status": "paid"}).raise_for_status()
        wait(page, lambda: len(page.evaluate("seen")) == 2)
        assert page.evaluate("seen") == ['{"7":"open"}', '{"id":"7","status":"paid"}']
        page.close()


@in_a_browser
def test_the_chat(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [
        b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % text for text in (b"The", b" Moon", b".")
    ]
    models = Scripted(stream(*tokens, b"data: [DONE]\n\n"), stream(*tokens, HOLD), answer("400 Bad Request"))
    monkeypatch.chdir(tmp_path)  # the log is there
    with models as model:
        monkeypatch.setenv("MODEL_URL", model.url)
        program: dict[str, Any] = {"__name__": "main"}
        exec(blocks("python", LLM)[2].text, program)
        with serving(with_page(program["app"])) as url:
            page, tab = open_page(url), open_page(url)

            def both_show(text: str) -> None:
                for one in (page, tab):
                    wait(one, lambda one=one: text == one.evaluate("document.body.textContent"))

            for one in (page, tab):
                run(one, url, LLM)
                wait(one, lambda one=one: one.evaluate("!!globalThis.stop"))  # type: ignore[misc]
            why = "> why?\nThe Moon. (done)\n"
            assert [page.evaluate("ask('why?', '1').then(({ status }) => status)") for _ in range(2)] == [
                202,
                202,
            ]
            both_show(why)
            page.evaluate("ask('and?')")
            both_show(f"{why}> and?\nThe Moon.")
            assert tab.evaluate("ask('busy?').then(({ status }) => status)") == 409
            tab.evaluate("stop()")
            both_show(f"{why}> and?\nThe Moon. (cancelled)\n")
            page.evaluate("ask('what else?')")
            page.reload()
            run(page, url, LLM)
            both_show(f"{why}> and?\nThe Moon. (cancelled)\n> what else?\n (failed)\n")
            page.close()
            tab.close()


def test_every_script_is_run() -> None:
    assert {block.page for block in blocks("js")} == {
        README,
        FIRST,
        BROWSER,
        REACT,
        HTMX,
        GENERATORS,
        STATE,
        AUTH,
        LLM,
        CLIENTS,
    }
