"""
What `settings.TIDEWIRE` says: a dict with the arguments of `Hub`, by their names.

    TIDEWIRE = {"url": "sqlite:///events.db", "heartbeat": 10}

Without it, the hub is `Hub()`, whose log is in memory.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ...hub import Hub


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

    Raises `ImproperlyConfigured` if `Hub` does not take what `settings.TIDEWIRE` says.
    """
    try:
        return Hub(**arguments())
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"TIDEWIRE: {error}") from error
