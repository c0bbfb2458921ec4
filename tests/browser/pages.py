"""What the browser tests ask of a demo page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

if TYPE_CHECKING:
    from playwright.sync_api import Page

SEED = 7
NO_EVENT_SOURCE = "delete globalThis.EventSource;"

OpenPage = Callable[..., "Page"]


def text(page: Page, id: str) -> str:
    return page.locator(f"#{id}").inner_text()


def rows(page: Page) -> list[dict[str, Any]]:
    """Return the log, row by row."""
    found: list[dict[str, Any]] = page.evaluate(
        """() => [...document.querySelectorAll(".row")].map((row) => ({
            classes: [...row.classList].slice(1),
            type: row.querySelector(".type").textContent,
            text: row.querySelector(".text").textContent,
            number: Number(row.querySelector(".number").textContent.replace(/.*#/, "")),
        }))"""
    )
    return found


def events(page: Page) -> list[dict[str, Any]]:
    return [row for row in rows(page) if row["number"]]


def requests_for_streams(page: Page) -> list[str]:
    """Watch a page: the list grows with each connection that it asks for."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
    return asked


def get_json(url: str) -> Any:
    with urlopen(url) as answer:
        return json.load(answer)
