"""`manage.py tidewire serve` and the like: the `tidewire` command, with the hub of `settings.TIDEWIRE`."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from .....settings import ROWS
from ...configured import arguments, hub_beside


class Command(BaseCommand):  # type: ignore[misc]
    help = "Run the `tidewire` command with the hub of settings.TIDEWIRE, such as `manage.py tidewire serve`."
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "words", nargs=argparse.REMAINDER, help="What follows `tidewire`, such as `publish news hello`."
        )

    def handle(self, *, words: list[str], **_: Any) -> None:
        for name, value in environment().items():
            os.environ.setdefault(name, value)
        # As `python -m tidewire`, in this process.
        sys.argv[1:] = words
        runpy.run_module("tidewire", run_name="__main__", alter_sys=True)


def environment() -> dict[str, str]:
    """Return `settings.TIDEWIRE` as variables that the command reads: its URL, and the settings of a hub."""
    given = arguments()
    url = given.get("url")
    names = {name: f"TIDEWIRE_{name.upper()}" for name in given.keys() & ROWS.keys()}
    found = {variable: str(given[name]) for name, variable in names.items()}
    if url is not None:
        found["TIDEWIRE_URL" if hub_beside() else "TIDEWIRE_ENGINE"] = url
    return found
