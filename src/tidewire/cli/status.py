"""What `tidewire listen` reports on stderr: its connection, and the hub's own events."""

from __future__ import annotations

import os
from typing import Any, TextIO

import click
import httpx2

from ..client.core.reconnect import Change, Opened, Stop, Wait
from ..client.core.requests import origin_of
from ..event_stream import Event
from . import printable


def colours(file: TextIO) -> bool:
    """Whether to use colours in this file (https://no-color.org)."""
    return file.isatty() and not os.environ.get("NO_COLOR")


class Status:
    """Lines on stderr, one for each change. `hub` is whether the server is expected to be a hub."""

    def __init__(self, hub: bool, quiet: bool, colour: bool) -> None:
        self._hint = hub
        self._quiet = quiet
        self._colour = colour

    def changed(self, change: Change) -> None:
        match change:
            case Opened(url):
                self._hint = False
                self._print(f"connected to {without_secrets(url)}")
            case Wait(seconds, reason):
                self._print(f"{reason}; retrying in {seconds:.1f} s{self._first_hint()}")
            case Stop(reason, error):
                # An error ends the command, which prints it.
                if error is None:
                    self._print(reason)

    def hub_event(self, event: Event) -> None:
        """Describe an event of the hub; ignore others."""
        if event.event in DESCRIPTIONS:
            self._print(DESCRIPTIONS[event.event](event, fields_of(event)))

    def _first_hint(self) -> str:
        hint = " (start a hub with `tidewire serve`)" if self._hint else ""
        self._hint = False
        return hint

    def _print(self, text: str) -> None:
        if not self._quiet:
            text = printable(text)
            click.echo(click.style(text, dim=True) if self._colour else text, err=True)


def without_secrets(url: str) -> str:
    """Return a URL without its query and password, which may be secret."""
    parsed = httpx2.URL(url)
    return origin_of(parsed) + parsed.path


def fields_of(event: Event) -> dict[str, Any]:
    try:
        fields = event.json()
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def gap(event: Event, fields: dict[str, Any]) -> str:
    since = f" after {fields['requested']}" if "requested" in fields else ""
    return f"gap ({fields.get('reason')}): events{since} are missing; continuing from {event.id}"


def end(event: Event, fields: dict[str, Any]) -> str:
    return f"the topic {fields.get('topic')} has ended ({fields.get('reason')})"


def error(event: Event, fields: dict[str, Any]) -> str:
    return f"the server failed to produce the next event ({fields.get('code')})"


DESCRIPTIONS = {"hub.gap": gap, "hub.end": end, "hub.error": error}
