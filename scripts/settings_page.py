"""Write docs/reference/settings.md from the table in `tidewire.settings`: python scripts/settings_page.py"""

from __future__ import annotations

import textwrap
from dataclasses import Field
from pathlib import Path
from typing import Any, cast

from tidewire.settings import ROWS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"

# Paragraphs.
INTRODUCTION = [
    "# Settings",
    "The settings of a hub and its server. Each is an option and an environment variable of "
    "`tidewire serve`, and a keyword of `Hub`: `Hub(heartbeat=5)`. Times are in seconds, sizes in bytes. "
    "With an invalid value the hub does not start, and says what is valid.",
    "This page is generated from the table in `tidewire.settings` by `python scripts/settings_page.py`.",
]

# The first setting of each part of the page, with the title of the part and its introduction.
PARTS = {
    "retry": ("Streams", ""),
    "window_entries": ("The log", ""),
    "max_event": ("Publishing", ""),
    "max_token_life": ("Grants", ""),
    "inspect_data": ("The inspector", ""),
    "head_timeout": (
        "Requests",
        "The server limits the heads of requests. These settings apply under `tidewire serve`. uvicorn "
        "with our [protocol](../explanation/takeover.md) uses their defaults; other servers have their own "
        "limits. `body_timeout` is also used by the hub and applies everywhere.",
    ),
}

WIDTH = 120

# Units, the largest first.
SECONDS = ((3600, "h"), (60, "min"))
BYTES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def page() -> str:
    """Return the whole page."""
    parts = [wrapped(text) for text in INTRODUCTION]
    for name, item in ROWS.items():
        if name in PARTS:
            title, text = PARTS[name]
            parts += [f"## {title}\n", *([wrapped(text)] if text else [])]
        parts.append(setting(name, item))
    return "\n".join(parts)


def setting(name: str, item: Field[Any]) -> str:
    option, variable = f"--{name.replace('_', '-')}", f"TIDEWIRE_{name.upper()}"
    facts = [
        f"Default: {', '.join(default(name, item))}",
        f"Why: {item.metadata['why']}",
        f"Option and variable: `{option}`, `{variable}`",
    ]
    listed = "".join(wrapped(f"- {fact}", indent="  ") for fact in facts)
    return f"### {name}\n\n{wrapped(item.metadata['help'])}\n{listed}"


def default(name: str, item: Field[Any]) -> list[str]:
    off, least = item.metadata["off"], item.metadata["least"]
    if off and item.default == 0:
        return [f"0, which means {off}"]
    texts = [amount(name, cast(float, item.default))]
    if least > 1 or (least and is_time(name)):
        texts.append(f"at least {amount(name, least)}")
    return [*texts, f"0 means {off}"] if off else texts


def wrapped(text: str, indent: str = "") -> str:
    filled = textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return filled + "\n"


def amount(name: str, value: float) -> str:
    """Return a value with its unit: the largest one in which it is a whole number."""
    if name.endswith("_rate"):
        return f"{value:,g} per second"
    if is_time(name):
        return in_units(value, SECONDS, "s")
    if ROWS[name].metadata["help"].startswith("Bytes"):
        return in_units(value, BYTES, "bytes")
    return f"{value:,}"


def is_time(name: str) -> bool:
    return isinstance(ROWS[name].default, float) and not name.endswith("_rate")


def in_units(value: float, units: tuple[tuple[int, str], ...], least: str) -> str:
    for size, unit in units:
        if value >= size and value % size == 0:
            return f"{value / size:,g} {unit}"
    return f"{value:,g} {least}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
