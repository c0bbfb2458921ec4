"""
What the site has besides the pages in docs/.

On GitHub a page may link to any file of the repository. The site must work from a disk, without GitHub. So
each file that a page links to becomes a page too: Markdown as it is, source files as highlighted code. The
pages of the API are generated here, since GitHub could not show them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

# Pages of the repository that are not in docs/, and where the site has them.
PROJECT = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
    "examples/README.md": "project/examples.md",
}

HOMES = {uri: place for place, uri in PROJECT.items() if uri != "index.md"}

# The names on each page of the API: those of `__all__`, or these.
API: dict[str, dict[str, list[str]]] = {
    "tidewire": {"tidewire": []},
    "client": {"tidewire.client": []},
    "client-sync": {"tidewire.client.sync": []},
    "runs": {"tidewire.runs.dialects": []},
    "testing": {
        "tidewire.testing": [],
        "tidewire.testing.clock": ["virtual", "VirtualLoop", "HandClock", "quiet", "until", "drift"],
        "tidewire.testing.wire": ["listen", "ask", "RecordingWire"],
        "tidewire.testing.recorder": ["Recorder"],
        "tidewire.testing.checker": [],
        "tidewire.testing.contract": ["EngineContract"],
    },
    "integrations": {
        "tidewire.integrations.fastapi": [],
        "tidewire.integrations.starlette": ["install"],
        "tidewire.integrations.django": [],
        "tidewire.integrations.aiohttp": ["HUB", "install", "stream", "respond"],
        "tidewire.integrations.litestar": ["HubPlugin", "respond"],
        "tidewire.integrations.quart": ["install", "stream", "respond"],
    },
    "errors": {"tidewire.errors": []},
}

ICON = "src/tidewire/web/demo/icon.svg"

LANGUAGES = {".py": "python", ".js": "js", ".html": "html", ".css": "css", ".toml": "toml", ".yml": "yaml"}

# A fenced block or a span of code, which is left alone, or the target of a link.
CODE_OR_LINK = re.compile(
    r"^(```+|~~~+).*?^\1$|``?[^`\n]+``?|(?<=\]\()(?!https?:|#)([^)\s#]+)", re.DOTALL | re.MULTILINE
)


def on_config(config: MkDocsConfig) -> None:
    # The anchors that our pages link to are those that GitHub makes.
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    # Its links begin with a slash, which from a file is the root of the disk.
    config.theme.static_templates.discard("404.html")


def on_files(files: Files, config: MkDocsConfig) -> None:
    generated = partial(File.generated, config)
    files.append(generated("icon.svg", abs_src_path=str(ROOT / ICON)))
    for place, uri in PROJECT.items():
        if place != "README.md":
            files.append(generated(uri, content=(ROOT / place).read_text("utf-8")))
    for name, modules in API.items():
        files.append(generated(f"reference/api/{name}.md", content=api_page(modules)))
    pages = [file for file in files.documentation_pages() if not file.src_uri.startswith("reference/api/")]
    linked = {place for file in pages for place in places_in(file.content_string, file.src_uri)}
    for place in sorted(linked):
        if files.get_file_from_path(uri_of(place)) is None:
            files.append(generated(uri_of(place), content=source_page(place)))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    uri = page.file.src_uri
    if uri == "index.md":
        page.meta["template"] = "home.html"
    if uri.startswith("source/"):
        page.meta["search"] = {"exclude": True}
        return markdown
    return CODE_OR_LINK.sub(partial(for_the_site, uri), markdown)


def anchor(heading: str, separator: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def places_in(markdown: str, uri: str) -> Iterator[str]:
    """Yield the files of the repository that a page links to."""
    for found in CODE_OR_LINK.finditer(markdown):
        if found[2]:
            yield place_of(found[2], uri)


def for_the_site(uri: str, found: re.Match[str]) -> str:
    """Return a link as the site has it, or code as it is."""
    if not found[2]:
        return found[0]
    return os.path.relpath(uri_of(place_of(found[2], uri)), PurePosixPath(uri).parent)


def place_of(link: str, uri: str) -> str:
    """Return the path in the repository that a link on a page means."""
    home = HOMES.get(uri, f"docs/{uri}")
    return os.path.normpath(PurePosixPath(home).parent / link)


def uri_of(place: str) -> str:
    """Return where the site has a file of the repository."""
    if place in PROJECT:
        return PROJECT[place]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    # (Names that begin with a dot are left out of a site.)
    return f"source/{place.lstrip('.').replace('/.', '/')}.md"


def source_page(place: str) -> str:
    path = ROOT / place
    language = LANGUAGES.get(path.suffix, "text")
    return f"# {path.name}\n\n`{place}`\n\n~~~~~~{language}\n{path.read_text('utf-8')}\n~~~~~~\n"


def api_page(modules: dict[str, list[str]]) -> str:
    parts = []
    for module, names in modules.items():
        parts.append(f"::: {module}")
        if names:
            parts[-1] += "\n    options:\n" + f"      members: {names}\n"
    return "\n\n".join(parts)
