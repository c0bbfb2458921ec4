"""The documentation as its tests read it: blocks, links and tables; and a server for the programs in it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from support.ports import free_port
from support.waiting import PATIENCE, wait_until
from tidewire.server.protocol import StreamProtocol

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*.md"),
    ]
)

HEADING = re.compile(r"#{1,6} (.+)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A fenced block; `section` is the anchor of the heading above it."""

    page: str
    section: str
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}#{self.section}"


class Document(NamedTuple):
    """One page; `prose` is the text outside its blocks."""

    prose: list[str]
    anchors: list[str]
    blocks: list[Block]


@cache
def read(page: str) -> Document:
    document = Document([], [], [])
    lines = iter((ROOT / page).read_text("utf-8").splitlines())
    for line in lines:
        if line.startswith("```"):
            body = iter(lambda: next(lines), "```")
            section = document.anchors[-1]
            document.blocks.append(Block(page, section, line[3:], "".join(f"{text}\n" for text in body)))
            continue
        document.prose.append(line)
        if heading := HEADING.fullmatch(line):
            document.anchors.append(anchor(heading[1]))
    return document


def anchor(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def blocks(language: str, *pages: str) -> list[Block]:
    return [block for page in pages or PAGES for block in read(page).blocks if block.language == language]


def links(page: str) -> list[str]:
    return LINK.findall(CODE.sub("", "\n".join(read(page).prose)))


def code_spans(page: str) -> list[str]:
    return CODE.findall("\n".join(read(page).prose))


def tables(page: str, *header: str) -> list[list[list[str]]]:
    """Return the rows of each table with this header, as cells."""
    found = []
    for is_table, lines in groupby(read(page).prose, lambda line: line.startswith("|")):
        if is_table:
            first, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
            if first == list(header):
                found.append(rows)
    return found


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an app by our protocol on uvicorn, in a thread; yield its URL."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=port,
            http=StreamProtocol,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        assert server.started, "the program does not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server does not stop"
