"""`tidewire/react` and `tidewire/vue` in a program built by Vite with the real frameworks, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from support.browser_pages import OpenPage
from support.documents import blocks, serving
from support.nodejs import run_npm
from support.waiting import wait_until
from tidewire import Hub
from tidewire.client.sync import publish

VITE = "vite@8.3.8"
FRAMEWORKS = {"react": ("react@19.3.1", "react-dom@19.3.1"), "vue": ("vue@3.5.45",)}
MOUNTED = {
    "react": """
import { createElement, StrictMode } from "react";
import { createRoot } from "react-dom/client";
const root = createRoot(document.querySelector("main"));
globalThis.show = (id) => root.render(createElement(StrictMode, null, createElement(Order, { id })));
globalThis.hide = () => root.unmount();
""",
    "vue": """
import { createApp, h, ref } from "vue";
const id = ref(7);
const app = createApp(() => h(Order, { id: id.value }));
globalThis.show = (next) => (id.value = next);
globalThis.hide = () => app.unmount();
app.mount("main");
""",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("hooks")
    run_npm("pack", "--pack-destination", str(folder))
    (package,) = folder.glob("*.tgz")

    def build(name: str) -> Path:
        program = folder / name
        program.mkdir()
        (program / "package.json").write_text('{"type": "module"}')
        run_npm("install", "--no-audit", str(package), VITE, *FRAMEWORKS[name], cwd=program)
        (block,) = [block for block in blocks("js", "docs/how-to/react.md") if block.section == name]
        (program / "main.js").write_text(block.text + MOUNTED[name] + "show(7);")
        (program / "index.html").write_text(
            "<!doctype html><link rel=icon href=data:,>"
            "<main></main><script type=module src=./main.js></script>"
        )
        run_npm("exec", "--", "vite", "build", cwd=program)
        return program / "dist"

    return build


@pytest.mark.parametrize("browser", ["chromium"], indirect=True)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_hook_of_the_page(name: str, built: Callable[[str], Path], open_page: OpenPage) -> None:
    hub = Hub(per_process=True)
    pages = StaticFiles(directory=built(name), html=True)
    app = Starlette(routes=[Mount("/hub", hub.app), Mount("/", pages)], lifespan=hub.lifespan)
    with serving(app) as url:
        page: Any = open_page(url)

        def shown(text: str) -> None:
            wait_until(lambda: page.wait_for_timeout(10) or page.inner_text("main") == text)

        def watched(*ids: int) -> None:
            counts = {f"orders/{id}": 1 if id in ids else 0 for id in (7, 8)}
            wait_until(
                lambda: (
                    page.wait_for_timeout(10)
                    or all(hub.subscribers(topic) == count for topic, count in counts.items())
                )
            )

        watched(7)
        shown("open, 0 events:")
        publish(f"{url}/hub", "orders/7", {"status": "open"})
        publish(f"{url}/hub", "orders/7", {"status": "paid"})
        shown("open, 2 events: paid")
        page.evaluate("show(8)")
        watched(8)
        shown("open, 0 events:")
        page.evaluate("hide()")
        watched()
        page.close()
