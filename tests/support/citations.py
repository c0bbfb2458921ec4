"""How comments and the names of tests cite the numbered rows of the catalogues in docs/reference."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

NUMBER = r"[A-H][0-9]{1,2}(?!\w|\.\w|%)"
NUMBERS = rf"{NUMBER}(?:(?:, | and |, and | to ){NUMBER})*"
QUALIFIED = re.compile(rf"\b(promise|fault|attack|line)s? ({NUMBERS})", re.IGNORECASE)
UNQUALIFIED = re.compile(rf"(?<![\w%+-]){NUMBERS}")

# What a bare number means in these files, unless it is a promise.
BARE = {
    "faults/": "fault",
    "tests/faults/": "fault",
    "tests/hardening/": "attack",
    "tests/client/": "line",
    "tests/browser/test_client_lines.py": "line",
}


class Citation(NamedTuple):
    kind: str  # empty if nothing says which catalogue is meant
    number: str


def expanded(text: str) -> Iterator[str]:
    """Yield the numbers in `attack A01`, `attacks A01, A02 and A17` or `attacks A06 to A10`."""
    for first, last in re.findall(rf"({NUMBER})(?: to ({NUMBER}))?", text):
        width = len(first) - 1
        for number in range(int(first[1:]), int((last or first)[1:]) + 1):
            yield f"{first[0]}{number:0{width}}"


def attacks_in_names(source: str) -> Iterator[str]:
    """Yield the attacks that tests are named after: `test_a06_to_a10_…`, `test_D13_h08_…`."""
    for name in re.findall(r"def test_(\w+)", source):
        for numbers in re.findall(r"(?<![^_])(?:[a-h][0-9]{2}(?:_to)?_)+", f"{name}_"):
            yield from expanded(numbers.upper().replace("_TO_", " to ").replace("_", " "))


def prose_of(source: str) -> str:
    """Return the comments and docstrings of a program."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, nodes)]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join([*found, *(token.string for token in tokens if token.type == tokenize.COMMENT)])


def citations(path: str, source: str) -> Iterator[Citation]:
    """Yield what a program cites; `path` is its place in the project."""
    yield from (Citation("attack", number) for number in attacks_in_names(source))
    prose = prose_of(source)
    for kind, numbers in QUALIFIED.findall(prose):
        yield from (Citation(kind.lower(), number) for number in expanded(numbers))
    bare = next((kind for place, kind in BARE.items() if path.startswith(place)), "")
    for numbers in UNQUALIFIED.findall(QUALIFIED.sub("", prose)):
        for number in expanded(numbers):
            yield Citation("promise" if number[0] == "G" else bare, number)
