"""
What `settings.TIDEWIRE` says: a dict with the arguments of `Hub`, by their names.

    TIDEWIRE = {"url": "sqlite:///events.db", "heartbeat": 10}

Without it, the hub is `Hub()`, whose log is in memory. If the URL is one of HTTP, the hub is another program
beside this one, and the dict has the arguments of `Publisher`:

    TIDEWIRE = {"url": "http://127.0.0.1:8000", "headers": {"Authorization": "Bearer ..."}}
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ...client.sync.publisher import Publisher
from ...hub import Hub

# Seconds for which an event is sent again to a hub beside that does not answer: a request waits for them.
RETRY_FOR = 5.0


def arguments() -> dict[str, Any]:
    """Return a copy of `settings.TIDEWIRE`. Raises `ImproperlyConfigured` if it is not a dict."""
    given = getattr(settings, "TIDEWIRE", {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(
            f'TIDEWIRE must be a dict such as {{"url": "sqlite:///events.db"}}, not {type(given).__name__}'
        )
    return dict(given)


@cache
def get_hub() -> Hub:
    """
    Return the hub of this process, always the same.

    Raises `ImproperlyConfigured` if `Hub` does not take what `settings.TIDEWIRE` says, or if the hub is
    beside this program.
    """
    if hub_beside():
        raise ImproperlyConfigured(
            "settings.TIDEWIRE names a hub beside this program: clients get their streams from its URL"
        )
    try:
        return Hub(**arguments())
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"TIDEWIRE: {error}") from error


def hub_beside() -> bool:
    """Whether the hub is another program."""
    return str(arguments().get("url", "")).startswith(("http://", "https://"))


@cache
def get_publisher() -> Publisher:
    """Return what publishes to the hub beside. Raises `ImproperlyConfigured` as `get_hub`."""
    try:
        return Publisher(**{"retry_for": RETRY_FOR, **arguments()})
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"TIDEWIRE: {error}") from error
