"""What `tidewire listen` says on stderr of its connection, and of what the hub says."""

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
    """Whether to colour what is written there (https://no-color.org)."""
    return file.isatty() and not os.environ.get("NO_COLOR")


class Status:
    """Lines on stderr, one for each change. `hub` is whether a hub is expected at the other end."""

    def __init__(self, hub: bool, quiet: bool, colour: bool) -> None:
        self._hint = hub
        self._quiet = quiet
        self._colour = colour

    def changed(self, change: Change) -> None:
        match change:
            case Opened(url):
                self._hint = False
                self._say(f"connected to {place(url)}")
            case Wait(seconds, reason):
                self._say(f"{reason}; next try in {seconds:.1f} s{self._first_hint()}")
            case Stop(reason, error):
                # An error is said by whoever it ends.
                if error is None:
                    self._say(reason)

    def said(self, event: Event) -> None:
        """Put what the hub says of the stream into words."""
        if event.event in WORDS:
            self._say(WORDS[event.event](event, fields_of(event)))

    def _first_hint(self) -> str:
        hint = " (if no hub runs there: `tidewire serve`)" if self._hint else ""
        self._hint = False
        return hint

    def _say(self, text: str) -> None:
        if not self._quiet:
            text = printable(text)
            click.echo(click.style(text, dim=True) if self._colour else text, err=True)


def place(url: str) -> str:
    """Return a URL without its query and its password: either may hold a secret."""
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
    return f"gap ({fields.get('reason')}): events{since} are missing; going on from {event.id}"


def end(event: Event, fields: dict[str, Any]) -> str:
    return f"the topic {fields.get('topic')} has ended ({fields.get('reason')})"


def error(event: Event, fields: dict[str, Any]) -> str:
    return f"the server failed to make the next event ({fields.get('code')})"


WORDS = {"hub.gap": gap, "hub.end": end, "hub.error": error}
