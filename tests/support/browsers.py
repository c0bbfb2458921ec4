"""The browsers that the tests drive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

CHROMIUM = Path(__file__).with_name("chromium.sh")

# How to start each browser that Debian ships; Playwright's own builds are not needed.
BROWSERS: dict[str, dict[str, Any]] = {
    "chromium": {
        "names": ("chromium", "chromium-browser", "google-chrome"),
        # As root, Chromium starts only without its sandbox. The other flags keep it off the network.
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    },
    # By WebDriver BiDi, which Debian's build supports.
    "firefox": {"names": ("firefox-esr", "firefox"), "channel": "moz-firefox"},
}


def browser_options(name: str) -> dict[str, Any] | None:
    """Return the arguments for Playwright's `launch`, or None if that browser is not installed."""
    options = dict(BROWSERS[name])
    path = next(filter(None, map(shutil.which, options.pop("names"))), None)
    if path is None:
        return None
    if name == "chromium":
        return {"executable_path": CHROMIUM, "env": {**os.environ, "CHROMIUM": path}, **options}
    return {"executable_path": path, **options}


class OpenBrowsers:
    """Browsers that stay open from one file of tests to the next: Firefox takes five seconds to start."""

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        self._browsers: dict[str, Browser] = {}
        self._playwright = sync_playwright().start()
        self._loop = asyncio.get_running_loop()
        # With eager tasks (`EAGER_TASKS=1`) its handlers of routes would wait for ever.
        self._loop.set_task_factory(None)
        asyncio._set_running_loop(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._in_use():
            for browser in self._browsers.values():
                browser.close()
            self._playwright.stop()

    @contextlib.contextmanager
    def lend(self, name: str, options: dict[str, Any]) -> Iterator[Browser]:
        """Yield the browser, without contexts, started with `options` if it does not run."""
        with self._in_use():
            browser = self._browsers.get(name)
            if browser is None or not browser.is_connected():
                browser = self._browsers[name] = getattr(self._playwright, name).launch(**options)
            yield browser
            for context in browser.contexts:
                close_context(context)

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Playwright keeps an event loop that counts as running in this thread. While nobody uses a browser
        it must not: no other loop, such as that of an asynchronous test, could run then.
        """
        asyncio._set_running_loop(self._loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)


def close_context(context: BrowserContext) -> None:
    """Close a context with its pages, and end their routes first: Firefox would route later contexts, too."""
    for page in context.pages:
        page.unroute_all()
    context.unroute_all()
    context.close()
