"""The page about the architecture names files, functions and words that exist; so does every other page."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support.documents import PAGES, ROOT, read, tables

PAGE = "docs/explanation/architecture.md"
SRC = "src/tidewire/"
WALKS = [
    "An event, from publish to the socket",
    "A subscription, from request to cohort",
    "A client, from connect to event",
]

# `one`, `two` and `three` in [file.py](path/to/file.py)
NAMED = re.compile(r"((?:`[\w.]+`(?:, | and |,\s+)?\s*)+) in\s+\[([^\]]+)\]\(([^)]+\.py)\)")


def text_of(page: str) -> str:
    return " ".join(line.strip() for line in read(page).prose)


def named(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield each name that stands before a file, the file as it is shown, and its link."""
    for names, shown, link in NAMED.findall(text):
        for name in re.findall(r"`([^`]+)`", names):
            yield name, shown, link


def section(title: str) -> list[str]:
    lines = read(PAGE).prose
    first = lines.index(f"## {title}") + 1
    rest = [n for n, line in enumerate(lines) if n >= first and line.startswith("## ")]
    return lines[first : rest[0] if rest else None]


def steps(title: str) -> list[str]:
    """Return the items of a numbered list, each on one line."""
    text = "\n".join(section(title))
    return [" ".join(item.split()) for item in re.split(r"^[0-9]+\. ", text, flags=re.MULTILINE)[1:]]


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return what a file defines, and the members of its classes with and without the class."""
    found: set[str] = set()
    collect(ast.parse(path.read_text("utf-8")).body, "", found)
    return frozenset(found)


def collect(body: list[ast.stmt], prefix: str, found: set[str]) -> None:
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner):
                found |= {name, prefix + name}
                collect(inner, f"{name}.", found)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found |= {name, prefix + name}
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                found |= {name, prefix + name}


@pytest.mark.parametrize("page", PAGES)
def test_what_is_named_with_its_file_is_in_it(page: str) -> None:
    for name, shown, link in named(text_of(page)):
        path = (ROOT / page).parent.joinpath(link).resolve()
        assert name in names_in(path), f"{name} is not in {shown}"


def test_files_are_shown_by_their_path() -> None:
    links = re.findall(r"\[([^\]]+\.py)\]\(([^)]+)\)", text_of(PAGE))
    assert links
    for shown, link in links:
        assert link == f"../../{SRC}{shown}"


@pytest.mark.parametrize("title", WALKS)
def test_each_step_of_a_walk_names_a_function(title: str) -> None:
    found = steps(title)
    assert len(found) >= 8
    for step in found:
        assert list(named(step)), step


@pytest.mark.parametrize("title", WALKS)
def test_each_function_of_a_walk_is_named_with_its_file(title: str) -> None:
    """Otherwise nobody checks whether it exists."""
    for step in steps(title):
        with_file = {name for name, _, _ in named(step)}
        assert set(re.findall(r"`([A-Z]\w+\.\w+)`", step)) <= with_file, step


def test_the_words_are_those_of_the_code() -> None:
    (rows,) = tables(PAGE, "word", "meaning")
    code = "\n".join(path.read_text("utf-8").lower() for path in (ROOT / SRC).rglob("*.py"))
    for word, meaning in rows:
        # The code has them as names: `trim mark` is Marks, `judgement` is Judgement.
        assert re.search(rf"\b_?{word.split()[-1]}s?\b", code), word
        assert meaning.endswith("."), meaning
        assert ". " not in meaning, f"one sentence says what {word} means"


# -- the drawing

SVG = "{http://www.w3.org/2000/svg}"


def drawing() -> ET.Element:
    return ET.parse(ROOT / "docs/explanation/architecture.svg").getroot()


def test_the_drawing_says_what_it_is() -> None:
    root = drawing()
    assert (root.findtext(f"{SVG}title") or "").strip()
    assert (root.findtext(f"{SVG}desc") or "").strip()


def test_the_drawing_has_the_folders() -> None:
    (rows,) = tables(PAGE, "part", "owns", "imports", "pure modules")
    text = " ".join(" ".join(item.itertext()) for item in drawing().iter(f"{SVG}text"))
    drawn = set(text.replace("client/ ", "client/").split())
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row[0])} <= drawn


def test_the_drawing_has_the_steps_of_the_first_walk() -> None:
    numbers = [item.text for item in drawing().iter(f"{SVG}text") if item.get("class") == "number"]
    assert numbers == [str(n) for n in range(1, len(steps(WALKS[0])) + 1)]
