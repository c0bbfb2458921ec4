"""
Write the screenshots of the documentation, docs/images/*.png: python scripts/screenshots.py [NAME ...]

It serves the demo, and needs Chromium, as the browser tests do.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browsers import browser_options  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SEED = "7"
WIDTH, HEIGHT = 1280, 800


class Shot(NamedTuple):
    """A page of the demo or the inspector, and what to do before it is drawn, light and dark."""

    name: str
    path: str
    prepare: Callable[[Page], None]


def wait(page: Page) -> None:
    """Let some events come."""
    page.wait_for_timeout(5000)


def ask(page: Page) -> None:
    page.get_by_role("button", name="Ask for an answer").click()
    page.wait_for_timeout(4000)


def watch_hub(page: Page) -> None:
    """Let the hub have something to show: a few streams, and events with pauses."""
    page.evaluate(
        """() => {
          for (let number = 0; number < 3; number += 1) new EventSource("/subscribeToEvents");
          const next = () => {
            void fetch("/generateEvent");
            setTimeout(next, 60 + 120 * (1 + Math.sin(Date.now() / 2500)));
          };
          next();
        }"""
    )
    page.wait_for_timeout(30_000)


def try_topic(page: Page) -> None:
    watch_hub(page)
    page.locator("#try-table .row:not([hidden])").nth(12).click()
    page.wait_for_timeout(500)


SHOTS = [
    Shot("demo-random", "/demo", wait),
    Shot("demo-answer", "/demo/answer", ask),
    Shot("inspector-overview", "/inspect", watch_hub),
    Shot("inspector-try", "/inspect#/try/broadcast", try_topic),
]


def draw(url: str, shots: list[Shot]) -> None:
    options = browser_options("chromium")
    if options is None:
        sys.exit("Chromium is not installed: `make test` as root installs it")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**options)
        for shot in shots:
            for scheme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce"
                )
                page.goto(url + shot.path)
                shot.prepare(page)
                page.screenshot(path=IMAGES / f"{shot.name}-{scheme}.png", scale="css")
                page.close()
        browser.close()


def main(names: list[str]) -> None:
    command = [sys.executable, "-m", "tidewire", "demo", "--port", "0", "--seed", SEED, "--interval", "0.3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            line = next(line for line in demo.stdout if "http://" in line)
            url = next(word for word in line.split() if word.startswith("http://")).rstrip("/")
            draw(url.removesuffix("/demo"), [shot for shot in SHOTS if not names or shot.name in names])
        finally:
            demo.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
