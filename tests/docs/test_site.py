"""`make docs`: the site builds without a warning, its links have targets, and it works from a file."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import tidewire
import tidewire.client
from support.documents import ROOT

# Building takes a quarter of a minute on a machine that does nothing else.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OUTSIDE = re.compile(r"(?:https?:)?//")


class Parsed(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if "href" in found:
            (self.links if tag == "a" else self.loads).append(found["href"])
        self.loads += [found[name] for name in ("src", "data", "poster") if name in found and tag != "a"]
        self.loads += re.findall(r"url\(['\"]?([^'\")]+)", found.get("style", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("material") is None:
        pytest.skip("the dependency group `docs` is not installed: `make slow` installs it")
    built = tmp_path_factory.mktemp("site")
    command = ["build", "--strict", "--config-file", "website/mkdocs.yml", "--site-dir", str(built)]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *command],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return built


@cache
def parsed(path: Path) -> Parsed:
    return Parsed(path.read_text("utf-8"))


def pages(site: Path) -> Iterator[Path]:
    yield from site.rglob("*.html")


def test_each_page_of_docs_is_built(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file(), page


def test_links_and_anchors_have_targets(site: Path) -> None:
    missing = []
    for page in pages(site):
        for link in [*parsed(page).links, *parsed(page).loads]:
            if OUTSIDE.match(link) or link.startswith("data:"):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
            if not target.is_file() or (
                anchor and target.suffix == ".html" and unquote(anchor) not in parsed(target).anchors
            ):
                missing.append(f"{page.relative_to(site)}: {link}")
    assert not missing


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    for page in pages(site):
        assert not [load for load in parsed(page).loads if OUTSIDE.match(load)], page
    for sheet in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import\s+)['\"]?([^'\")]+)", sheet.read_text("utf-8"))
        assert not [load for load in found if OUTSIDE.match(load)], sheet


def test_the_api_has_the_public_names(site: Path) -> None:
    for name, module in (("tidewire", tidewire), ("client", tidewire.client)):
        anchors = parsed(site / f"reference/api/{name}.html").anchors
        missing = {word for word in module.__all__ if f"{module.__name__}.{word}" not in anchors}
        assert not missing


def test_it_is_read_and_searched_from_a_file(site: Path, browser: Any) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "index.html").as_uri())
    page.locator("[data-md-component=search-query]").fill("gap")
    page.locator(".md-search-result__item a").first.wait_for()
    page.locator(".md-search-result__item a").first.click()
    page.wait_for_url(lambda url: not url.endswith("index.html"))
    assert page.locator("h1").first.inner_text()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
