"""Write docs/reference/openapi.md from `tidewire.http.openapi`: python scripts/openapi_page.py"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidewire.http.openapi import PROBLEM, REASONS, description
from tidewire.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "openapi.md"

INTRODUCTION = [
    "# OpenAPI",
    "A hub describes its HTTP API at `GET /openapi.json`, below its mount point, for tools that make "
    "clients, tests or pages of such a description. It is OpenAPI 3.1. [HTTP](http.md) says what the words "
    "mean and has all error codes.",
    "OpenAPI cannot say what is on a stream, only that its type is `text/event-stream`; see "
    "[the wire](wire.md).",
    "This page is generated from the description by `python scripts/openapi_page.py`.",
]

WIDTH = 120


def page() -> str:
    """Return the whole page."""
    found = description(Settings(), "")
    parts = [wrapped(text) for text in INTRODUCTION]
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            parts.append(f"## {method.upper()} {path}\n")
            parts.append("\n".join(described(operation)) + "\n")
    parts.append("## Refusals\n")
    parts.append(wrapped(f"The body of each is `{PROBLEM}`."))
    parts.append(table("status", "", {str(status): text for status, text in sorted(REASONS.items())}))
    return "\n".join(parts)


def described(operation: dict[str, Any]) -> Iterator[str]:
    yield wrapped(operation["summary"])
    parameters = {
        f"`{one['name']}`, {one['in']}": one.get("description", "") for one in operation["parameters"]
    }
    if parameters:
        yield table("parameter", "", parameters)
    responses = operation["responses"]
    own = {status: answer for status, answer in responses.items() if PROBLEM not in answer.get("content", {})}
    if body := operation.get("requestBody"):
        yield f"Body: {kinds(body)}\n"
    yield table(
        "answer",
        "",
        {f"{status} {kinds(answer)}".strip(): answer["description"] for status, answer in own.items()},
    )
    yield f"Refusals: {', '.join(status for status in responses if status not in own)}"


def kinds(message: dict[str, Any]) -> str:
    return ", ".join(f"`{kind}`" for kind in message.get("content", {}))


def table(left: str, right: str, rows: dict[str, str]) -> str:
    head = f"| {left} | {right} |".replace("|  |", "| |")
    return "\n".join([head, "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())]) + "\n"


def wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
